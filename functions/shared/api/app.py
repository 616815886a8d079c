"""Create a function's FastAPI application and the handler that Lambda calls."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cached_property
from typing import Any, Final, Protocol, TypeVar

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.handlers import HTTPGateway
from mangum.types import Response as MangumResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.shared import wait_budget
from functions.shared.api.problems import CONTENT_TYPE, answer_problems
from functions.shared.execution_environment import LambdaContext
from functions.shared.ledger.ledger import Ledger
from functions.shared.log import logger

TITLE: Final = "onnx-ledger"

VERSION: Final = "0.1.0"
"""The version in pyproject.toml, which is not deployed: the OpenAPI document and `GET /` need it here."""

# Lambda traces and measures each invocation; FastAPI's telemetry would only cost time on each request.
_NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False}

MAX_RESPONSE_BYTES: Final = 6_000_000
"""The largest JSON response, in bytes: Lambda returns at most 6 MB (AWS, "Lambda quotas"), headers included."""


METHODS: Final = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
"""The methods that a count tells apart. A caller can write any word."""

REFUSED: Final = 400
"""From this status on, the caller was wrong (RFC 9110, section 15)."""

FAILED: Final = 500
"""From this status on, the server was."""

_WAITS: Final = (
    "an endpoint, a dependency or an exception handler waits for an event loop, and there is none: make it "
    "`async def`, and let it block"
)

Result = TypeVar("Result")

Event = dict[str, Any]
"""An API Gateway HTTP API event, payload format 2.0."""

Handler = Callable[[Event, LambdaContext], dict[str, Any]]
"""The function that Lambda calls."""


class DirectRoute(APIRoute):
    """A route with a fixed path, whose endpoint takes the request and returns the response.

    FastAPI documents the route but does not dispatch it: see docs/decisions/direct-route.md.
    """


async def answer_error(handlers: Mapping[Any, Any], request: Request, error: Exception) -> Response:
    """Return the answer to an error, as the handler of the nearest type makes it. One handles `Exception`."""
    handler = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
    response: Response = await handler(request, error)
    return response


def without_waiting(running: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a coroutine that waits for nothing.

    Raises
    ------
    RuntimeError
        If it waits for an event loop, which it has not got.
    """
    try:
        running.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    running.close()
    raise RuntimeError(_WAITS)


