"""The API as API Gateway calls it: HTTP requests become events of payload format 2.0, for the real handlers."""

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from functions.shared.api.app import Handler
from functions.shared.ledger.ledger import Ledger
from local.gateway.integration import make_event, read_result
from local.gateway.routing import Router
from local.runtime.invocation import new_identifiers
from local.template import read_template

ROOT = Path(__file__).parents[2]
DIGIT = ROOT / "local" / "samples" / "mnist_sample.png"


@dataclass(frozen=True)
class Context:
    """What Lambda hands over beside the event."""

    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    milliseconds: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        """All of the time, at any time."""
        return self.milliseconds


class EventTransport(httpx.BaseTransport):
    """Answers HTTP requests by way of events, through the routes of template.yaml.

    Parameters
    ----------
    subject
        The user that an authorizer vouches for; None where the API has none.
    """

    def __init__(self, subject: str | None = None) -> None:
        functions = read_template(ROOT / "template.yaml")
        self._router = Router((route, function.handler) for function in functions for route in function.routes)
        self._subject = subject

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make the event, call the handler, read its result."""
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
        if self._subject is not None:
            event["requestContext"]["authorizer"] = {"jwt": {"claims": {"sub": self._subject}, "scopes": None}}
        event = json.loads(json.dumps(event))
        module, _, name = match.target.rpartition(".")
        handler: Handler = getattr(importlib.import_module(module), name)
        answer = read_result(json.loads(json.dumps(handler(event, Context()))))
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)


def forget_environment() -> None:
    """End the execution environment: the next event finds new settings, a new pool and a model loaded anew."""
    for function in ("predict", "worker", "sweep", "upload", "list_predictions", "get_prediction", "describe"):
        module = importlib.import_module(f"functions.{function}.handler")
        for name in ("environment", "ledger", "settings", "package", "objects", "uploads"):
            cached: Any = getattr(module, name, None)
            if cached is not None and cached.cache_info().currsize:
                made = cached()
                for ledger in (made, getattr(made, "ledger", None)):
                    if isinstance(ledger, Ledger):
                        ledger.close()
                cached.cache_clear()


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment variables of the functions, which a test may change before its first request."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MODEL", str(ROOT / "model_artifacts" / "mnist"))
    forget_environment()
    yield monkeypatch
    forget_environment()


@pytest.fixture
def api(environment: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """The API with the shipped digit model and no authorizer."""
    assert environment is not None
    with httpx.Client(transport=EventTransport(), base_url="https://api.example") as client:
        yield client


@pytest.fixture
def forget() -> Callable[[], None]:
    """Make the next request find a new execution environment."""
    return forget_environment


@pytest.fixture
def digit() -> bytes:
    """The sample image that the repository ships, a 7."""
    return DIGIT.read_bytes()
