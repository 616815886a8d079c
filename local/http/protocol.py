"""uvicorn's HTTP protocol, with what its clients need beyond it."""

import asyncio
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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
            self._transport.write(b"".join(self._written))
            self._written.clear()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with responses in one packet, and upgrades declined."""

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
            self.send_400_response("Invalid HTTP request received.")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Answer a request that asks for another protocol as if it did not ask (RFC 9110, section 7.8).

        Java's HTTP client asks for HTTP/2 in its first request, which may have a body. The parser stops before that
        body. A second parser therefore reads it, and gets only the headers that say where the body ends.
        """
        framing = [header for header in self.headers if header[0] in {b"content-length", b"transfer-encoding"}]
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
