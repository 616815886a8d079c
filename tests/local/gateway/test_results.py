"""The HTTP response for a handler's result."""

import pytest

from local.gateway.integration import MalformedResultError, read_result


def test_a_result_becomes_a_response() -> None:
    response = read_result(
        {"statusCode": 201, "headers": {"Content-Type": "application/json", "X-Number": 3}, "body": '{"é": 1}'}
    )
    assert response.status == 201
    assert response.headers == [
        (b"content-type", b"application/json"),
        (b"x-number", b"3"),
        (b"content-length", b"9"),
    ]
    assert response.body == '{"é": 1}'.encode()


def test_each_cookie_becomes_a_header() -> None:
    response = read_result({"statusCode": 200, "cookies": ["a=1; Secure", "b=2"]})
    assert [value for name, value in response.headers if name == b"set-cookie"] == [b"a=1; Secure", b"b=2"]


def test_a_base64_body_is_decoded() -> None:
    result = {"statusCode": 200, "headers": {"content-type": "image/png"}, "body": "iVBORw==", "isBase64Encoded": True}
    assert read_result(result).body == b"\x89PNG"


@pytest.mark.parametrize(
    ("result", "body"),
    [({"a": 1, "b": "é"}, '{"a":1,"b":"é"}'), ("text", "text"), ([1, 2], "[1,2]"), (None, "null")],
)
def test_a_result_without_status_is_a_json_body_by_itself(result: object, body: str) -> None:
    response = read_result(result)
    assert (response.status, response.body) == (200, body.encode())
    assert (b"content-type", b"application/json") in response.headers


def test_a_body_without_a_type_is_text() -> None:
    assert (b"content-type", b"text/plain;charset=UTF-8") in read_result({"statusCode": 200, "body": "x"}).headers


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_has_no_body_gets_none(status: int) -> None:
    response = read_result({"statusCode": status, "body": "ignored"})
    assert response.body == b""
    assert b"content-length" not in dict(response.headers)


def test_headers_that_belong_to_the_connection_are_the_servers_own() -> None:
    headers = {"Content-Length": "999", "Transfer-Encoding": "chunked", "Connection": "close", "Date": "never"}
    response = read_result({"statusCode": 200, "headers": headers})
    assert response.headers == [(b"content-length", b"0")]


@pytest.mark.parametrize(
    ("result", "length"),
    [
        ({"statusCode": 200, "headers": {"Content-Length": "1234", "X": "1"}, "body": ""}, b"1234"),
        ({"statusCode": 200, "headers": {"Content-Length": "1234"}, "body": "x", "isBase64Encoded": False}, b"1"),
        ({"statusCode": 200, "headers": {"Content-Length": "-1"}}, b"0"),
        ({"statusCode": 404}, b"0"),
        ({"an": "object"}, b"15"),
    ],
)
def test_the_answer_to_head_says_how_long_the_body_would_be_and_has_none(result: object, length: bytes) -> None:
    response = read_result(result, without_body=True)
    assert response.body == b""
    assert [value for name, value in response.headers if name == b"content-length"] == [length]
    with_body = read_result(result)
    assert [name for name, _ in response.headers] == [name for name, _ in with_body.headers]


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": "teapot"},
        {"statusCode": 99},
        {"statusCode": 600},
        {"statusCode": True},
        {"statusCode": 200, "body": {"not": "a string"}},
        {"statusCode": 200, "body": "&", "isBase64Encoded": True},
        {"statusCode": 200, "headers": ["a", "b"]},
        {"statusCode": 200, "headers": {"x": ["two", "values"]}},
        {"statusCode": 200, "headers": {"x": "a\r\nset-cookie: stolen=1"}},
        {"statusCode": 200, "headers": {"a b": "c"}},
        {"statusCode": 200, "headers": {"": "c"}},
        {"statusCode": 200, "cookies": "a=1"},
        {"statusCode": 200, "cookies": ["a=1\nb"]},
    ],
)
def test_a_result_that_is_no_response_is_refused(result: object) -> None:
    with pytest.raises(MalformedResultError):
        read_result(result)
