"""``DATABASE_URL``: where the database is, who we are there, and whether TLS is spoken."""

import ipaddress
import os
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from functions.shared.ledger.errors import DatabaseUrlError

_SCHEMES = ("postgresql", "postgres")
_OPTIONS = ("host", "port", "sslmode", "sslrootcert", "auth", "pooler")
_DEFAULT_PORT = 5432


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where the database is and who we are there: ``DATABASE_URL`` taken apart.

    Attributes
    ----------
    user, database : str
        Role and database name.
    password : str or None
        None where the server asks for none, or takes IAM tokens.
    host : str or None
        Name or address; None for a unix socket.
    port : int
        TCP port; it names the unix socket too.
    socket_directory : str or None
        Folder of the unix socket.
    verify_tls : bool
        Whether the connection is encrypted, and the server's certificate and name verified.
    ca_file : str or None
        Certificate authorities to trust, PEM; None for the system's.
    iam_region : str or None
        AWS region of a database that we log in to with IAM tokens; None for one with a password.
    prepared : bool
        False where the server behind the address may be another one for each transaction (PgBouncer in transaction
        mode, RDS Proxy): nothing is then left behind in a session, neither prepared statements nor settings.
    """

    user: str
    database: str
    password: str | None = field(repr=False)
    host: str | None
    port: int
    socket_directory: str | None
    verify_tls: bool
    ca_file: str | None
    iam_region: str | None
    prepared: bool


def parse_database_url(url: str) -> DatabaseAddress:
    """Take a ``DATABASE_URL`` apart.

    ``postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path/ca.pem``, or for a unix socket
    ``postgresql://user@/database?host=/folder``. Parts with special characters are percent-encoded.

    Over TCP to another machine the connection is always encrypted and verified, as ``sslmode=verify-full`` does in
    libpq: weaker modes are strengthened to it, ``disable`` is refused. To a loopback address or a unix socket TLS is
    used only where ``sslmode`` is ``verify-full`` or ``verify-ca`` (TCP).

    ``auth=iam`` logs in to RDS with an IAM token, signed anew for each connection with the credentials that boto3 finds
    and for the region that the environment variable ``AWS_REGION`` names. It needs TLS, and goes with no password.
    ``pooler=transaction`` is for PgBouncer in transaction mode and for RDS Proxy.

    Parameters
    ----------
    url : str
        The setting.

    Returns
    -------
    DatabaseAddress
        What it says.

    Raises
    ------
    DatabaseUrlError
        If it cannot be used.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        # The error's text may quote the password.
        raise DatabaseUrlError(f"DATABASE_URL is not a URL ({type(error).__name__})") from None
    if parts.scheme not in _SCHEMES:
        raise DatabaseUrlError("DATABASE_URL must start with postgresql://")
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise DatabaseUrlError(f"DATABASE_URL: unknown option {unknown[0]!r}; known are {', '.join(_OPTIONS)}")
    option = {name: values[-1] for name, values in options.items()}
    if not parts.username:
        raise DatabaseUrlError("DATABASE_URL names no user")
    database = unquote(parts.path.removeprefix("/"))
    if not database:
        raise DatabaseUrlError("DATABASE_URL names no database")
    if option.get("port", "0").isdigit():
        port = int(option.get("port", "0")) or port or _DEFAULT_PORT
    else:
        raise DatabaseUrlError("DATABASE_URL: the option 'port' is not a number")
    host = option.get("host") or (unquote(parts.hostname) if parts.hostname else None)
    if host is None:
        raise DatabaseUrlError("DATABASE_URL names no host, neither after '@' nor as the option 'host'")
    is_socket = host.startswith("/")
    verify_tls = not is_socket and _must_verify(host, option.get("sslmode"))
    if option.get("pooler") not in (None, "transaction"):
        raise DatabaseUrlError(f"DATABASE_URL: no such pooler: {option['pooler']!r}; known is transaction")
    return DatabaseAddress(
        user=unquote(parts.username),
        database=database,
        password=None if parts.password is None else unquote(parts.password),
        host=None if is_socket else host,
        port=port,
        socket_directory=host if is_socket else None,
        verify_tls=verify_tls,
        ca_file=option.get("sslrootcert"),
        iam_region=_iam_region(option.get("auth"), has_password=parts.password is not None, verify_tls=verify_tls),
        prepared="pooler" not in option,
    )


def _iam_region(auth: str | None, *, has_password: bool, verify_tls: bool) -> str | None:
    if auth is None:
        return None
    if auth != "iam":
        raise DatabaseUrlError(f"DATABASE_URL: no such auth: {auth!r}; known is iam")
    if has_password:
        raise DatabaseUrlError("DATABASE_URL: auth=iam goes with no password")
    if not verify_tls:
        # Whoever reads a token can log in with it.
        raise DatabaseUrlError("DATABASE_URL: auth=iam needs TLS; on this machine, a host and sslmode=verify-full")
    region = os.environ.get("AWS_REGION")
    if not region:
        raise DatabaseUrlError("DATABASE_URL: auth=iam needs the environment variable AWS_REGION")
    return region


def _must_verify(host: str, sslmode: str | None) -> bool:
    if sslmode not in (None, "disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
        raise DatabaseUrlError(f"DATABASE_URL: no such sslmode: {sslmode!r}")
    if _is_loopback(host):
        return sslmode in ("verify-ca", "verify-full")
    if sslmode == "disable":
        raise DatabaseUrlError(f"DATABASE_URL: sslmode=disable is for this machine only, not for {host}")
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
