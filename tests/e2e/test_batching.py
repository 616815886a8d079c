"""The server that batches as its user runs it: several processes on one port, real connections, many at once."""

import io
import json
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support.local_server import LocalServer, Serve
from tests.support.repository import DIGIT

pytestmark = pytest.mark.server

PATIENCE = 120.0  # seconds
CLIENTS = 32
ROUNDS = 20


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    """Images that the model gives ten different answers to."""
    noise = np.random.default_rng(4).integers(0, 256, (10, 28, 28), np.uint8)
    files = [io.BytesIO() for _ in noise]
    for pixels, file in zip(noise, files, strict=True):
        Image.fromarray(pixels).save(file, "png")
    return [file.getvalue() for file in files]


@pytest.fixture
def server() -> str:
    """The server of these tests."""
    return "batching"


def predict(client: httpx.Client, image: bytes) -> httpx.Response:
    return client.post("/prediction", content=image, headers={"content-type": "image/png"})


def as_good_as(output: list[float]) -> Any:
    """Return what equals an output that is the same but for the order of its sums, which a batch changes."""
    return pytest.approx(output, rel=1e-3, abs=0)


def workers_of(server: LocalServer) -> list[psutil.Process]:
    """Return the processes that take requests."""
    return [process for process in server.processes() if any("spawn_main" in part for part in process.cmdline())]


def exchange(server: LocalServer, *pieces: bytes) -> bytes:
    """Send bytes, piece by piece, and return all that the server sends until it closes the connection."""
    url = httpx.URL(server.address)
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.05)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received


def head(method: bytes, path: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"%b %b HTTP/1.1" % (method, path), b"host: localhost", *lines, b"", b""))


