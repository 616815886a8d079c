"""One connection to PostgreSQL: the setting it comes from, how it is opened, and statements in one round trip each.

pg8000 does what is intricate (start-up, authentication, reading messages). What it sends is replaced: its own
``run(sql, **parameters)`` takes three flights to the server and back, its prepared statements ask for two flushes that
wake the client early, and it writes ``bytes`` as hexadecimal text. Here a statement is one packet: Parse, Bind,
Describe, Execute and Sync the first time, Bind, Execute and Sync ever after ("Message Flow" and "Message Formats" in
PostgreSQL's manual); ``bytes`` and ids travel in binary.
"""

import contextlib
import ipaddress
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import pg8000.native
from pg8000.core import Context

from functions.shared.ledger.arrays import Array, encode_array
from functions.shared.ledger.errors import (
    DatabaseUrlError,
    LedgerUnavailableError,
    NoAnswerError,
    StatementInterruptedError,
    UnstorableValueError,
    refusal,
)
from functions.shared.ledger.iam import login_token

APPLICATION_NAME = "onnx-ledger"

# Seconds. One call may wait for the pool, connect, lose its statement and repeat it: all of it within the 30 seconds
# that API Gateway waits. The server gives a statement up before the client gives the server up.
CONNECT_TIMEOUT = 5.0
STATEMENT_TIMEOUT = 8.0
ANSWER_TIMEOUT = 10.0
UNACKNOWLEDGED_TIMEOUT = 5.0

_SCHEMES = ("postgresql", "postgres")
_OPTIONS = ("host", "port", "sslmode", "sslrootcert", "auth", "pooler")
_DEFAULT_PORT = 5432
_THIS_MACHINE = "host.docker.internal"  # Docker's name for the machine that a container runs on
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


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

    def password_now(self) -> str:
        """Return the password for a connection that is opened now: a new token where IAM says who we are.

        Returns
        -------
        str
            Empty where there is none.

        Raises
        ------
        LedgerUnavailableError
            If no token can be signed.
        """
        if self.iam_region is not None and self.host is not None:
            return login_token(self.host, self.port, self.user, self.iam_region)
        # Without any, pg8000 stumbles over a server that asks for one; an empty one is refused in words.
        return self.password or ""

    def open_socket(self) -> socket.socket:
        """Open a socket to the server, TLS already spoken where it must be.

        Returns
        -------
        socket.socket
            Ready for PostgreSQL's start-up message; gives up waiting after ``ANSWER_TIMEOUT``.

        Raises
        ------
        OSError
            If the server cannot be reached, or its certificate is not to be trusted.
        LedgerUnavailableError
            If the server does not speak TLS.
        """
        if self.socket_directory is not None:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            plain = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT)
        try:
            if self.socket_directory is not None:
                plain.settimeout(CONNECT_TIMEOUT)
                plain.connect(f"{self.socket_directory}/.s.PGSQL.{self.port}")
            else:
                _keep_alive(plain)
            connected = self._with_tls(plain) if self.verify_tls else plain
        except BaseException:
            plain.close()
            raise
        connected.settimeout(ANSWER_TIMEOUT)
        return connected

    def _with_tls(self, plain: socket.socket) -> ssl.SSLSocket:
        plain.sendall(_SSL_REQUEST)
        if plain.recv(1) != b"S":
            raise LedgerUnavailableError(f"the database server at {self.host} does not offer TLS")
        return ssl.create_default_context(cafile=self.ca_file).wrap_socket(plain, server_hostname=self.host)


