"""The FastAPI application of a function, and the handler that Lambda calls."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.shared.api.log import inject_request_id
from functions.shared.api.problems import CONTENT_TYPE, answer_problems

TITLE: Final = "onnx-ledger"
VERSION: Final = "1"


MAX_RESPONSE_BYTES: Final = 6_000_000
"""The largest JSON answer, in bytes: Lambda gives back 6 MB (AWS, "Lambda quotas"), headers included."""


class LambdaContext(Protocol):
    """What we read of the context object (AWS, "Using the Lambda context object to retrieve function information")."""

    @property
    def aws_request_id(self) -> str:
        """The id of this invocation."""


Event = dict[str, Any]
"""An API Gateway HTTP API event, payload format 2.0."""

Handler = Callable[[Event, LambdaContext], dict[str, Any]]
"""What Lambda calls."""


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request and returns the response: FastAPI documents it, and is out of its way.

    FastAPI's own handler resolves parameters and dependencies that such an endpoint does not have. On the path of every
    prediction that was a third of what dispatching it costs (`make bench`).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint itself."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class _WithoutTrailingSlash:
    """Route `/prediction/` as `/prediction`, without a redirect: a redirected POST loses its body in some clients."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.endswith("/"):
            scope["path"] = path.rstrip("/") or "/"
        await self._app(scope, receive, send)


def create_app(*routers: APIRouter) -> FastAPI:
    """Make an application of some routes, which answers every error as a problem document.

    It serves no OpenAPI document of its own: `describe` serves one over all the functions.
    """
    app = FastAPI(title=TITLE, version=VERSION, openapi_url=None, redirect_slashes=False)
    for router in routers:
        # As they are: include_router would make each of them a second time, at every cold start.
        app.router.routes.extend(router.routes)
    answer_problems(app)
    return app


def create_handler(app: FastAPI) -> Handler:
    """Make the function that Lambda calls, out of an application.

    The lifespan is off: under Mangum it would run on every invocation. What lives as long as the execution
    environment (the model, the pool) belongs to the handler's module.
    """
    # Mangum logs each request, which API Gateway's access log does, and an unexpected error, which our own answer has
    # logged before it gets there.
    logging.getLogger("mangum").setLevel(logging.CRITICAL)
    text = [*DEFAULT_TEXT_MIME_TYPES, CONTENT_TYPE]
    adapter = Mangum(_WithoutTrailingSlash(app), lifespan="off", text_mime_types=text)

    def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
        inject_request_id(context.aws_request_id)
        request = event["requestContext"]["http"]
        if request["method"] != "HEAD":
            return adapter(event, context)  # type: ignore[arg-type]  # Mangum asks for a context it never reads
        # HEAD is GET without the body (RFC 9110, section 9.3.2): answered by the same route.
        request["method"] = "GET"
        return {**adapter(event, context), "body": "", "isBase64Encoded": False}  # type: ignore[arg-type]  # as above

    return handler
