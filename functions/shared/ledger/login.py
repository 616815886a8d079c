"""Logging in to the database: the socket, TLS on it, and a session of pg8000's over it."""

import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import pg8000.native

from functions.shared.ledger.database_url import DatabaseAddress
from functions.shared.ledger.errors import LedgerUnavailableError, refusal
from functions.shared.ledger.iam import login_token

APPLICATION_NAME = "onnx-ledger"

# Seconds. One call may wait for the pool, connect, lose its statement and repeat it: all of it within the 30 seconds
# that API Gateway waits. The server gives a statement up before the client gives the server up.
CONNECT_TIMEOUT = 5.0
STATEMENT_TIMEOUT = 8.0
ANSWER_TIMEOUT = 10.0
UNACKNOWLEDGED_TIMEOUT = 5.0

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

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
    password = password_now(address)
    try:
        connected = open_socket(address)
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


def open_socket(address: DatabaseAddress) -> socket.socket:
    """Open a socket to the server, TLS already spoken where it must be.

    Parameters
    ----------
    address : DatabaseAddress
        Where to.

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
    if address.socket_directory is not None:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        plain = socket.create_connection((address.host, address.port), CONNECT_TIMEOUT)
    try:
        if address.socket_directory is not None:
            plain.settimeout(CONNECT_TIMEOUT)
            plain.connect(f"{address.socket_directory}/.s.PGSQL.{address.port}")
        else:
            _keep_alive(plain)
        connected = _with_tls(plain, address) if address.verify_tls else plain
    except BaseException:
        plain.close()
        raise
    connected.settimeout(ANSWER_TIMEOUT)
    return connected


def _with_tls(plain: socket.socket, address: DatabaseAddress) -> ssl.SSLSocket:
    plain.sendall(_SSL_REQUEST)
    if plain.recv(1) != b"S":
        raise LedgerUnavailableError(f"the database server at {address.host} does not offer TLS")
    return ssl.create_default_context(cafile=address.ca_file).wrap_socket(plain, server_hostname=address.host)


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
