"""The HTTP server: routes, limits, and functions and clients that misbehave."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.local_server import LocalServer, exchange
from tests.support.waiting import soon

pytestmark = pytest.mark.server

LAMBDA_LIMIT = 6 * 1024 * 1024
GATEWAY_LIMIT = 10 * 1024 * 1024


def behave(client: httpx.Client, do: str, **more: object) -> httpx.Response:
    return client.post("/behave", json={"do": do, **more})


def check_alive(client: httpx.Client) -> None:
    assert behave(client, "return", result={"fine": True}).json() == {"fine": True}


@pytest.fixture
def connection(shared_server: LocalServer) -> Iterator[socket.socket]:
    url = httpx.URL(shared_server.address)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        yield connection


def read_head(connection: socket.socket) -> bytes:
    """Read until the end of a response's head."""
    received = b""
    while b"\r\n\r\n" not in received and (byte := connection.recv(1)):
        received += byte
    return received


# --- routes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("GET", "/echo/"), ("GET", "/behave")])
def test_a_request_without_a_route_gets_the_gateways_404(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.content) == (404, b'{"message":"Not Found"}')
    assert response.headers["content-type"] == "application/json"


def test_head_is_routed_like_any_method_and_answered_without_a_body(client: httpx.Client) -> None:
    response = client.head("/echo")
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0
    assert client.head("/echo/name").status_code == 404  # its only route is GET


def test_every_answer_carries_its_request_id(client: httpx.Client) -> None:
    response = client.get("/echo")
    assert response.headers["apigw-requestid"] == response.json()["event"]["requestContext"]["requestId"]
    assert client.get("/nowhere").headers["apigw-requestid"]


def test_status_headers_and_cookies_of_a_result_reach_the_client(client: httpx.Client) -> None:
    result = {"statusCode": 418, "headers": {"X-Kind": "teapot"}, "cookies": ["a=1", "b=2"], "body": "short and stout"}
    response = behave(client, "return", result=result)
    assert (response.status_code, response.text) == (418, "short and stout")
    assert response.headers["x-kind"] == "teapot"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_a_function_without_a_route_is_never_started(shared_server: LocalServer) -> None:
    assert "Unreachable" not in shared_server.output


# --- limits ----------------------------------------------------------------------------------------------------------


def refused_as_too_large(response: httpx.Response) -> str:
    """Check that a response is a 413 for clients of API Gateway and of problem documents; return its detail."""
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", "Content Too Large", 413)
    assert problem["message"] == "Request Entity Too Large"
    detail: str = problem["detail"]
    return detail


def test_an_event_over_lambdas_limit_is_refused_and_the_limit_named(client: httpx.Client) -> None:
    assert behave(client, "return", result="fits", padding="x" * (LAMBDA_LIMIT - 2000)).text == "fits"
    image = bytes(LAMBDA_LIMIT * 3 // 4)  # base64 turns three bytes into four
    detail = refused_as_too_large(client.post("/echo", content=image, headers={"content-type": "image/png"}))
    assert "6291456 bytes" in detail
    check_alive(client)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_gateways_limit_is_refused_and_the_limit_named(client: httpx.Client, chunked: bool) -> None:
    body = bytes(GATEWAY_LIMIT + 1)
    content = (body[start : start + 65536] for start in range(0, len(body), 65536)) if chunked else body
    assert "10485760 bytes" in refused_as_too_large(client.post("/echo", content=content))
    check_alive(client)


def test_a_client_that_asks_first_need_not_send_a_body_that_is_too_large(connection: socket.socket) -> None:
    connection.sendall(
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    )
    head = read_head(connection)
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head


def test_a_client_that_asks_first_is_told_to_go_on(connection: socket.socket) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
    connection.sendall(head + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert read_head(connection) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"hello")
    head = read_head(connection)
    length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]  # the header exists
    answer = b""
    while len(answer) < length:
        answer += connection.recv(65536)
    event = json.loads(answer)["event"]
    assert event["body"] == "hello"
    assert "expect" not in event["headers"]


# --- functions that fail ---------------------------------------------------------------------------------------------


def internal_server_error(response: httpx.Response) -> bool:
    return (response.status_code, response.content) == (500, b'{"message":"Internal Server Error"}')


def test_an_exception_is_a_500_and_its_traceback_goes_to_the_log(
    client: httpx.Client, shared_server: LocalServer
) -> None:
    assert internal_server_error(behave(client, "raise", message="the secret reason"))
    assert "Behave: ValueError: the secret reason" in shared_server.output
    assert "Traceback" not in shared_server.output
    assert "ValueError: the secret reason" in shared_server.functions_log
    assert "handlers.py" in shared_server.functions_log
    check_alive(client)


@pytest.mark.parametrize(("do", "ending"), [("exit", "exited with status 3"), ("be killed", "was killed by SIGKILL")])
def test_a_process_that_ends_is_a_500_and_replaced(
    client: httpx.Client, shared_server: LocalServer, do: str, ending: str
) -> None:
    assert internal_server_error(behave(client, do))
    check_alive(client)
    shared_server.wait_for(f"Behave: an execution environment {ending}; a new one starts")


@pytest.mark.parametrize(
    ("do", "more"),
    [
        ("return no JSON", {}),
        ("return", {"result": {"statusCode": "teapot"}}),
        ("return", {"result": {"statusCode": 200, "headers": {"x": "a\r\nset-cookie: stolen=1"}}}),
        ("return much", {"size": LAMBDA_LIMIT}),
    ],
)
def test_a_result_that_cannot_be_answered_is_a_500(client: httpx.Client, do: str, more: dict[str, Any]) -> None:
    assert internal_server_error(behave(client, do, **more))
    check_alive(client)


