"""uvicorn's HTTP protocol, with what its clients need beyond it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local.http.body import Receive

Send = Callable[[dict[str, Any]], Awaitable[None]]

_NO_HTTP: Final = "Invalid HTTP request received."


class Corked:
    """A transport that collects writes, and sends them together at the end of the event loop's iteration.

    uvicorn writes the head and the body of a response separately: that would be two packets, and wake the client twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send bytes, with what is written next."""
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def is_empty(self) -> bool:
        """Tell whether all that was written has been sent."""
        return not self._written and self._transport.get_write_buffer_size() == 0

    def close(self) -> None:
        """Send all that was written, and close the transport."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the transport's own attribute
        """Return an attribute of the transport."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._written:
            if not self._transport.is_closing():  # the client of a request that others were sent behind has hung up
                self._transport.write(b"".join(self._written))
            self._written.clear()


async def no_http(_scope: dict[str, Any], _receive: Receive, send: Send) -> None:
    """Answer what is no HTTP: the ASGI application of a request that is broken, and has others before it."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(_NO_HTTP)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": _NO_HTTP.encode()})


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with responses in one packet and in order, and upgrades declined."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Collect what is written to a new connection."""
        self.corked = Corked(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", self.corked))

    def data_received(self, data: bytes) -> None:
        """Read what has arrived. A request for an upgrade is answered as if it did not ask for one."""
        self._unset_keepalive_if_required()
        try:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                self._decline_upgrade(data[upgrade.args[0] :])
        except HttpParserError:
            self._refuse_the_rest()

    def on_headers_complete(self) -> None:
        """Begin a request. What follows its body is no header of it (RFC 9110, section 6.5.1)."""
        super().on_headers_complete()
        self.headers = []

    def _refuse_the_rest(self) -> None:
        """Refuse what is no HTTP, but not before the requests before it are answered.

        A client takes the first answer for that to its first request, which may be stored.
        """
        cycle = self.cycle
        if cycle is not None and not (cycle.more_body or cycle.response_complete):
            cycle.keep_alive = False  # its answer is the last
        elif self.pipeline:  # it is the last of those that wait
            self.pipeline[0] = (cycle, cast("Any", no_http))
        else:
            self.send_400_response(_NO_HTTP)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answer a request that asks for another protocol as if it did not ask (RFC 9110, section 7.8).

        Java's HTTP client asks for HTTP/2 in its first request, which may have a body. The parser stops before that
        body. A second parser therefore reads it, and gets only the headers that say where the body ends.
        """
        framing = [header for header in self.scope["headers"] if header[0] in {b"content-length", b"transfer-encoding"}]
        self.cycle.keep_alive = False  # the second parser cannot read another request
        if framing:
            self.cycle.more_body = True
            self.cycle.message_event.clear()
            self.parser = HttpRequestParser(_Body(self))
            head = b"".join(b"%b: %b\r\n" % header for header in framing)
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n" + rest)


class _Body:
    """The parser callbacks of a request whose head is already known."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete
