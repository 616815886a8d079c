"""The HTTP server: an ASGI application that does what API Gateway does, and the uvicorn server that runs it."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from pydantic_core import from_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local.bearer import token_of
from local.errors import CannotServeError
from local.gateway import integration, sites
from local.gateway.routing import Router
from local.runtime.invocation import (
    LARGEST_PAYLOAD,
    FunctionError,
    FunctionStartError,
    FunctionTimeoutError,
    Identifiers,
    Invocation,
    encode,
    new_identifiers,
)
from local.runtime.pool import FunctionPool, Report

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Authorize = Callable[[str], dict[str, str] | None]

# Seconds that an idle connection stays open: longer than clients keep theirs. If the server closed it first, a client's
# next request could be lost.
_KEEP_ALIVE = 75
# Responses that may be sent before the body was read.
_WITHOUT_THE_BODY = frozenset(
    (integration.TOKEN_MISSING.status, integration.TOO_LARGE_STATUS, sites.CROSS_SITE, sites.MISDIRECTED)
)


class _BodyTooLargeError(Exception):
    """A body is larger than API Gateway's limit."""


class _ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class HttpApi:
    """The application: turns every request into an event, and every result into a response.

    Parameters
    ----------
    router
        The routes, with the functions behind them.
    port
        The port that the server listens on.
    report
        Called when a function fails.
    callers
        Decides which sites' requests are answered.
    authorize
        Returns a token's claims, or None if the token is invalid; called for routes that need a token. If None, no
        route needs one.
    """

    def __init__(
        self,
        router: Router[FunctionPool],
        port: int,
        report: Report,
        callers: sites.Sites,
        authorize: Authorize | None = None,
    ) -> None:
        self._router = router
        self._callers = callers
        self._authorize = authorize
        self._port = port
        self._report = report

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request (ASGI specification, "HTTP & WebSocket", version 2.3)."""
        identifiers = new_identifiers()
        try:
            response = await self._respond(cast("integration.HttpScope", scope), receive, identifiers)
        except _ClientGoneError:
            return
        headers = [*response.headers, (b"apigw-requestid", identifiers.request_id.encode("ascii"))]
        if response.status in _WITHOUT_THE_BODY and _expects_continue(scope):
            # The client was not told to send the body. If the connection stayed open, client and server could disagree
            # about where the next request begins.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(
        self, scope: integration.HttpScope, receive: Receive, identifiers: Identifiers
    ) -> integration.Response:
        refusal = self._callers.refusal(scope)
        if refusal is not None:
            return refusal
        match = self._router.match(scope["method"], scope["path"])
        if match is None:
            return integration.NOT_FOUND
        claims = None
        if self._authorize is not None and match.needs_token:
            token = token_of(scope["headers"])
            if not token:
                return integration.TOKEN_MISSING
            claims = self._authorize(token)
            if claims is None:
                return integration.TOKEN_INVALID
        try:
            body = await _read_body(scope, receive)
        except _BodyTooLargeError:
            return integration.too_large(f"The body is larger than the limit of {integration.LARGEST_BODY} bytes.")
        event = encode(
            integration.make_event(
                scope,
                body,
                route_key=match.route_key,
                path_parameters=match.path_parameters,
                identifiers=identifiers,
                port=self._port,
                claims=claims,
            )
        )
        if len(event) > LARGEST_PAYLOAD:
            return integration.too_large(
                f"The body of {len(body)} bytes makes an event of {len(event)} bytes, and the limit is "
                f"{LARGEST_PAYLOAD} bytes: a binary body grows by a third in the event."
            )
        return await self._invoke(match.target, Invocation(event, identifiers), without_body=scope["method"] == "HEAD")

    async def _invoke(self, pool: FunctionPool, invocation: Invocation, *, without_body: bool) -> integration.Response:
        name = pool.function.name
        alarm = asyncio.get_running_loop().call_later(
            integration.LONGEST_WAIT,
            invocation.fail,
            FunctionTimeoutError(f"it did not answer within {integration.LONGEST_WAIT:g} seconds"),
        )
        try:
            pool.invoke(invocation)
            payload = await invocation.result
            return integration.read_result(from_json(payload), without_body=without_body)
        except FunctionTimeoutError as error:
            self._report(f"{name}: {error}")
            return integration.SERVICE_UNAVAILABLE
        except FunctionStartError:
            pass  # the pool reports it once, rather than for every request
        except FunctionError as error:
            self._report(f"{name}: {error}")
        except integration.MalformedResultError as error:
            self._report(f"{name}: its result is not a response: {error}")
        finally:
            alarm.cancel()
        return integration.INTERNAL_SERVER_ERROR


async def _read_body(scope: integration.HttpScope, receive: Receive) -> bytes:
    for name, value in scope["headers"]:
        # uvicorn has checked that it is a number.
        if name == b"content-length" and int(value) > integration.LARGEST_BODY:
            raise _BodyTooLargeError
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > integration.LARGEST_BODY:
                # uvicorn reads and drops the rest, so that the client reads the response before the connection closes.
                raise _BodyTooLargeError
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise _ClientGoneError
    return body


def _expects_continue(scope: dict[str, Any]) -> bool:
    return any(name == b"expect" for name, _ in scope["headers"])


class _Corked:
    """A transport that collects writes, and sends them together at the end of the event loop's iteration.

    uvicorn writes the head and the body of a response separately: that would be two packets, and wake the client twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the transport's own attribute
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._written:
            self._transport.write(b"".join(self._written))
            self._written.clear()


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with responses in one packet, and upgrades declined."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(cast("asyncio.Transport", _Corked(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
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


class HttpServer(uvicorn.Server):
    """uvicorn, without its signal handlers, and with a way to close every connection."""

    def __init__(self, application: HttpApi) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                application,
                http=_Protocol,
                ws="none",
                interface="asgi3",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: the local server has its own."""
        yield

    async def run_on(self, listener: socket.socket) -> None:
        """Serve on a listening socket until `should_exit` is set and every request is answered."""
        await self.serve(sockets=[listener])

    def close_connections(self) -> None:
        """Close every connection, even one with an unanswered request."""
        for connection in list(self.server_state.connections):
            connection.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Clients that connect before the server is ready wait in its backlog.

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
            reason = f"port {port} on {host} is in use: set PORT to another port, or stop the program that uses it"
        elif error.errno == errno.EACCES:
            reason = f"port {port} on {host} needs root: set PORT to 1024 or higher"
        elif error.errno == errno.EADDRNOTAVAIL:
            reason = f"HOST={host}: this machine does not have that address"
        else:
            reason = f"cannot listen on port {port} of {host}: {error.strerror}"
        raise CannotServeError(reason) from error
    return listener
