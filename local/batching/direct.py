"""Requests that go straight from the parser into the queue, and their answers straight to the connection.

For each request, uvicorn makes a task, whose application waits for messages and sends two. A request to predict needs
none of it: its head says whether it is admitted, its body is complete when the parser says so, and its answer is a few
lines and a body. docs/decisions/batching-server.md says what this gains. Whatever is not admitted here is answered by
the application, and means the same there.
"""

from typing import TYPE_CHECKING, Any, cast

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from local.batching.application import NOBODY_READS, Application, Ticket
from local.batching.batcher import CLIENT_GONE
from local.http.protocol import Protocol

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


class DirectAnswer:
    """Where the answer to a request goes: what the batcher needs of a future."""

    __slots__ = ("_application", "_cycle", "_ticket", "_transport")

    def __init__(self, application: Application, cycle: RequestResponseCycle, ticket: Ticket) -> None:
        self._application = application
        self._cycle = cycle
        self._ticket = ticket
        self._transport = cycle.transport

    def done(self) -> bool:
        """Tell whether there is an answer."""
        return self._cycle.response_started

    def cancelled(self) -> bool:
        """Tell whether nobody waits for it."""
        return self._cycle.disconnected

    def set_result(self, response: Response) -> None:
        """Send the answer (RFC 9112, section 4)."""
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        self._application.left(self._ticket, self, NOBODY_READS if cycle.disconnected else response.status_code)
        if cycle.disconnected:
            return
        lines = [STATUS_LINE[response.status_code]]
        for name, value in (*cycle.default_headers, *response.raw_headers):
            lines += (name, b": ", value, b"\r\n")
        lines += (b"x-request-id: ", self._ticket.request_id.encode(), b"\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (b"\r\n", bytes(response.body))
        self._transport.write(b"".join(lines))
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()


class BatchingProtocol(Protocol):
    """The HTTP protocol of the server that batches. It notes whose client has hung up."""

    _application: Application | None = None

    _ticket: Ticket | None = None
    """What the request whose body is being read was admitted with; None if the application reads it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it in the scope of the request, so that it is not predicted if it was not begun."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.scope[CLIENT_GONE] = True  # type: ignore[typeddict-unknown-key]  # ASGI admits others
        super().connection_lost(exc)

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
            return
        self.cycle.more_body = False
        self._put(self.cycle, ticket)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._application = application = self._application or _innermost(app)
        ticket = None
        # A request that asks for another protocol is complete for the parser before its body.
        if not (cycle.waiting_for_100_continue or self.parser.should_upgrade()):
            ticket = application.admit(cast("dict[str, Any]", cycle.scope))
        if ticket is None:
            super()._start_asgi_task(cycle, app)
        elif not cycle.more_body:  # it has waited for the answer to the request before it
            self._put(cycle, ticket)
        elif cycle is self.cycle:
            self._ticket = ticket

    def _put(self, cycle: RequestResponseCycle, ticket: Ticket) -> None:
        application = self._application or _innermost(self.app)
        answer = DirectAnswer(application, cycle, ticket)
        application.put(cast("dict[str, Any]", cycle.scope), bytes(cycle.body), ticket, answer)


def _innermost(app: Any) -> Application:  # noqa: ANN401 - uvicorn wraps the application in its middleware
    while not isinstance(app, Application):
        app = app.app
    return app
