"""An answered prediction is a stored prediction, whatever is killed."""

import contextlib
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.support.local_server import Serve, both_servers
from tests.support.repository import DIGIT

pytestmark = [pytest.mark.server, both_servers]


def listed(client: httpx.Client) -> list[str]:
    """Return the ids of all predictions, page by page."""
    found: list[str] = []
    url: str | None = "/predictions?limit=100"
    while url:
        page = client.get(url)
        found += [record["prediction_id"] for record in page.json()["predictions"]]
        url = page.links.get("next", {}).get("url")
    return found


def predict_until_refused(address: str, count: int) -> list[str]:
    """Predict until `count` are answered or the server is gone, and return the ids of those that were answered."""
    answered = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(count):
            try:
                answer = client.post("/prediction", files={"file": ("seven.png", DIGIT.read_bytes(), "image/png")})
            except httpx.TransportError:
                break
            if answer.status_code == 201:
                answered.append(answer.json()["prediction_id"])
    return answered


def test_every_prediction_that_was_answered_is_there_after_everything_was_killed(serve: Serve) -> None:
    server = serve().start()
    answered = predict_until_refused(server.address, 200)
    assert len(answered) == 200

    server.kill_everything()
    server = serve().start()

    with httpx.Client(base_url=server.address, timeout=60) as client:
        assert listed(client) == answered[::-1]


def test_a_kill_in_the_middle_of_the_work_loses_nothing_that_was_answered(serve: Serve) -> None:
    server = serve().start()
    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(predict_until_refused, server.address, 10_000) for _ in range(4)]
        with httpx.Client(base_url=server.address, timeout=60) as client:
            while len(client.get("/predictions?limit=50").json()["predictions"]) < 50:
                pass
        server.kill_everything()
        answered = [prediction_id for client_ in clients for prediction_id in client_.result()]
    server = serve().start()

    with httpx.Client(base_url=server.address, timeout=60) as client:
        stored = Counter(listed(client))
    assert len(answered) >= 40
    assert set(answered) <= set(stored)
    # At most one request a client was under way: committed, perhaps, and not answered any more.
    assert len(stored) <= len(answered) + 4
    assert set(stored.values()) == {1}


def test_a_database_that_is_killed_comes_back_as_503_and_then_as_if_nothing_had_been(serve: Serve) -> None:
    server = serve().start()
    with httpx.Client(base_url=server.address, timeout=60) as client:
        before = predict_until_refused(server.address, 3)
        for process in server.processes():
            if process.name().startswith("postgres"):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)

        answer = client.post("/prediction", files={"file": ("seven.png", DIGIT.read_bytes(), "image/png")})

        assert answer.status_code in (201, 503)
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
    server.clean_up()
    server = serve().start()
    with httpx.Client(base_url=server.address, timeout=60) as client:
        assert set(before) <= set(listed(client))
