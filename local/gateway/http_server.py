"""The HTTP server: an ASGI application that does what API Gateway does, and the uvicorn server that runs it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import uvicorn
from pydantic_core import from_json

from local.gateway import integration
from local.gateway.routing import Router
from local.http import sites
from local.http.bearer import token_of
from local.http.body import BodyTooLargeError, ClientGoneError, Receive, read_body
from local.http.protocol import Protocol
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

Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]
Authorize = Callable[[str], dict[str, str] | None]

# Seconds that an idle connection stays open: longer than clients keep theirs. If the server closed it first, a client's
# next request could be lost.
_KEEP_ALIVE = 75
# Responses that may be sent before the body was read.
_WITHOUT_THE_BODY = frozenset(
    (integration.TOKEN_MISSING.status, integration.TOO_LARGE_STATUS, sites.CROSS_SITE, sites.MISDIRECTED)
)


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
        except ClientGoneError:
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
        refusal = self._callers.refusal(scope["method"], scope["headers"])
        if refusal is not None:
            return integration.problem(*refusal)
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
            body = await read_body(scope["headers"], receive, integration.LARGEST_BODY)
        except BodyTooLargeError:
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


def _expects_continue(scope: dict[str, Any]) -> bool:
    return any(name == b"expect" for name, _ in scope["headers"])


class HttpServer(uvicorn.Server):
    """uvicorn, without its signal handlers, and with a way to close every connection."""

    def __init__(self, application: Application) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(
            uvicorn.Config(
                application,
                http=Protocol,
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
