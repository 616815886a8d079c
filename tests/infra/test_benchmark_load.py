"""The generators of load send what they are told to, and count what becomes of it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.benchmarks import load, requests
from tests.benchmarks.generator import _SCRIPT

KEPT = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Serve one connection after another: give these answers, then hang up. Yield the address and what was received."""
    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        left = iter(answers)
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    received.append(data)
                    answer = next(left, None)
                    if answer is None:
                        break
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with closing(listener):
        yield listener.getsockname()[:2], received
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_each_request_has_the_image_and_a_key_of_its_own(tmp_path: Path) -> None:
    folder = requests.write_requests(tmp_path / "some", [b"\x89PNG one", b"\xff\xd8 two"], keys=True, field="images")
    first, second = requests.read_requests(folder)
    assert b"\x89PNG one" in first
    assert b'name="images"; filename="digit.png"' in first
    assert b"image/jpeg" in second
    sent = {requests.with_key(first, number) for number in range(3)}
    assert len(sent) == 3
    assert {len(one) for one in sent} == {len(first)}


def test_wrk_replaces_the_same_key() -> None:
    script = _SCRIPT.read_text()
    assert f'"{requests.KEY.decode()}", {requests._DIGITS}' in script


def test_what_is_stored_and_refused_is_counted() -> None:
    with answering(*[KEPT, REFUSED] * 5000) as (address, received):
        counted = load.load(address, [b"POST / HTTP/1.1\r\n\r\n"], connections=1, seconds=0.05)
    assert counted["stored"] == counted["statuses"]["201"] > 0
    assert counted["stored"] - 1 <= counted["refused"] <= counted["stored"]
    assert counted["cut"] == 0
    assert len(received) == counted["stored"] + counted["refused"]


def test_a_connection_that_is_closed_is_counted_and_made_again() -> None:
    with answering(KEPT, KEPT) as (address, _):
        counted = load.load(address, [b"POST / HTTP/1.1\r\n\r\n"], connections=1, seconds=0.05)
    assert counted["stored"] == 2
    assert counted["cut"] >= 1
