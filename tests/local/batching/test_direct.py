"""Connections of the server that batches: what they are closed for."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
import uvloop

from local.batching.application import Application
from local.batching.direct import BatchingProtocol
from local.batching.settings import BatchingSettings
from local.http.listening import listen

PATIENCE = 30.0  # seconds
KEEP_ALIVE = 5  # seconds


@pytest.fixture
def address(environment: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """The address of a server whose idle connections stay open for a short time."""
    assert environment is not None
    application = Application(BatchingSettings.from_environment({}))
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
    head = f"POST /prediction HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: {len(digit)}"
    connection.sendall(head.encode() + b"\r\n\r\n" + digit)
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


def test_a_client_that_hangs_up_on_several_requests_leaves_no_traceback(
    address: tuple[str, int], digit: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST /prediction HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\ncontent-length: {len(digit)}"
    request = head.encode() + b"\r\n\r\n" + digit
    for _ in range(100):
        with socket.create_connection(address, timeout=PATIENCE) as connection:
            connection.sendall(request * 3)
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        assert predict(connection, digit) == b"HTTP/1.1 201 Created"
    assert not [record.getMessage() for record in caplog.records if record.exc_info]
