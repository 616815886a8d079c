"""The FastAPI application of a function, and the handler that Lambda calls."""

import logging
import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from fastapi import APIRouter, FastAPI
from mangum import Mangum
from starlette.types import ASGIApp, Receive, Scope, Send

from functions.shared.api.log import inject_request_id
from functions.shared.api.problems import answer_problems

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
        app.include_router(router)
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
    adapter = Mangum(_WithoutTrailingSlash(app), lifespan="off")

    def handler(event: Event, context: LambdaContext) -> dict[str, Any]:
        inject_request_id(context.aws_request_id)
        request = event["requestContext"]["http"]
        if request["method"] != "HEAD":
            return adapter(event, context)  # type: ignore[arg-type]  # Mangum asks for a context it never reads
        # HEAD is GET without the body (RFC 9110, section 9.3.2): answered by the same route.
        request["method"] = "GET"
        return {**adapter(event, context), "body": "", "isBase64Encoded": False}  # type: ignore[arg-type]  # as above

    return handler


def on_lambda() -> bool:
    """Tell whether this process is an execution environment, where start-up work belongs before the first event."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ
