"""Requests that go straight from the parser into the queue, and their answers straight to the connection.

For each request, uvicorn makes a task, whose application waits for messages and sends two. A request to predict needs
none of it: its head says whether it is admitted, its body is complete when the parser says so, and its answer is a few
lines and a body. docs/decisions/batching-server.md says what this gains. Whatever is not admitted here is answered by
the application, and means the same there.
"""

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, cast

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from local.batching.application import NOBODY_READS, Application, Ticket
from local.batching.batcher import CLIENT_GONE
from local.http.protocol import Protocol, no_http

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


class DirectAnswer:
    """Where the answer to a request goes: what the batcher needs of a future.

    Parameters
    ----------
    application
        What has admitted the request.
    protocol
        The connection.
    cycle, ticket
        The request.
    """

    __slots__ = ("_application", "_at_once", "_cycle", "_protocol", "_settled", "_ticket", "_unsent")

    def __init__(
        self, application: Application, protocol: "BatchingProtocol", cycle: RequestResponseCycle, ticket: Ticket
    ) -> None:
        self._application = application
        self._protocol = protocol
        self._cycle = cycle
        self._ticket = ticket
        self._at_once = protocol.has_sent_all()
        self._unsent: bytes | None = None
        self._settled = False

    def done(self) -> bool:
        """Tell whether there is an answer."""
        return self._settled

    def cancelled(self) -> bool:
        """Tell whether nobody waits for it."""
        return self._cycle.disconnected

    def send(self, response: Response) -> None:
        """Send the answer from a thread that is not the loop's, as far as the connection takes it at once.

        While a request is not answered, nothing else is written to its connection.
        """
        if self._at_once:
            self._at_once = False
            message = self._message(response)
            with self._protocol.writing:
                if not self._settled and (descriptor := self._protocol.descriptor) is not None:
                    with contextlib.suppress(OSError):  # the loop finds out what it means
                        self._unsent = message[os.write(descriptor, message) :]

    def set_result(self, response: Response) -> None:
        """Send the answer, or what is left of it, and go on to the next request of the connection."""
        cycle, protocol = self._cycle, self._protocol
        with protocol.writing:
            self._settled = True
        cycle.response_started = cycle.response_complete = True
        unread = cycle.disconnected and self._unsent != b""
        self._application.left(self._ticket, self, NOBODY_READS if unread else response.status_code)
        if cycle.disconnected:
            return
        if unsent := self._message(response) if self._unsent is None else self._unsent:
            cycle.transport.write(unsent)
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def _message(self, response: Response) -> bytes:
        """Return an answer as it is sent (RFC 9112, section 4)."""
        cycle = self._cycle
        lines = [STATUS_LINE[response.status_code]]
        for name, value in (*cycle.default_headers, *response.raw_headers):
            lines += (name, b": ", value, b"\r\n")
        lines += (b"x-request-id: ", self._ticket.request_id.encode(), b"\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", bytes(response.body))
        return b"".join(lines)


class BatchingProtocol(Protocol):
    """The HTTP protocol of the server that batches. It notes whose client has hung up."""

    _application: Application | None = None

    _ticket: Ticket | None = None
    """What the request whose body is being read was admitted with; None if the application reads it."""

    descriptor: int | None = None
    """What another thread may write to, as long as it holds `writing`."""

    _idle_since: float | None = None
    """When the last answer was sent; None while there is a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Note what the connection is written to."""
        super().connection_made(transport)
        self.writing = threading.Lock()
        if self.scheme == "http":  # under TLS, only the transport can write
            self.descriptor = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it in the scope of the request, so that it is not predicted if it was not begun."""
        with self.writing:
            self.descriptor = None  # it is closed next, and may be another connection's then
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.scope[CLIENT_GONE] = True  # type: ignore[typeddict-unknown-key]  # ASGI admits others
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Begin a request. Lines of one name are one header, as API Gateway joins them (RFC 9110, section 5.3)."""
        if len({name for name, _ in self.headers}) < len(self.headers):
            joined: dict[bytes, list[bytes]] = {}
            for name, value in self.headers:
                joined.setdefault(name, []).append(value)
            self.headers[:] = [(name, b",".join(values)) for name, values in joined.items()]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body. One that becomes too large is left to the application, which refuses it."""
        if self._ticket is None:
            super().on_body(body)
            return
        self.cycle.body += body
        if len(self.cycle.body) > self._ticket.most_bytes:
            self._ticket = None
            self.cycle.message_event.set()
            super()._start_asgi_task(self.cycle, self.app)

    def on_message_complete(self) -> None:
        """Put an admitted request into the queue."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            super().on_message_complete()
            if self.cycle.response_complete and not self.pipeline:  # it was answered before it was read
                self._be_idle()
            return
        self.cycle.more_body = False
        self._put(self.cycle, ticket)

    def has_sent_all(self) -> bool:
        """Tell whether all that was written to the connection has been sent."""
        return self.corked.is_empty()

    def on_response_complete(self) -> None:
        """Go on to a request that was sent before the last one was answered, or let the connection be idle.

        uvicorn starts a timer for each answer, and stops it with the next request. This one looks once in a while.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._be_idle()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that is idle for too long."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or self._idle_since is None:
            return  # with the answer to its request, it is looked at again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_after(left)
        else:
            self.transport.close()

    def _be_idle(self) -> None:
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def _look_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._application = application = self._application or _innermost(app)
        ticket = None
        # A request that asks for another protocol is complete for the parser before its body.
        if not (cycle.waiting_for_100_continue or self.parser.should_upgrade() or app is no_http):
            ticket = application.admit(cast("dict[str, Any]", cycle.scope))
        if ticket is None:
            super()._start_asgi_task(cycle, app)
        elif ticket.refusal is not None:  # of many that were sent ahead, none waits within the answer to another
            self.loop.call_soon(DirectAnswer(application, self, cycle, ticket).set_result, ticket.refusal)
        elif not cycle.more_body:  # it has waited for the answer to the request before it
            self._put(cycle, ticket)
        elif cycle is self.cycle:
            self._ticket = ticket

    def _put(self, cycle: RequestResponseCycle, ticket: Ticket) -> None:
        application = self._application or _innermost(self.app)
        answer = DirectAnswer(application, self, cycle, ticket)
        application.put(cast("dict[str, Any]", cycle.scope), bytes(cycle.body), ticket, answer)


def _innermost(app: Any) -> Application:  # noqa: ANN401 - uvicorn wraps the application in its middleware
    while not isinstance(app, Application):
        app = app.app
    return app
