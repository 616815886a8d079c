"""What a server must have for itself: its port and its home folder."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from local.errors import CannotServeError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Clients that connect before the server is ready wait in its backlog.

    Raises
    ------
    CannotServeError
        If the address cannot be had. Says which variable to set.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
    except socket.gaierror as error:
        raise CannotServeError(f"HOST={host}: there is no such address ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} on {host} is taken: set PORT to another or stop the program that has it"
        elif error.errno == errno.EACCES:
            reason = f"port {port} on {host} is not for ordinary users: set PORT to one from 1024"
        elif error.errno == errno.EADDRNOTAVAIL:
            reason = f"HOST={host}: this machine does not have that address"
        else:
            reason = f"cannot listen on port {port} of {host}: {error.strerror}"
        raise CannotServeError(reason) from error
    return listener


@contextlib.contextmanager
def home_of_ours(home: Path) -> Iterator[None]:
    """Hold the home folder, made if missing, for this process alone.

    Raises
    ------
    CannotServeError
        If another server holds it, or it cannot be made.
    """
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotServeError(f"LEDGER_HOME={home}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise CannotServeError(
            f"another server uses {home}: stop it, or set LEDGER_HOME to another folder (and PORT to another port)"
        ) from None
    # The kernel lets go of the lock when the process ends, in whatever way.
    try:
        yield
    finally:
        os.close(lock)
