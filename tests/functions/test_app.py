"""What is between an event and an endpoint."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import pytest
from fastapi import APIRouter, Request, Response

from functions.shared.api.app import DirectRoute, Handler, create_app, create_handler
from functions.shared.api.problems import Problem
from local.gateway.integration import make_event
from local.runtime.invocation import new_identifiers
from tests.support.event_transport import Context

SECRET = "hunter2"


@pytest.fixture(params=[True, False], ids=["direct route", "plain route"])
def handler(request: pytest.FixtureRequest) -> Handler:
    """Return a function with endpoints that answer, refuse, fail and wait."""
    router = APIRouter(route_class=DirectRoute) if request.param else APIRouter()

    @router.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), HTTPStatus.CREATED, {"X-Path": request.url.path}, "application/json")

    @router.post("/refuse")
    async def refuse(_request: Request) -> Response:
        raise Problem(HTTPStatus.CONFLICT, "Not now.", headers={"Retry-After": "5"})

    @router.post("/fail")
    async def fail(_request: Request) -> Response:
        raise RuntimeError(SECRET)

    @router.post("/receive")
    async def receive(request: Request) -> Response:
        return Response(json.dumps([(await request.receive())["type"] for _ in range(3)]))

    @router.post("/wait")
    async def wait(_request: Request) -> Response:
        await asyncio.sleep(0)
        return Response()

    return create_handler(create_app(router))


def post(handler: Handler, path: str, body: bytes = b"{}", method: str = "POST") -> dict[str, Any]:
    """Call a handler as API Gateway does."""
    event = make_event(
        {
            "method": method,
            "path": path,
            "query_string": b"",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("203.0.113.7", 50000),
        },
        body,
        route_key=f"{method} {path}",
        path_parameters={},
        identifiers=new_identifiers(),
        port=443,
    )
    return handler(event, Context())


@pytest.mark.parametrize("path", ["/echo", "/echo/"])
def test_an_endpoint_gets_the_body_and_its_response_is_returned(handler: Handler, path: str) -> None:
    answer = post(handler, path, b'{"a": 1}')
    assert (answer["statusCode"], answer["body"]) == (201, '{"a": 1}')
    assert answer["headers"] == {"x-path": "/echo", "content-type": "application/json", "content-length": "8"}
    assert answer["isBase64Encoded"] is False


def test_a_problem_is_answered_as_one(handler: Handler) -> None:
    answer = post(handler, "/refuse")
    assert (answer["statusCode"], answer["headers"]["content-type"]) == (409, "application/problem+json")
    assert answer["headers"]["retry-after"] == "5"
    assert json.loads(answer["body"])["detail"] == "Not now."


def test_an_unexpected_error_is_logged_and_answered_without_what_it_says(
    handler: Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = post(handler, "/fail")
    assert (answer["statusCode"], json.loads(answer["body"])["title"]) == (500, "Internal Server Error")
    assert SECRET not in json.dumps(answer)
    assert "may or may not be stored" in json.loads(answer["body"])["detail"]
    (line,) = capsys.readouterr().out.splitlines()
    assert SECRET in json.loads(line)["exception"]


@pytest.mark.parametrize(("path", "method", "status"), [("/nowhere", "POST", 404), ("/echo", "PUT", 405)])
def test_what_is_not_there_is_said_so(handler: Handler, path: str, method: str, status: int) -> None:
    assert post(handler, path, method=method)["statusCode"] == status


def test_an_endpoint_that_waits_is_found_out_and_not_left_hanging(handler: Handler) -> None:
    with pytest.raises(RuntimeError, match="let it block"):
        post(handler, "/wait")
    assert post(handler, "/echo")["statusCode"] == 201


def test_there_is_one_request_and_then_nobody(handler: Handler) -> None:
    assert json.loads(post(handler, "/receive")["body"]) == ["http.request", "http.disconnect", "http.disconnect"]
