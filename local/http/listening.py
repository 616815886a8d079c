"""The socket that a server listens on."""

import errno
import socket

from local.errors import CannotServeError


def listen(host: str, port: int, *, variable: str = "PORT") -> socket.socket:
    """Return a listening socket. Clients that connect before the server is ready wait in its backlog.

    Parameters
    ----------
    host, port
        The address.
    variable
        The environment variable that the port is from.

    Raises
    ------
    CannotServeError
        If the address cannot be used. The message names the variable to set.
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
        raise CannotServeError(f"HOST={host}: no such address ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = (
                f"port {port} on {host} is in use: set {variable} to another port, or stop the program that uses it"
            )
        elif error.errno == errno.EACCES:
            reason = f"port {port} on {host} needs root: set {variable} to 1024 or higher"
        elif error.errno == errno.EADDRNOTAVAIL:
            reason = f"HOST={host}: this machine does not have that address"
        else:
            reason = f"cannot listen on port {port} of {host}: {error.strerror}"
        raise CannotServeError(reason) from error
    return listener
