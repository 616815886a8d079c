"""Logging in to the database: the socket, TLS on it, and a session of pg8000's over it."""

import contextlib
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from functions.shared.ledger.database_url import DatabaseAddress
from functions.shared.ledger.driver import (
    BROKEN,
    ChannelBindingError,
    DatabaseError,
    DbapiSession,
    NativeSession,
    error_fields,
)
from functions.shared.ledger.errors import LedgerUnavailableError, refusal
from functions.shared.ledger.iam import login_token

# Seconds. One call may wait for the pool, connect, lose its statement and repeat it: all of it within LONGEST_WAIT, so
# that a caller knows in under three seconds that the database is not there. The server gives a statement up before the
# client gives the server up: the outcome is then certain.
LONGEST_WAIT = 2.1
CONNECT_TIMEOUT = 1.5
STATEMENT_TIMEOUT = 1.7
UNACKNOWLEDGED_TIMEOUT = 0.8

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

# What the server says of a setting that it does not take: PgBouncer in transaction mode refuses most of them.
_PROTOCOL_VIOLATION = "08P01"
# OpenSSL's verify codes X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_FOR_ANOTHER_NAME = (62, 64)


def start_session(
    session_type: type[NativeSession | DbapiSession],
    address: DatabaseAddress,
    *,
    application_name: str | None = None,
    settings: Mapping[str, str] | None = None,
    until: float | None = None,
) -> tuple[Any, socket.socket]:
    """Open a socket and log in over it with one of pg8000's interfaces.

    Parameters
    ----------
    session_type : type
        `NativeSession` or `DbapiSession`.
    address : DatabaseAddress
        Where to.
    application_name : str or None
        Shown in ``pg_stat_activity``; None for that of `address`.
    settings : Mapping or None
        Session settings to start with.
    until : float or None
        When to give up, on the monotonic clock, if ``CONNECT_TIMEOUT`` ends later.

    Returns
    -------
    tuple
        The session, and the socket under it.

    Raises
    ------
    LedgerUnavailableError
        If there is no way in.
    """
    password = password_now(address)
    startup = dict(settings or {})
    if address.options is not None:
        startup["options"] = address.options
    try:
        limit = _connect_limit(address, until)
        connected = open_socket(address, limit)
        try:
            connected.settimeout(_left(limit))
            session = session_type(
                address.user,
                database=address.database,
                password=password,
                application_name=application_name or address.application_name,
                channel_binding_required=address.channel_binding_required,
                ssl_context=False,  # the socket has seen to that
                sock=connected,
                startup_params=startup,
            )
            _refuse_standby(session.parameter_statuses, address.target_session_attrs)
            connected.settimeout(LONGEST_WAIT)
        except BaseException:
            close_socket(connected)
            raise
    except ssl.SSLCertVerificationError as error:
        advice = (
            "connect by a name that the certificate has"
            if error.verify_code in _FOR_ANOTHER_NAME
            else "name a file with the provider's certificate authority as sslrootcert in DATABASE_URL"
        )
        raise LedgerUnavailableError(f"the database cannot be reached: {error}; {advice}") from error
    except (DatabaseError, *BROKEN) as error:
        raise _no_way_in(error, address) from error
    return session, connected


def _no_way_in(error: Exception, address: DatabaseAddress) -> LedgerUnavailableError:
    # A server that refuses hangs up. pg8000 tries to say goodbye nevertheless, and its failure to do so hides why.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (DatabaseError, ChannelBindingError, KeyError, struct.error)):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, DatabaseError):
        fields = error_fields(cause)
        advice = ""
        if fields.get("C") == _PROTOCOL_VIOLATION and address.prepared:
            advice = "; a pooler in transaction mode wants pooler=transaction in DATABASE_URL"
        return LedgerUnavailableError(f"the database refuses the connection: {refusal(fields)}{advice}")
    if isinstance(cause, ChannelBindingError):
        return LedgerUnavailableError(
            "the database server does not log in with SCRAM-SHA-256-PLUS, and channel_binding=require: somebody in "
            "between may be reading along; where that is a proxy of your own, leave channel_binding out of DATABASE_URL"
        )
    if cause is not None:
        return LedgerUnavailableError("the database cannot be reached: what answers does not speak its protocol")
    return LedgerUnavailableError(f"the database cannot be reached: {error}")