def _endpoint(answer: Callable[[Request], Awaitable[Response]], handlers: Mapping[Any, Any]) -> ASGIApp:
    """Make an ASGI application from an endpoint and its exception handlers, one of which handles `Exception`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await answer(request)
        except Exception as error:  # noqa: BLE001 - the handler of the nearest type answers every one
            response = await answer_error(handlers, request, error)
        await response(scope, receive, send)

    return app


class Application:
    """A FastAPI application that dispatches direct routes itself and accepts paths with a trailing slash.

    `/prediction/` is `/prediction`, without a redirect: some clients drop the body of a redirected POST.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._direct = {
            (method, route.path): _endpoint(route.endpoint, app.exception_handlers)
            for route in app.routes
            if isinstance(route, DirectRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope["path"]
        if path.endswith("/"):
            scope["path"] = path = path.rstrip("/") or "/"
        await self._direct.get((scope["method"], path), self._app)(scope, receive, send)


def create_app(*routers: APIRouter) -> FastAPI:
    """Create an application from routers. It answers every error with a problem document.

    It serves no OpenAPI document: `describe` serves the one for all functions.
    """
    app = FastAPI(title=TITLE, version=VERSION, openapi_url=None, redirect_slashes=False, telemetry=_NO_TELEMETRY)
    for router in routers:
        # include_router would create each route a second time at every cold start.
        app.router.routes.extend(router.routes)
    answer_problems(app)
    return app


class _HttpApi(HTTPGateway):
    """An HTTP API event that builds its ASGI scope once. Mangum would build it again for the response."""

    @cached_property
    def scope(self) -> Scope:
        return super().scope


class Exchange:
    """One ASGI request and its response, without an event loop: see docs/decisions/no-event-loop.md.

    Endpoints may block. An endpoint that waits for an event loop fails with `RuntimeError`.
    """

    def __init__(self, body: bytes) -> None:
        self._request: Message = {"type": "http.request", "body": body, "more_body": False}
        self._start: Message = {}
        self._pieces: list[bytes] = []
        self._complete = False

    def run(self, app: ASGIApp, scope: Scope) -> MangumResponse:
        """Return the answer of an application: its status, headers and body."""
        running = app(scope, self._receive, self._send)
        try:
            running.send(None)  # type: ignore[attr-defined]  # ASGI applications are coroutine functions
        except StopIteration:
            pass
        except Exception:
            # Starlette answers 500 and then raises the error for the server to log. It is already logged.
            if not self._complete:
                raise
        else:
            running.close()  # type: ignore[attr-defined]  # as above
            raise RuntimeError(_WAITS)
        return {"status": self._start["status"], "headers": self._start["headers"], "body": b"".join(self._pieces)}

    async def _receive(self) -> Message:
        request, self._request = self._request, {"type": "http.disconnect"}
        return request

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._pieces.append(message.get("body", b""))
            self._complete = not message.get("more_body", False)


class _Adapter(Mangum):
    """Mangum for events of an HTTP API only."""

    def _setup_event_loop(self) -> None:
        """Create no event loop: `Exchange` needs none, and from Python 3.12 on Mangum's call raises a warning."""

    def __call__(self, event: Event, context: LambdaContext) -> dict[str, Any]:
        http_api = _HttpApi(event, context, self.config)  # type: ignore[arg-type]  # a context that is never read
        return http_api(Exchange(http_api.body).run(self.app, http_api.scope))


class _Cache(Protocol):
    """What is read of `functools.cache`'s figures."""

    @property
    def currsize(self) -> int:
        """How many values there are."""


class _WithLedger(Protocol):
    """What is read of a function's environment."""

    @property
    def ledger(self) -> Ledger:
        """Where refused requests are counted."""


class Environment(Protocol):
    """A function that is cached, and makes what lives as long as the execution environment."""

    def __call__(self) -> _WithLedger:
        """Return what it has made, or make it."""

    def cache_info(self) -> _Cache:
        """Say whether it is made."""


def _route(event: Event) -> str:
    """Return the route that API Gateway has found, by the method of the request, and without a slash at its end."""
    method = event["requestContext"]["http"]["method"]
    path = event.get("routeKey", "").partition(" ")[2].rstrip("/")
    return f"{method if method in METHODS else '*'} {path or '/'}"


def _count_refusal(environment: Environment, event: Event, status: int) -> None:
    if environment.cache_info().currsize:
        refusals = environment().ledger.refusals
        if refusals.add(_route(event), status):
            refusals.write()


def create_handler(app: FastAPI, environment: Environment | None = None) -> Handler:
    """Create the function that Lambda calls from an application.

    The lifespan is off, because Mangum would run it on every invocation. Keep what lives as long as the execution
    environment (the model, the connection pool) in the handler's module.

    Parameters
    ----------
    app
        The application.
    environment
        Makes the function's environment. Requests that are refused are counted there, once it is made.
    """
    text = [*DEFAULT_TEXT_MIME_TYPES, CONTENT_TYPE]
    adapter = _Adapter(Application(app), lifespan="off", text_mime_types=text)

    def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
        logger.request_id = context.aws_request_id
        request = event["requestContext"]["http"]
        # HEAD is GET without the body (RFC 9110, section 9.3.2), so the same route answers it.
        is_head = request["method"] == "HEAD"
        if is_head:
            request["method"] = "GET"
        with wait_budget.limited():
            answer = adapter(event, context)
            if REFUSED <= answer["statusCode"] < FAILED and environment is not None:
                _count_refusal(environment, event, answer["statusCode"])
        return {**answer, "body": "", "isBase64Encoded": False} if is_head else answer

    return handler
