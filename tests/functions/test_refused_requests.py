"""Requests that are refused are counted by status, route and day, and nothing of their content is kept."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from functions.shared.ledger import refusals
from tests.support.database import Query
from tests.support.event_transport import EventTransport

pytestmark = pytest.mark.usefixtures("within_one_hour")  # they are counted by day

SECRET = "anna-of-green-gables"


def refused(api: httpx.Client) -> dict[str, Any]:
    answer = api.get("/statistics")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["refused"])


def open_connections(api: httpx.Client, digit: bytes) -> None:
    """Let each function that is asked here use the database once."""
    assert api.post("/prediction", content=digit, headers={"Content-Type": "image/png"}).status_code == 201
    assert api.get("/predictions").status_code == 200


def wait_for_the_next_write() -> None:
    """Let a process write at the next request that it refuses. Only then it does."""
    time.sleep(refusals.WRITE_EVERY * 1.1)


def counted(api: httpx.Client, total: int) -> dict[str, Any]:
    """Return what is counted once so many requests are. A thread of the server that batches writes them."""
    deadline = time.monotonic() + 30
    while (found := refused(api))["count"] < total:
        assert time.monotonic() < deadline, found
        time.sleep(refusals.WRITE_EVERY / 4)
    return found


def test_they_are_counted_by_status_route_and_day(api: httpx.Client, digit: bytes) -> None:
    open_connections(api, digit)
    wait_for_the_next_write()

    assert api.post("/prediction", content=b"", headers={"Content-Type": "image/png"}).status_code == 400
    wait_for_the_next_write()
    assert api.post("/prediction", content=b"text", headers={"Content-Type": "text/plain"}).status_code == 415
    wait_for_the_next_write()
    assert api.get("/predictions", params={"limit": 0}).status_code == 422

    found = counted(api, 3)
    assert found["statuses"] == {"400": 1, "415": 1, "422": 1}
    assert found["routes"] == {"POST /prediction": 2, "GET /predictions": 1}
    today = datetime.now(UTC).date().isoformat()
    assert found["days"] == [{"day": today, "count": 3, "statuses": found["statuses"]}]


def test_nothing_of_their_content_is_kept(api: httpx.Client, digit: bytes, query: Query) -> None:
    open_connections(api, digit)
    wait_for_the_next_write()

    assert api.get(f"/predictions?{SECRET}=1&user_id={SECRET}").status_code == 422
    wait_for_the_next_write()
    answer = api.post(f"/prediction/?{SECRET}", content=SECRET.encode(), headers={"Content-Type": f"text/{SECRET}"})
    assert answer.status_code == 415

    found = counted(api, 2)
    assert found["routes"] == {"GET /predictions": 1, "POST /prediction": 1}
    assert SECRET not in str(query("SELECT r::text FROM refused_requests r"))


def test_what_is_answered_is_not_counted(api: httpx.Client, digit: bytes, query: Query) -> None:
    open_connections(api, digit)
    assert api.request("HEAD", "/predictions").status_code == 200
    assert api.get("/health").status_code == 200

    assert refused(api) == {"count": 0, "statuses": {}, "routes": {}, "days": []}
    assert query("SELECT * FROM refused_requests") == []


def test_a_flood_is_written_about_once_a_second(api: httpx.Client, digit: bytes, query: Query) -> None:
    open_connections(api, digit)
    wait_for_the_next_write()
    for _ in range(200):
        assert api.get("/predictions", params={"limit": 0}).status_code == 422

    [[written]] = query("SELECT coalesce(sum(requests), 0)::bigint FROM refused_requests")
    assert written <= 200
    wait_for_the_next_write()
    assert api.get("/predictions", params={"limit": 0}).status_code == 422
    assert counted(api, 201)["count"] == 201


def test_they_belong_to_nobody_and_so_only_who_reads_everything_sees_them(environment: Any) -> None:
    environment.setenv("AUTH", "on")
    with httpx.Client(transport=EventTransport("anna"), base_url="https://api.example") as anna:
        assert "refused" not in anna.get("/statistics").json()
    reader = EventTransport("olga", scope="predictions:read-all")
    with httpx.Client(transport=reader, base_url="https://api.example") as olga:
        assert olga.get("/statistics").json()["refused"]["count"] == 0