def test_a_large_result_that_fits_is_answered(client: httpx.Client) -> None:
    assert len(behave(client, "return much", size=LAMBDA_LIMIT - 100).content) == LAMBDA_LIMIT - 100


def test_a_function_that_takes_too_long_is_a_503_and_is_replaced(
    client: httpx.Client, shared_server: LocalServer
) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(2) as threads:  # ENVIRONMENTS: if they were not replaced, none would be left
        responses = list(threads.map(lambda _: behave(client, "hang"), range(2)))
    for response in responses:
        assert (response.status_code, response.content) == (503, b'{"message":"Service Unavailable"}')
    assert 0.9 < time.monotonic() - began < 20  # its Timeout is 1 second, and the gateway's own is 30
    assert "Behave: it timed out after 1 seconds" in shared_server.output
    check_alive(client)


def test_what_a_function_writes_goes_to_the_log_with_its_ids(client: httpx.Client, shared_server: LocalServer) -> None:
    behave(client, "write")
    assert re.search(
        r"^[0-9a-f]{8}-[0-9a-f-]{27} Root=1-[0-9a-f]{8}-[0-9a-f]{24}$", shared_server.functions_log, re.MULTILINE
    )


# --- one event at a time ---------------------------------------------------------------------------------------------


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    return one["began"] < other["ended"] and other["began"] < one["ended"]


def sleep_at_once(client: httpx.Client, times: int) -> list[dict[str, float]]:
    def one_sleep(_: int) -> dict[str, float]:
        slept: dict[str, float] = client.get("/sleep?seconds=0.3").json()
        return slept

    with ThreadPoolExecutor(times) as threads:
        return list(threads.map(one_sleep, range(times)))


def test_an_environment_takes_one_event_at_a_time_and_several_run_side_by_side(client: httpx.Client) -> None:
    # The second environment starts while the third event waits, and may be ready only after it.
    assert soon(lambda: len({one["process"] for one in sleep_at_once(client, 3)}) == 2)
    slept = sleep_at_once(client, 4)
    processes = {one["process"] for one in slept}
    assert len(processes) == 2  # ENVIRONMENTS
    for process in processes:
        first, second = (one for one in slept if one["process"] == process)
        assert not overlap(first, second)
    assert any(overlap(one, other) for one in slept for other in slept if one["process"] != other["process"])


# --- clients that misbehave ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_garbage_is_a_400_and_harms_nobody(client: httpx.Client, connection: socket.socket, garbage: bytes) -> None:
    connection.sendall(garbage)
    assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    check_alive(client)


@pytest.mark.parametrize(
    ("rest", "statuses"),
    [
        (b"HELLO\r\n\r\n", [b"200"]),
        (b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", [b"200", b"400"]),
    ],
)
def test_garbage_is_no_answer_to_the_request_before_it(
    connection: socket.socket, rest: bytes, statuses: list[bytes]
) -> None:
    connection.sendall(b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n" + rest)
    answers = b"".join(iter(lambda: connection.recv(65536), b""))  # until the server closes the connection
    assert re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answers) == statuses


def test_what_follows_a_body_is_no_header_of_the_request(connection: socket.socket) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.sendall(head + b"2\r\nhi\r\n0\r\nHost: elsewhere\r\nX-Sum: 1\r\n\r\n")
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    event = json.loads(answer.partition(b"\r\n\r\n")[2])["event"]
    assert (event["headers"]["host"], "x-sum" in event["headers"]) == ("localhost", False)


def test_a_slow_client_keeps_nobody_waiting(client: httpx.Client, connection: socket.socket) -> None:
    connection.sendall(b"POST /behave HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    for _ in range(3):
        check_alive(client)


def test_a_client_that_leaves_before_its_request_is_complete_harms_nobody(
    client: httpx.Client, shared_server: LocalServer, connection: socket.socket
) -> None:
    connection.sendall(b"POST /behave HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    connection.close()
    for _ in range(3):
        check_alive(client)
    assert "Traceback" not in shared_server.output
    assert "JSONDecodeError" not in shared_server.output  # the function never got half a body


def test_an_invocation_is_completed_although_its_client_has_left(connection: socket.socket, tmp_path: Path) -> None:
    begins, file = tmp_path / "begins", tmp_path / "done"
    asked = f"seconds=0.3&begins={begins}&file={file}"
    connection.sendall(f"GET /sleep?{asked} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert soon(begins.exists)
    connection.close()
    assert soon(file.exists)


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_request_that_asks_for_http_2_is_answered_with_its_body(
    connection: socket.socket, framing: bytes, body: bytes, at_once: bool
) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    head += b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nContent-Type: text/plain\r\n" + framing + b"\r\n\r\n"
    if at_once:
        connection.sendall(head + body)
    else:
        connection.sendall(head)
        for byte in body:
            time.sleep(0.005)
            connection.sendall(bytes([byte]))
    answer = b"".join(iter(lambda: connection.recv(65536), b""))  # until the server closes the connection
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    event = json.loads(answer.partition(b"\r\n\r\n")[2])["event"]
    assert (event["body"], event["headers"]["content-length"]) == ("hello", "5")
    assert {"connection", "upgrade"}.isdisjoint(event["headers"])


def test_requests_may_be_pipelined(shared_server: LocalServer) -> None:
    request = b"HEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = exchange(shared_server, request + request + b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.count(b"HTTP/1.1 404 Not Found\r\n") == 3
