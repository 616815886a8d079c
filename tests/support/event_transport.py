"""An HTTP transport that calls the real handlers, with requests as events of payload format 2.0."""

import importlib
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from functions.shared.api.app import Handler
from local.gateway.integration import make_event, read_result
from local.gateway.routing import Router
from local.runtime.invocation import new_identifiers
from local.template import read_template
from tests.support.batching_transport import forget_applications
from tests.support.repository import ROOT


@dataclass(frozen=True)
class Context:
    """The context object, a handler's second argument."""

    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    milliseconds: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        """Return the same time at every call."""
        return self.milliseconds


class EventTransport(httpx.BaseTransport):
    """Turns HTTP requests into events, and passes them to the handlers by the routes of template.yaml.

    Parameters
    ----------
    subject
        The user of the token that an authorizer has checked; None if the API has no authorizer.
    authorizer
        What the event says of the authorizer, in place of the token of `subject`.
    **claims
        Other claims of the token, such as `scope`.
    """

    def __init__(self, subject: object = None, *, authorizer: object = None, **claims: object) -> None:
        functions = read_template(ROOT / "template.yaml")
        self._router = Router((route, function.handler) for function in functions for route in function.routes)
        self._authorizer = authorizer
        if subject is not None:
            self._authorizer = {"jwt": {"claims": {"sub": subject, **claims}, "scopes": None}}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make the event, call the handler, and read its result."""
        match = self._router.match(request.method, request.url.path)
        if match is None:
            return httpx.Response(404, json={"message": "Not Found"})
        event = make_event(
            {
                "method": request.method,
                "path": request.url.path,
                "query_string": request.url.query,
                "http_version": "1.1",
                "headers": [(name.lower(), value) for name, value in request.headers.raw],
                "client": ("127.0.0.1", 50000),
            },
            request.read(),
            route_key=match.route_key,
            path_parameters=match.path_parameters,
            identifiers=new_identifiers(),
            port=443,
        )
        # An open route has no authorizer, so its event tells nothing of a token.
        if self._authorizer is not None and match.needs_token:
            event["requestContext"]["authorizer"] = self._authorizer
        event = json.loads(json.dumps(event))
        module, _, name = match.target.rpartition(".")
        handler: Handler = getattr(importlib.import_module(module), name)
        result = json.loads(json.dumps(handler(event, Context())))
        answer = read_result(result, without_body=request.method == "HEAD")
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)


def forget_environment() -> None:
    """End the execution environment: the next request reads the settings, connects and loads the model again."""
    forget_applications()
    for function in (
        "predict",
        "infer",
        "worker",
        "sweep",
        "rollup",
        "upload",
        "list_predictions",
        "get_prediction",
        "delete_predictions",
        "ground_truth",
        "statistics",
        "describe",
    ):
        module = importlib.import_module(f"functions.{function}.handler")
        cached: Any = module.environment
        if cached.cache_info().currsize:
            made = cached()
            getattr(made, "serving", made).ledger.close()
            cached.cache_clear()
