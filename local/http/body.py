"""Read the body of a request, as far as a limit admits it."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]


class BodyTooLargeError(Exception):
    """A body is larger than its limit.

    Parameters
    ----------
    size
        How many bytes it has; None if its head does not say.
    """

    def __init__(self, size: int | None) -> None:
        super().__init__(size)
        self.size = size


class ClientGoneError(Exception):
    """The client has closed the connection before its request was complete."""


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """Return the body of a request.

    uvicorn reads and drops what is left of a body that is too large, so that the client reads the response before the
    connection closes.

    Parameters
    ----------
    headers
        The headers of its ASGI scope.
    receive
        Returns the messages that follow.
    limit
        The most bytes that the body may have. If the head announces more, no message is asked for.

    Raises
    ------
    BodyTooLargeError
        If it has more.
    ClientGoneError
        If the client has closed the connection.
    """
    # The server has checked that it is a number.
    if announced := [int(value) for name, value in headers if name == b"content-length" and int(value) > limit]:
        raise BodyTooLargeError(announced[0])
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise BodyTooLargeError(None)
        more = message.get("more_body", False)
    return b"".join(parts)