def _refuse_standby(statuses: Mapping[str, str], wanted: str) -> None:
    """Refuse a server that is not what ``target_session_attrs`` wants, as far as it says (PostgreSQL 14 and later)."""
    is_standby = statuses.get("in_hot_standby") == "on"
    is_read_only = is_standby or statuses.get("default_transaction_read_only") == "on"
    if (wanted == "primary" and is_standby) or (wanted == "read-write" and is_read_only):
        raise LedgerUnavailableError(f"the database server is read-only, and target_session_attrs={wanted}")


def password_now(address: DatabaseAddress) -> str:
    """Return the password for a connection that is opened now: a new token where IAM says who we are.

    Parameters
    ----------
    address : DatabaseAddress
        Where to.

    Returns
    -------
    str
        Empty where there is none.

    Raises
    ------
    LedgerUnavailableError
        If no token can be signed.
    """
    if address.iam_region is not None and address.host is not None:
        return login_token(address.host, address.port, address.user, address.iam_region)
    # Without any, pg8000 stumbles over a server that asks for one; an empty one is refused in words.
    return address.password or ""


def _connect_limit(address: DatabaseAddress, until: float | None) -> float:
    limit = time.monotonic() + min(CONNECT_TIMEOUT, address.connect_timeout or CONNECT_TIMEOUT)
    return limit if until is None else min(limit, until)


def _left(limit: float) -> float:
    """Return how many seconds are left, for a socket's timeout.

    Raises
    ------
    TimeoutError
        If none are left.
    """
    left = limit - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def open_socket(address: DatabaseAddress, until: float | None = None) -> socket.socket:
    """Open a socket to the server, TLS already spoken where it must be.

    Parameters
    ----------
    address : DatabaseAddress
        Where to.
    until : float or None
        When to give up, on the monotonic clock; None for ``CONNECT_TIMEOUT`` from now.

    Returns
    -------
    socket.socket
        Ready for PostgreSQL's start-up message; gives up waiting after ``LONGEST_WAIT``.

    Raises
    ------
    OSError
        If the server cannot be reached, or its certificate is not to be trusted.
    LedgerUnavailableError
        If the server does not speak TLS, or the authorities to trust cannot be read.
    """
    context = _trusting(address.ca_file) if address.verify_tls else None
    limit = _connect_limit(address, until)
    if address.socket_directory is not None:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        plain = _open_tcp(address.host or "", address.port, limit)
    try:
        if address.socket_directory is not None:
            plain.settimeout(_left(limit))
            plain.connect(f"{address.socket_directory}/.s.PGSQL.{address.port}")
        else:
            _keep_alive(plain)
        connected = plain if context is None else _with_tls(plain, context, address.host, limit)
    except BaseException:
        plain.close()
        raise
    connected.settimeout(LONGEST_WAIT)
    return connected


def _open_tcp(host: str, port: int, limit: float) -> socket.socket:
    """Connect to the first address of a host that answers. The time is shared among its addresses."""
    addresses = _resolve(host, port, limit)
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(_left(limit) / (len(addresses) - position))
            plain.connect(address)
        except OSError:
            plain.close()
            if position + 1 == len(addresses):
                raise
        else:
            return plain
    raise OSError(f"the name {host} has no address")


_Addresses = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


def _resolve(host: str, port: int, limit: float) -> _Addresses:
    """Return the addresses of a host. The system's resolver has a time-out of its own, so a thread waits for it."""
    with contextlib.suppress(socket.gaierror):  # a name
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    answers: queue.SimpleQueue[_Addresses | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_left(limit))
    except queue.Empty:
        raise TimeoutError(f"the name {host} could not be resolved in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def close_socket(connected: socket.socket) -> None:
    """Close a socket at once, for the server to see.

    Its own ``close`` waits for pg8000's file over it to be closed, which the garbage collector does some time, and the
    server counts the connection until then.

    Parameters
    ----------
    connected : socket.socket
        The socket. Closing it again does nothing.
    """
    descriptor = connected.detach()
    if descriptor >= 0:
        socket.close(descriptor)


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise LedgerUnavailableError(f"DATABASE_URL: sslrootcert={ca_file} cannot be read: {error}") from error


def _with_tls(plain: socket.socket, context: ssl.SSLContext, host: str | None, limit: float) -> ssl.SSLSocket:
    plain.settimeout(_left(limit))
    plain.sendall(_SSL_REQUEST)
    if plain.recv(1) != b"S":
        raise LedgerUnavailableError(
            f"the database server at {host} does not offer TLS; in a private network, sslmode=disable in DATABASE_URL "
            "goes without"
        )
    plain.settimeout(_left(limit))
    return context.wrap_socket(plain, server_hostname=host)


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
