"""``DATABASE_URL``: where the database is, who we are there, and whether TLS is spoken."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from functions.shared.ledger.errors import DatabaseUrlError

APPLICATION_NAME = "onnx-ledger"

_SCHEMES = ("postgresql", "postgres")
_DEFAULT_PORT = 5432
_LARGEST_PORT = 65535
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_OPTIONS = (
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "channel_binding",
    "connect_timeout",
    "application_name",
    "options",
    "target_session_attrs",
    "auth",
    "pooler",
    "pgbouncer",
)
# Labels that Vercel adds to Supabase's URLs: they say nothing about the connection.
_LABELS = ("supa", "workaround")
# What other clients take, and what says the same here.
_INSTEAD = {
    "ssl": "write sslmode=require",
    "schema": "write options=-c%20search_path%3D and the schema's name",
    "currentSchema": "write options=-c%20search_path%3D and the schema's name",
    "connection_limit": "leave it out, each function opens a few connections only",
    "pool_timeout": "leave it out, each function opens a few connections only",
    "sslcert": "log in with a password or auth=iam, not with a client's certificate",
    "sslkey": "log in with a password or auth=iam, not with a client's certificate",
}
# A setting in `options`, as PostgreSQL's command line takes it: -c name=value or --name=value.
_SETTING = r"(?:^|\s)(?:-c\s*|--)([\w.-]+)\s*="
_OWN_SETTINGS = {
    "client_encoding",
    "timezone",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "jit",
    "max_parallel_workers_per_gather",
}


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
    channel_binding_required : bool
        Whether to log in only in a way that proves that TLS ends at the database server itself.
    iam_region : str or None
        AWS region of a database that we log in to with IAM tokens; None for one with a password.
    connect_timeout : int or None
        Most seconds to wait for the server to take a connection; None for the ledger's own time-out.
    application_name : str
        Shown in ``pg_stat_activity``.
    options : str or None
        More for the server's command line, such as ``-c search_path=ledger``.
    target_session_attrs : str
        ``any``; ``read-write`` or ``primary`` to refuse a server that is a standby.
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
    channel_binding_required: bool
    iam_region: str | None
    connect_timeout: int | None
    application_name: str
    options: str | None
    target_session_attrs: str
    prepared: bool


def parse_database_url(url: str) -> DatabaseAddress:
    """Take a ``DATABASE_URL`` apart, as libpq takes "Connection URIs" (PostgreSQL's manual) but for what is said here.

    ``postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path/ca.pem``, or for a unix socket
    ``postgresql://user@/database?host=/folder``. Parts with special characters are percent-encoded.

    Over TCP the connection is encrypted, and the server's certificate and name are verified, as libpq does for
    ``sslmode=verify-full`` alone: every weaker mode is strengthened to it, because an unverified connection gives the
    password and the inputs to whoever answers. There are two exceptions. A loopback address speaks TLS only where
    ``sslmode`` is ``require``, ``verify-ca`` or ``verify-full``. ``sslmode=disable`` is taken, where it is written,
    for loopback and for the names and addresses of a private network (a container's database, say), and refused for
    every other host.

    ``channel_binding=require`` is libpq's. ``connect_timeout`` can shorten the ledger's own time-out but not lengthen
    it, because a request has 30 seconds for everything.

    ``auth=iam`` logs in to RDS with an IAM token, signed anew for each connection with the credentials that boto3 finds
    and for the region that the environment variable ``AWS_REGION`` names. It needs TLS, and goes with no password.
    ``pooler=transaction``, or Prisma's ``pgbouncer=true``, is for PgBouncer in transaction mode and for RDS Proxy. The
    poolers of Neon and Supabase are known by their names.

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
    if url.partition("://")[0] not in _SCHEMES:
        raise DatabaseUrlError("DATABASE_URL must start with postgresql://")
    if "," in url.partition("://")[2].partition("?")[0].rpartition("@")[2].partition("/")[0]:
        raise DatabaseUrlError("DATABASE_URL names several hosts; name one, the address of the primary")
    try:
        parts = urlsplit(url)
        port = parts.port
        # In the query of a form a plus sign is a space; here it is a plus sign.
        query = parts.query.replace("+", "%2B")
        options = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        # The error's text may quote the password.
        raise DatabaseUrlError(
            f"DATABASE_URL is not a URL ({type(error).__name__}); "
            "special characters in a user's name or password are percent-encoded"
        ) from None
    option = {name: values[-1] for name, values in options.items()}
    if not parts.username:
        raise DatabaseUrlError("DATABASE_URL names no user")
    _refuse_unknown(option)
    database = unquote(parts.path.removeprefix("/"))
    if not database:
        raise DatabaseUrlError("DATABASE_URL names no database")
    port = _number(option, "port", most=_LARGEST_PORT) or port or _DEFAULT_PORT
    host = option.get("host") or (unquote(parts.hostname) if parts.hostname else None)
    if host is None:
        raise DatabaseUrlError("DATABASE_URL names no host, neither after '@' nor as the option 'host'")
    sslmode = _one_of(option, "sslmode", _SSL_MODES)
    is_socket = host.startswith("/")
    if not is_socket:
        _refuse_impossible(host)
    verify_tls = not is_socket and _must_verify(host, sslmode)
    return DatabaseAddress(
        user=unquote(parts.username),
        database=database,
        password=None if parts.password is None else unquote(parts.password),
        host=None if is_socket else host,
        port=port,
        socket_directory=host if is_socket else None,
        verify_tls=verify_tls,
        ca_file=None if option.get("sslrootcert") == "system" else option.get("sslrootcert") or None,
        channel_binding_required=_must_bind(option, verify_tls=verify_tls),
        iam_region=_iam_region(option.get("auth"), has_password=parts.password is not None, verify_tls=verify_tls),
        connect_timeout=_number(option, "connect_timeout"),
        application_name=option.get("application_name") or APPLICATION_NAME,
        options=_server_options(option.get("options")),
        target_session_attrs=_target_session_attrs(option),
        prepared=not _is_transaction_pooler(option, host, port),
    )


def _refuse_unknown(option: Mapping[str, str]) -> None:
    for name in sorted(option.keys() - {*_OPTIONS, *_LABELS}):
        if name in _INSTEAD:
            raise DatabaseUrlError(f"DATABASE_URL: the option {name!r} is not known here; {_INSTEAD[name]}")
        raise DatabaseUrlError(f"DATABASE_URL: unknown option {name!r}; leave it out, known are {', '.join(_OPTIONS)}")


def _refuse_impossible(host: str) -> None:
    try:
        host.encode("idna")  # as the socket does, whose error is none of connecting
    except UnicodeError:
        raise DatabaseUrlError(f"DATABASE_URL: no host has the name {host!r}") from None


def _one_of(option: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    value = option.get(name)
    if value is not None and value not in known:
        raise DatabaseUrlError(f"DATABASE_URL: no such {name}: {value!r}; known are {', '.join(known)}")
    return value


def _number(option: Mapping[str, str], name: str, *, most: int | None = None) -> int | None:
    """Return the option as a number; None where it is 0, which stands for no choice, or not there."""
    text = option.get(name, "0")
    if not (text.isascii() and text.isdecimal()) or (most is not None and int(text) > most):
        raise DatabaseUrlError(f"DATABASE_URL: the option {name!r} is not a number{f' up to {most}' if most else ''}")
    return int(text) or None


def _must_verify(host: str, sslmode: str | None) -> bool:
    if sslmode == "disable":
        if not _is_private(host):
            raise DatabaseUrlError(
                f"DATABASE_URL: sslmode=disable would send everything in clear text to {host}, which is neither this "
                "machine nor in a private network (a private address, a name without a dot, or one that ends in "
                ".internal); leave it out"
            )
        return False
    return sslmode in ("require", "verify-ca", "verify-full") or not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_private(host: str) -> bool:
    """Whether a host can only be one that a private network knows: the internet's DNS has no such names."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(".internal")


def _must_bind(option: Mapping[str, str], *, verify_tls: bool) -> bool:
    channel_binding = _one_of(option, "channel_binding", ("prefer", "require", "disable"))
    if channel_binding == "disable":
        raise DatabaseUrlError(
            "DATABASE_URL: channel_binding=disable is not to be had; leave it out, and a log-in is bound to its "
            "connection where the server offers that"
        )
    if channel_binding == "require" and not verify_tls:
        raise DatabaseUrlError(
            "DATABASE_URL: channel_binding=require needs TLS; to this machine, a host and sslmode=require"
        )
    return channel_binding == "require"


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


def _server_options(options: str | None) -> str | None:
    for name in re.findall(_SETTING, options or ""):
        if name.replace("-", "_").lower() in _OWN_SETTINGS:
            raise DatabaseUrlError(
                f"DATABASE_URL: the option 'options' sets {name}, which the ledger sets; leave it out"
            )
    return options or None


def _target_session_attrs(option: Mapping[str, str]) -> str:
    wanted = _one_of(
        option,
        "target_session_attrs",
        ("any", "read-write", "primary", "read-only", "standby", "prefer-standby"),
    )
    if wanted in ("read-only", "standby", "prefer-standby"):
        raise DatabaseUrlError(
            f"DATABASE_URL: target_session_attrs={wanted} asks for a server that the ledger cannot write to; name the "
            "primary's host, and leave it out"
        )
    return wanted or "any"


def _is_transaction_pooler(option: Mapping[str, str], host: str, port: int) -> bool:
    if option.get("pooler") not in (None, "transaction"):
        raise DatabaseUrlError(f"DATABASE_URL: no such pooler: {option['pooler']!r}; known is transaction")
    return (
        "pooler" in option
        or _one_of(option, "pgbouncer", ("true", "false")) == "true"
        or (host.endswith(".neon.tech") and host.partition(".")[0].endswith("-pooler"))
        or (host.endswith((".supabase.com", ".supabase.co")) and port == 6543)
    )