def parse_database_url(url: str) -> DatabaseAddress:
    """Take a ``DATABASE_URL`` apart.

    ``postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=/path/ca.pem``, or for a unix socket
    ``postgresql://user@/database?host=/folder``. Parts with special characters are percent-encoded.

    Over TCP to another machine the connection is always encrypted and verified, as ``sslmode=verify-full`` does in
    libpq: weaker modes are strengthened to it, ``disable`` is refused. To a loopback address or a unix socket TLS is
    used only where ``sslmode`` is ``verify-full`` or ``verify-ca`` (TCP). ``host.docker.internal`` is the machine that
    a container runs on: what is sent there leaves the container, but not the machine, and so ``disable`` is taken.

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
        if host == _THIS_MACHINE:
            return False
        raise DatabaseUrlError(f"DATABASE_URL: sslmode=disable is for this machine only, not for {host}")
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _keep_alive(plain: socket.socket) -> None:
    """Notice a peer that is gone: while waiting for it, and while it should acknowledge what was sent."""
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", int(UNACKNOWLEDGED_TIMEOUT * 1000)),
    ):
        if hasattr(socket, name):  # Linux has them all
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


# What sending and receiving raise when the connection breaks: pg8000 wraps some of it, and unpacks what it read short.
_BROKEN = (OSError, pg8000.native.InterfaceError, struct.error)


def start_session(
    driver: Callable[..., Any],
    address: DatabaseAddress,
    *,
    application_name: str = APPLICATION_NAME,
    **options: object,
) -> tuple[Any, socket.socket]:
    """Open a socket and log in over it with one of pg8000's interfaces.

    Parameters
    ----------
    driver : Callable
        ``pg8000.native.Connection`` or ``pg8000.dbapi.connect``.
    address : DatabaseAddress
        Where to.
    application_name : str
        Shown in ``pg_stat_activity``.
    **options
        More for `driver`.

    Returns
    -------
    tuple
        What `driver` returns, and the socket under it.

    Raises
    ------
    LedgerUnavailableError
        If there is no way in.
    """
    password = address.password_now()
    try:
        connected = address.open_socket()
        try:
            session = driver(
                address.user,
                database=address.database,
                password=password,
                application_name=application_name,
                ssl_context=False,  # the socket has seen to that
                sock=connected,
                **options,
            )
        except BaseException:
            connected.close()
            raise
    except (pg8000.native.DatabaseError, *_BROKEN) as error:
        # A server that refuses hangs up. pg8000 tries to say goodbye nevertheless, and its failure to do so hides why.
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, pg8000.native.DatabaseError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise LedgerUnavailableError(f"the database refuses the connection: {refusal(cause.args[0])}") from error
        raise LedgerUnavailableError(f"the database cannot be reached: {error}") from error
    return session, connected


_UUID_OID, _BYTEA_OID = 2950, 17
_IDLE = (None, b"I")  # transaction status in ReadyForQuery: not in a transaction block; None before the first statement
_int16 = struct.Struct("!H").pack
_int32 = struct.Struct("!i").pack
_read_int32 = struct.Struct("!i").unpack_from
_NULL = _int32(-1)
_DESCRIBE_PORTAL = b"D" + _int32(6) + b"P\0"
_EXECUTE = b"E" + _int32(9) + b"\0" + _int32(0)
_SYNC = b"S" + _int32(4)
_TERMINATE = b"X" + _int32(4)
_READY_FOR_QUERY = b"Z"
_HEADER = 5  # bytes: a code, and the length of the message without that code
_RECEIVED_AT_ONCE = 1 << 18  # bytes
_TEXT, _BINARY = _int16(0), _int16(1)  # format codes
_ALL_TEXT = _int16(0)  # no format codes


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement that the server keeps for this connection."""

    name: bytes
    result_formats: bytes  # as Bind wants them: how many, then the codes
    converters: list[Callable[[str], Any] | None]  # one a column; None takes the bytes as they are


