"""The event for a request, in payload format 2.0, and the context object."""

import base64
import json
import re
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.local_server import PROJECT, LocalServer, exchange

pytestmark = pytest.mark.server

GOLDEN = Path(__file__).parent / "golden"


def seen(response: httpx.Response) -> Any:
    """Return what the function `Echo` got."""
    assert response.status_code == 200, response.text
    return response.json()


def post(client: httpx.Client, content: bytes, content_type: str | None) -> Any:
    headers = {} if content_type is None else {"content-type": content_type}
    return seen(client.post("/echo", content=content, headers=headers))["event"]


@pytest.mark.parametrize("name", ["multipart_upload", "headers_cookies_query", "json_in_chunks"])
def test_a_request_becomes_the_event_that_api_gateway_would_send(shared_server: LocalServer, name: str) -> None:
    answer = exchange(shared_server, (GOLDEN / f"{name}.http").read_bytes())
    event = json.loads(answer.partition(b"\r\n\r\n")[2])["event"]
    context = event["requestContext"]

    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", event["headers"].pop("x-amzn-trace-id"))
    assert event["headers"].pop("x-forwarded-port") == str(httpx.URL(shared_server.address).port)
    assert len(base64.b64decode(context.pop("requestId"))) == 11
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context.pop("time"))
    assert abs(context.pop("timeEpoch") / 1000 - time.time()) < 60
    assert event == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "text/html; charset=utf-8", "application/xml", "Application/JSON;charset=UTF-8"],
)
def test_text_comes_as_it_is(client: httpx.Client, content_type: str) -> None:
    event = post(client, "“text”".encode(), content_type)
    assert (event["body"], event["isBase64Encoded"]) == ("“text”", False)


@pytest.mark.parametrize(
    "content_type",
    [None, "image/png", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain; charset=latin-1"],
)
def test_all_else_comes_as_base64(client: httpx.Client, content_type: str | None) -> None:
    event = post(client, b"a=1", content_type)
    assert (event["body"], event["isBase64Encoded"]) == ("YT0x", True)


def test_json_that_is_not_utf8_keeps_its_bytes(client: httpx.Client) -> None:
    event = post(client, b'{"a": "\xff"}', "application/json")
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b'{"a": "\xff"}'


def test_a_request_without_body_query_or_cookies_has_none_in_its_event(client: httpx.Client) -> None:
    event = seen(client.get("/echo"))["event"]
    assert {"body", "cookies", "pathParameters", "queryStringParameters"}.isdisjoint(event)
    assert (event["rawQueryString"], event["isBase64Encoded"]) == ("", False)


def test_path_parameters_are_decoded_and_the_route_key_is_the_templates(client: httpx.Client) -> None:
    one = seen(client.get("/echo/a%20b"))["event"]
    assert one["pathParameters"] == {"name": "a b"}
    assert one["routeKey"] == one["requestContext"]["routeKey"] == "GET /echo/{name}"
    many = seen(client.get("/echo/a/b/c"))["event"]
    assert many["pathParameters"] == {"rest": "a/b/c"}
    assert many["routeKey"] == "GET /echo/{rest+}"


def test_the_context_object_says_what_lambdas_says(client: httpx.Client) -> None:
    first, second = seen(client.get("/echo")), seen(client.get("/echo"))
    context = first["context"]
    request_id = context.pop("aws_request_id")
    assert UUID(request_id).version == 4
    assert UUID(request_id).variant == "specified in RFC 4122"
    assert request_id != second["context"]["aws_request_id"]
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", context.pop("log_stream_name"))
    assert context == {
        "client_context": None,
        "function_name": "echo-function",
        "function_version": "$LATEST",
        "identity": None,
        "invoked_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:echo-function",
        "log_group_name": "/aws/lambda/echo-function",
        "memory_limit_in_mb": "256",
    }
    assert 4000 < first["remaining"] <= 5000


def test_a_function_finds_the_environment_that_lambda_gives_it(client: httpx.Client) -> None:
    seen_by_function = seen(client.get("/echo"))
    variables = seen_by_function["environment"]
    expected = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_NAME": "echo-function",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/echo-function",
        "AWS_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": str(PROJECT),
        "TZ": ":UTC",
        "_HANDLER": "handlers.echo",
        "_X_AMZN_TRACE_ID": seen_by_function["event"]["headers"]["x-amzn-trace-id"],
    }
    assert {name: variables.get(name) for name in expected} == expected
    assert variables["AWS_EXECUTION_ENV"].startswith("AWS_Lambda_python3.")
    assert seen_by_function["folder"] == str(PROJECT)


def test_variables_come_from_the_template_unless_the_caller_sets_them(client: httpx.Client) -> None:
    variables = seen(client.get("/echo"))["environment"]
    assert variables["GREETING"] == "hello"  # a parameter's default
    assert (variables["COUNT"], variables["FLAG"]) == ("3", "true")
    assert variables["SECRET"] == "from the caller"
    assert "ADDRESS" not in variables  # only a deployment knows it


def test_standard_input_is_empty_for_a_function(client: httpx.Client) -> None:
    assert seen(client.get("/echo"))["input"] == ""
