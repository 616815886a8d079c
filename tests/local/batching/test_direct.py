"""Connections of the server that batches: what they are closed for."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import uvicorn
import uvloop

from local.batching.application import Application
from local.batching.direct import BatchingProtocol
from local.batching.settings import BatchingSettings
from local.http.listening import listen
from tests.support.database import Query

PATIENCE = 30.0  # seconds
KEEP_ALIVE = 5  # seconds


@pytest.fixture
def address(environment: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a server whose idle connections stay open for a short time."""
    assert environment is not None
    with serving(BatchingSettings.from_environment({})) as address:
        yield address


@pytest.fixture
def full_address(environment: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a server that has no room for any request to predict."""
    assert environment is not None
    with serving(replace(BatchingSettings.from_environment({}), max_queued_inputs=0)) as address:
        yield address


@contextmanager
def serving(settings: BatchingSettings) -> Iterator[tuple[str, int]]:
    """Run a server, and yield its address."""
    application = Application(settings)
    config = uvicorn.Config(
        application, http=BatchingProtocol, lifespan="on", log_config=None, timeout_keep_alive=KEEP_ALIVE
    )
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=lambda: uvloop.run(server.serve([listener])))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join(PATIENCE)


def predict(connection: socket.socket, digit: bytes) -> bytes:
    """Send a request over a connection, and return the first line of its answer."""
    connection.sendall(post("/prediction", digit))
    received = b""
    while not received.endswith(b"}"):
        received += connection.recv(65536)
    return received.partition(b"\r\n")[0]


def test_a_connection_is_closed_once_it_was_idle_for_long_enough(address: tuple[str, int], digit: bytes) -> None:
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        for _ in range(3):
            assert predict(connection, digit) == b"HTTP/1.1 201 Created"
            idle_since = time.monotonic()
            time.sleep(KEEP_ALIVE * 0.45)  # longer altogether than an idle connection stays open
        assert connection.recv(1) == b""
        assert time.monotonic() - idle_since > KEEP_ALIVE * 0.6


def post(path: str, body: bytes) -> bytes:
    """Return a request as it is sent."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def test_a_server_without_room_refuses_each_of_many_requests_that_were_sent_ahead(
    full_address: tuple[str, int], query: Query
) -> None:
    count = 2_000  # more than calls may be nested
    health = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    refused = [post(path, b"x") for path in ("/prediction", "/predictions", "/v2/models/mnist/infer")]
    with socket.create_connection(full_address, timeout=PATIENCE) as connection:
        requests = health + b"".join(refused[number % 2] for number in range(count)) + health + b"".join(refused)
        sender = threading.Thread(target=connection.sendall, args=(requests,))
        sender.start()
        answers = connection.makefile("rb")
        statuses = []
        for _ in range(1 + count + 1 + len(refused)):
            status = int(answers.readline().split()[1])
            headers = {
                name.lower(): value.strip() for name, _, value in iter(lambda: header_of(answers.readline()), None)
            }
            content = answers.read(int(headers["content-length"]))
            statuses.append(status)
            if status == 503:
                assert headers["retry-after"] == "1"
                assert b"nothing was predicted or stored" in content
        sender.join(PATIENCE)
    assert statuses == [200] + [503] * count + [200] + [503] * len(refused)
    assert query("SELECT count(*) FROM predictions") == [[0]]


def header_of(line: bytes) -> tuple[str, str, str] | None:
    """Return a line of a head as name, colon and value; None if it is the last."""
    return line.decode().strip().partition(":") if line.strip() else None


def test_a_connection_whose_request_was_refused_before_its_body_came_is_closed_once_it_is_idle(
    full_address: tuple[str, int], digit: bytes
) -> None:
    request = post("/prediction", digit)
    with socket.create_connection(full_address, timeout=PATIENCE) as connection:
        connection.sendall(request[: -len(digit)])
        received = b""
        while not received.endswith(b"}"):
            received += connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 503")
        connection.sendall(digit)
        assert connection.recv(1) == b""


def test_a_client_that_hangs_up_on_several_requests_leaves_no_traceback(
    address: tuple[str, int], digit: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(post("/prediction", digit) * 3)
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        assert predict(connection, digit) == b"HTTP/1.1 201 Created"
    assert not [record.getMessage() for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"accept: text/html\r\naccept: application/json\r\ncontent-type: image/png", b"201"),
        (b"accept: text/html\r\naccept: text/plain\r\ncontent-type: image/png", b"406"),
        (b"content-type: image/png\r\ncontent-type: application/json", b"415"),
    ],
)
def test_lines_of_a_header_that_is_repeated_are_read_together(
    address: tuple[str, int], digit: bytes, lines: bytes, status: bytes
) -> None:
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(post("/prediction", digit).replace(b"content-type: image/png", lines))
        assert connection.recv(65536).split()[1] == status