class Connection:
    """An open connection.

    Parameters
    ----------
    address : DatabaseAddress
        Where to. Unless it is `prepared`, statements are parsed each time, still in one round trip, and no session
        setting is sent that a pooler does not take; among those is the statement's time-out, which the role may have.
    prepared : bool
        False to do so even if the address says otherwise.

    Raises
    ------
    LedgerUnavailableError
        If there is no way in.
    """

    def __init__(self, address: DatabaseAddress, *, prepared: bool = True) -> None:
        self._prepare = prepared and address.prepared
        self._statements: dict[str, _Prepared] = {}
        self._usable = True
        settings = {"client_encoding": "UTF8", "TimeZone": "UTC"}
        if self._prepare:
            milliseconds = str(int(STATEMENT_TIMEOUT * 1000))
            settings |= {
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                # A plan made for any value at all looks expensive, expensive enough to compile it or to start workers,
                # which takes longer than the few pages that our statements touch.
                "jit": "off",
                "max_parallel_workers_per_gather": "0",
            }
        self._pg, self._socket = start_session(pg8000.native.Connection, address, startup_params=settings)
        self._pg.register_in_adapter(_UUID_OID, UUID)
        self._pg.message_types[b"D"] = _read_row
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)

    def is_idle(self) -> bool:
        """Whether all that was asked has been answered: not broken under a statement, not inside a transaction."""
        return self._usable and self._pg._transaction_status in _IDLE  # noqa: SLF001  # pg8000 has no other way

    def is_usable(self) -> bool:
        """Whether the next statement can be sent, as far as one can tell without asking the server.

        No when the connection is not idle, and when there is anything to read while nothing was asked: the end of the
        stream, or the server's farewell.
        """
        return self.is_idle() and not self._readable.poll(0)

    def run(self, sql: str, parameters: Mapping[str, object], *, keep: bool = True) -> list[list[Any]]:
        """Run one statement, in one round trip.

        Parameters
        ----------
        sql : str
            With ``:name`` for each parameter. Texts are kept, parsed, for as long as the process lives and, prepared,
            for as long as the connection does: pass constants.
        parameters : Mapping
            A value for each name: None, str, bytes, UUID, bool, int, float, datetime or `Array`.
        keep : bool
            False where the best plan depends on the values: the statement is then planned for these.

        Returns
        -------
        list of list
            The rows: bytes for ``bytea``, UUID for ``uuid``, parsed JSON for ``json`` and ``jsonb``.

        Raises
        ------
        StatementInterruptedError
            If the connection broke. Whether the statement took effect is not known.
        UnstorableValueError
            If a value cannot be sent at all.
        LedgerError
            As `errors.refusal` says, if the server refused it. It then had no effect.
        """
        text, names = _compiled(sql)
        values = [parameters[name] for name in names]
        known = self._statements.get(sql)
        try:
            if known is None:
                keep = keep and self._prepare
                name = b"ledger_%d" % len(self._statements) if keep else b""
                packet = _parse(name, text) + _bind(name, values, _ALL_TEXT) + _DESCRIBE_PORTAL + _EXECUTE + _SYNC
                context = Context(text)
            else:
                packet = _bind(known.name, values, known.result_formats) + _EXECUTE + _SYNC
                context = Context(text, columns=[], input_funcs=known.converters)
        except UnicodeEncodeError as error:
            raise UnstorableValueError(f"a text that is not Unicode: {error.reason}") from error
        except struct.error as error:
            raise UnstorableValueError(f"a number out of range: {error}") from error
        self._exchange(packet, context)
        if known is None and keep:
            self._statements[sql] = _Prepared(name, *_bytes_in_binary(context))
        rows: list[list[Any]] = context.rows or []
        return rows

    def _exchange(self, packet: bytes, context: Context) -> None:
        self._usable = False  # whatever interrupts us leaves answers unread
        try:
            self._socket.sendall(packet)
            complete = self._receive(context)
        except TimeoutError as error:
            if error.errno is None:  # our own patience, not the network's: it would not help to ask again
                raise NoAnswerError(f"the database has not answered for {ANSWER_TIMEOUT:g} s") from error
            raise StatementInterruptedError(f"the connection to the database broke: {error}") from error
        except OSError as error:
            raise StatementInterruptedError(f"the connection to the database broke: {error}") from error
        refused = None if context.error is None else refusal(context.error.args[0])
        if not complete and refused is None:
            raise StatementInterruptedError("the database has closed the connection")
        self._usable = complete and not isinstance(refused, StatementInterruptedError)
        if refused is not None:
            raise refused

    def _receive(self, context: Context) -> bool:
        """Have pg8000 handle all messages up to ReadyForQuery. False if the stream ends before that.

        pg8000 itself reads each message in two pieces, which for a page of records takes longer than the query.
        """
        handlers = self._pg.message_types
        unread = bytearray()
        wanted = _HEADER
        while received := self._socket.recv(_RECEIVED_AT_ONCE):
            unread += received
            if len(unread) < wanted:
                continue
            messages, start = bytes(unread), 0
            while True:
                wanted = _HEADER
                if len(messages) - start >= _HEADER:
                    wanted = 1 + _read_int32(messages, start + 1)[0]
                if len(messages) - start < wanted:
                    break
                code, end = messages[start : start + 1], start + wanted
                handlers[code](messages[start + _HEADER : end], context)
                if code == _READY_FOR_QUERY:
                    return True
                start = end
            unread = bytearray(messages[start:])
        return False

    def close(self) -> None:
        """Close the connection, without waiting for anything."""
        if self._usable:
            with contextlib.suppress(OSError):
                self._socket.sendall(_TERMINATE)
        self._socket.close()