def test_each_of_many_requests_gets_the_answer_to_its_own_image_and_is_stored_once(
    serve: Serve, images: list[bytes]
) -> None:
    server = serve(WORKERS="2").start()
    assert len(workers_of(server)) == 2
    with httpx.Client(base_url=server.address, timeout=PATIENCE) as client:
        alone = [predict(client, image).json()["prediction"] for image in images]
    assert not any(one == as_good_as(other) for one, other in combinations(alone, 2))

    def send(number: int) -> list[tuple[int, httpx.Response]]:
        with httpx.Client(base_url=server.address, timeout=PATIENCE) as client:
            wanted = [(number + turn) % len(images) for turn in range(ROUNDS)]
            return [(one, predict(client, images[one])) for one in wanted]

    with ThreadPoolExecutor(CLIENTS) as threads:
        answered = [pair for some in threads.map(send, range(CLIENTS)) for pair in some]

    assert {answer.status_code for _, answer in answered} == {201}
    outputs = {answer.json()["prediction_id"]: answer.json()["prediction"] for _, answer in answered}
    for one, answer in answered:
        assert answer.json()["prediction"] == as_good_as(alone[one])
    assert len(outputs) == CLIENTS * ROUNDS
    with httpx.Client(base_url=server.address, timeout=PATIENCE) as client:
        stored: dict[str, object] = {}
        url: str | None = "/predictions?limit=1000"
        while url:
            page = client.get(url)
            stored |= {record["prediction_id"]: record["prediction"] for record in page.json()["predictions"]}
            url = page.links.get("next", {}).get("url")
        assert len(stored) == CLIENTS * ROUNDS + len(images)
        assert {one: stored[one] for one in outputs} == outputs
        for one, answer in answered[:: CLIENTS * ROUNDS // 10]:
            assert client.get(answer.headers["location"] + "/input").content == images[one]
    # Requests shared commits: otherwise this would be no test of it.
    batches = [line for line in server.functions_log.splitlines() if '"message":"predicted"' in line]
    assert any('"batch":1,' not in line for line in batches)
    assert server.stop(signal.SIGTERM) == 0
    assert server.processes() == []


def test_a_process_that_is_killed_is_started_again(serve: Serve) -> None:
    server = serve(WORKERS="2").start()
    first = workers_of(server)
    for process in first:
        process.kill()
    psutil.wait_procs(first, timeout=PATIENCE)
    until = time.monotonic() + PATIENCE
    with httpx.Client(base_url=server.address, timeout=PATIENCE) as client:
        while predict(client, DIGIT.read_bytes()).status_code != 201:
            assert time.monotonic() < until
    while len(workers_of(server)) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not {process.pid for process in first} & {process.pid for process in workers_of(server)}
    assert server.stop() == 0


def test_a_server_that_is_killed_leaves_no_process_behind(serve: Serve) -> None:
    server = serve(WORKERS="2").start()
    [supervisor] = {process.ppid() for process in workers_of(server)}
    psutil.Process(supervisor).kill()
    server.wait_for("the server has ended")
    assert server.wait() == 1
    assert server.wait_until_gone(PATIENCE) == []


def metadata(length: int) -> str:
    return json.dumps({"text": "x" * length})


def statuses(received: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", received)


def test_requests_are_framed_as_http_says(serve: Serve) -> None:
    image = DIGIT.read_bytes()
    server = serve(WORKERS="1", MAX_BODY_BYTES="100000").start()
    size, close = b"content-length: %d" % len(image), b"connection: close"
    is_png = b"content-type: image/png"
    whole = head(b"POST", b"/prediction", is_png, size) + image
    last = head(b"POST", b"/prediction/", is_png, size, close) + image
    chunked = head(b"POST", b"/prediction", is_png, b"transfer-encoding: chunked", close)
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (image[:100], image[100:])]

    assert exchange(server, whole + whole + last).count(b"HTTP/1.1 201 Created\r\n") == 3  # pipelined
    assert exchange(server, last[:40], last[40:200], last[200:]).startswith(b"HTTP/1.1 201 ")
    assert exchange(server, chunked, *chunks, b"0\r\n\r\n").startswith(b"HTTP/1.1 201 ")
    waits = head(b"POST", b"/prediction", is_png, size, close, b"expect: 100-continue")
    assert exchange(server, waits, image).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")
    upgrade = head(b"POST", b"/prediction", is_png, size, b"connection: upgrade", b"upgrade: h2c")
    assert exchange(server, upgrade + image).startswith(b"HTTP/1.1 201 ")
    old = last.replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    assert exchange(server, old).startswith(b"HTTP/1.1 201 ")

    announced = exchange(server, head(b"POST", b"/prediction", is_png, b"content-length: 100001", close))
    assert announced.startswith(b"HTTP/1.1 413 ")
    assert b"100001 bytes long; at most 100000 are allowed" in announced
    grown = exchange(server, chunked, *[b"%x\r\n%b\r\n" % (60000, b"x" * 60000)] * 2, b"0\r\n\r\n")
    assert grown.startswith(b"HTTP/1.1 413 ")
    assert b"at most 100000 are allowed" in grown or b"the 100000 bytes that are allowed" in grown

    assert exchange(server, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    # What is no HTTP is no answer to the requests before it.
    assert statuses(exchange(server, whole + b"nonsense\r\n\r\n")) == [b"201"]
    assert statuses(exchange(server, whole + whole + b"nonsense\r\n\r\n")) == [b"201", b"201"]
    broken = head(b"POST", b"/prediction", is_png, b"transfer-encoding: chunked") + b"nonsense\r\n"
    assert statuses(exchange(server, whole + broken)) == [b"201", b"400"]
    assert statuses(exchange(server, whole + whole + broken)) == [b"201", b"201", b"400"]
    assert statuses(exchange(server, broken)) == [b"400"]
    trailer = head(b"POST", b"/prediction", is_png, b"transfer-encoding: chunked", close) + b"".join(chunks)
    assert statuses(exchange(server, trailer + b"0\r\naccept: text/html\r\n\r\n")) == [b"201"]
    foreign = last.replace(b"host: localhost", b"host: evil.example")
    assert exchange(server, foreign).startswith(b"HTTP/1.1 421 ")
    cross = last.replace(b"connection: close", b"connection: close\r\norigin: https://evil.example")
    assert exchange(server, cross).startswith(b"HTTP/1.1 403 ")
    with httpx.Client(base_url=server.address, timeout=PATIENCE) as client:
        assert len(client.get("/predictions").json()["predictions"]) == 15
        described = client.head("/model")
        assert (described.status_code, described.content) == (200, b"")
    without_a_body = head(b"HEAD", b"/model") + head(b"GET", b"/model", close)
    # The connection outlives an answer without a body.
    assert exchange(server, without_a_body).count(b"HTTP/1.1 200 ") == 2
    assert server.stop() == 0


def test_an_answer_that_the_connection_does_not_take_at_once_arrives_whole(serve: Serve, images: list[bytes]) -> None:
    server = serve(WORKERS="1", MAX_BODY_BYTES="1000000").start()
    files = [("file", ("digit.png", image, "image/png")) for image in images * 20]
    form = httpx.Request("POST", "http://localhost/predictions", files=files, data={"metadata": metadata(16_000)})
    large = head(b"POST", b"/predictions", *(b"%b: %b" % pair for pair in form.headers.raw[1:])) + form.read()
    close = head(
        b"POST",
        b"/prediction",
        b"content-type: image/png",
        b"content-length: %d" % len(images[0]),
        b"connection: close",
    )
    url = httpx.URL(server.address)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect((url.host, url.port))
        connection.sendall(large + close + images[0])
        time.sleep(1)  # the server is stuck in the middle of its first answer
        received = b"".join(iter(partial(connection.recv, 65536), b""))
    first, _, rest = received.partition(b"\r\n\r\n")
    size = int(first.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    records = json.loads(rest[:size])["predictions"]
    assert size > 3_000_000
    assert [len(record["metadata"]["text"]) for record in records] == [16_000] * 200
    assert rest[size:].startswith(b"HTTP/1.1 201 ")
    assert rest[size:].endswith(b"}")
    assert server.stop() == 0


def test_a_setting_that_is_wrong_is_named(serve: Serve) -> None:
    server = serve(WORKERS="none").launch()
    assert server.wait() == 1
    assert "WORKERS='none': it must be a whole number from 1 to 256" in server.output
