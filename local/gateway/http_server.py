"""The HTTP side: an ASGI application that stands where API Gateway stands, and the uvicorn server that runs it."""

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

from local.errors import CannotServeError
from local.gateway import integration
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

_KEEP_ALIVE = 75  # seconds that an idle connection stays open: longer than clients keep theirs, so they close first
# Answers that may be given before the body was read.
_WITHOUT_THE_BODY = frozenset((integration.TOKEN_MISSING.status, integration.TOO_LARGE_STATUS))


class _BodyTooLargeError(Exception):
    """A body is over the limit of API Gateway."""


class _ClientGoneError(Exception):
    """The client hung up before its request was complete."""


class HttpApi:
    """The application: every request becomes an event, every result a response.

    Parameters
    ----------
    router
        The routes, with the functions behind them.
    port
        Port that requests come in by.
    report
        Told when a function fails.
    authorize
        Takes a token and returns its claims, None if it is invalid; asked where a route needs a token. None where no
        route is to ask for one.
    """

    def __init__(
        self, router: Router[FunctionPool], port: int, report: Report, authorize: Authorize | None = None
    ) -> None:
        self._router = router
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
            # The client never was told to send the body: without this it could not know where its next request begins.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(
        self, scope: integration.HttpScope, receive: Receive, identifiers: Identifiers
    ) -> integration.Response:
        match = self._router.match(scope["method"], scope["path"])
        if match is None:
            return integration.NOT_FOUND
        claims = None
        if self._authorize is not None and match.needs_token:
            token = _token(scope)
            if not token:
                return integration.TOKEN_MISSING
            claims = self._authorize(token)
            if claims is None:
                return integration.TOKEN_INVALID
        try:
            body = await _read_body(scope, receive)
        except _BodyTooLargeError:
            return integration.too_large(f"The body is over the limit of {integration.LARGEST_BODY} bytes.")
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
                f"The body of {len(body)} bytes makes an event of {len(event)} bytes, over the limit of "
                f"{LARGEST_PAYLOAD} bytes: a binary body takes 4/3 of its size there."
            )
        return await self._invoke(match.target, Invocation(event, identifiers))

    async def _invoke(self, pool: FunctionPool, invocation: Invocation) -> integration.Response:
        name = pool.function.name
        alarm = asyncio.get_running_loop().call_later(
            integration.LONGEST_WAIT,
            invocation.fail,
            FunctionTimeoutError(f"there was no answer in {integration.LONGEST_WAIT:g} seconds"),
        )
        try:
            pool.invoke(invocation)
            payload = await invocation.result
            return integration.read_result(from_json(payload))
        except FunctionTimeoutError as error:
            self._report(f"{name}: {error}")
            return integration.SERVICE_UNAVAILABLE
        except FunctionStartError:
            pass  # reported by the pool, once and not for each request
        except FunctionError as error:
            self._report(f"{name}: {error}")
        except integration.MalformedResultError as error:
            self._report(f"{name}: its result is no response: {error}")
        finally:
            alarm.cancel()
        return integration.INTERNAL_SERVER_ERROR


def _token(scope: integration.HttpScope) -> str:
    """Return the token of a request, with or without `Bearer` before it; "" where it has none."""
    value = b",".join(value for name, value in scope["headers"] if name == b"authorization").decode("latin-1").strip()
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value


async def _read_body(scope: integration.HttpScope, receive: Receive) -> bytes:
    for name, value in scope["headers"]:
        # The server has checked that it is a number.
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
                # uvicorn reads and forgets the rest, so that the client gets to see the answer.
                raise _BodyTooLargeError
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise _ClientGoneError
    return body


def _expects_continue(scope: dict[str, Any]) -> bool:
    return any(name == b"expect" for name, _ in scope["headers"])


class _Corked:
    """A transport that sends what is written in one go at the end of the event loop's turn.

    uvicorn writes the head and the body of a response separately. That would be two packets, and wake the client twice.
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

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the transport has
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
        """Go on with a request that asks for another protocol as if it did not (RFC 9110, section 7.8).

        Java's HTTP client asks for HTTP/2 in every first request, and sends a body with it. The parser stops before
        that body, so another one reads it, which is shown those headers alone that say where the body ends.
        """
        framing = [header for header in self.headers if header[0] in {b"content-length", b"transfer-encoding"}]
        self.cycle.keep_alive = False  # the second parser would not know what to do with another request
        if framing:
            self.cycle.more_body = True
            self.cycle.message_event.clear()
            self.parser = HttpRequestParser(_Body(self))
            head = b"".join(b"%b: %b\r\n" % header for header in framing)
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + head + b"\r\n" + rest)


class _Body:
    """What a parser may tell of a request whose head is known already."""

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


class HttpServer(uvicorn.Server):
    """uvicorn, run by the local server: it leaves signals alone and can be told to hang up."""

    def __init__(self, front: HttpApi) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                front,
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
        """Leave signals to the local server."""
        yield

    async def run_on(self, listener: socket.socket) -> None:
        """Serve on a socket that listens already, until `should_exit` is set and every request is answered."""
        await self.serve(sockets=[listener])

    def hang_up(self) -> None:
        """Close every connection, whatever it waits for."""
        for connection in list(self.server_state.connections):
            connection.transport.close()


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