@lru_cache(maxsize=256)
def _compiled(sql: str) -> tuple[str, tuple[str, ...]]:
    """Number the parameters of a statement: its text for the server, and the names in order."""
    text, values_in_order = pg8000.native.to_statement(sql)
    return text, tuple(values_in_order(_Names()))


class _Names(dict[str, str]):
    """Gives each name itself as its value."""

    def __missing__(self, name: str) -> str:
        return name


def _parse(name: bytes, text: str) -> bytes:
    """Messages that define a statement. Closing it first, no error where there is none, makes sure the name is free."""
    close = b"C" + _int32(6 + len(name)) + b"S" + name + b"\0"
    body = name + b"\0" + text.encode() + b"\0" + _int16(0)
    return close + b"P" + _int32(4 + len(body)) + body


def _bind(name: bytes, values: Sequence[object], result_formats: bytes) -> bytes:
    """Message that gives a statement its values."""
    formats, parts = [], []
    for value in values:
        if value is None:
            formats.append(_TEXT)
            parts.append(_NULL)
        else:
            code, encode = _ENCODERS.get(type(value)) or _inherited_encoder(type(value))
            raw = encode(value)
            formats.append(code)
            parts += (_int32(len(raw)), raw)
    count = _int16(len(formats))
    body = b"".join((b"\0", name, b"\0", count, *formats, count, *parts, result_formats))
    return b"B" + _int32(4 + len(body)) + body


_ENCODERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    str: (_TEXT, str.encode),
    bytes: (_BINARY, bytes),
    UUID: (_BINARY, lambda value: value.bytes),
    bool: (_TEXT, lambda value: b"true" if value else b"false"),
    int: (_TEXT, lambda value: str(int(value)).encode()),
    float: (_TEXT, lambda value: repr(float(value)).encode()),
    datetime: (_TEXT, lambda value: value.isoformat().encode()),
    Array: (_BINARY, encode_array),
}


def _inherited_encoder(kind: type) -> tuple[bytes, Callable[[Any], bytes]]:
    """Return the format code and the encoder of the type that this one is made from (an enumeration's, NumPy's)."""
    for known in kind.__mro__:
        if known in _ENCODERS:
            return _ENCODERS[known]
    raise TypeError(f"cannot send a {kind.__name__} to PostgreSQL")


def _bytes_in_binary(context: Context) -> tuple[bytes, list[Callable[[str], Any] | None]]:
    """Result formats and converters for later runs of a statement that was just described: ``bytea`` in binary."""
    binary = [column["type_oid"] == _BYTEA_OID for column in context.columns or ()]
    if not any(binary):
        return _ALL_TEXT, context.input_funcs
    converters = [None if raw else convert for raw, convert in zip(binary, context.input_funcs, strict=True)]
    return _int16(len(binary)) + b"".join(_BINARY if raw else _TEXT for raw in binary), converters


def _read_row(data: bytes, context: Context) -> None:
    """Take a DataRow message apart."""
    row: list[Any] = []
    position = 2
    for convert in context.input_funcs:
        (length,) = _read_int32(data, position)
        position += 4
        if length == -1:
            row.append(None)
            continue
        raw = data[position : position + length]
        position += length
        row.append(raw if convert is None else convert(raw.decode()))
    context.rows.append(row)
