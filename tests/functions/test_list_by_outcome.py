"""`GET /predictions` by what became of predictions, and with the least sure first."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.support.database import Query
from tests.support.event_transport import EventTransport, forget_environment
from tests.support.hostile_images import png


def made(api: httpx.Client, content: bytes, **named: str) -> dict[str, Any]:
    answer = api.post("/prediction", params=named, content=content, headers={"content-type": "image/png"})
    assert answer.status_code == 201, answer.text
    record: dict[str, Any] = answer.json()
    return record


def listed(api: httpx.Client, **wanted: object) -> list[dict[str, Any]]:
    answer = api.get("/predictions", params={name: str(value) for name, value in wanted.items()})
    assert answer.status_code == 200, answer.text
    records: list[dict[str, Any]] = answer.json()["predictions"]
    return records


def judge(query: Query, record: dict[str, Any], truth: str) -> None:
    """Say what a prediction should have been."""
    query(
        "UPDATE predictions SET ground_truth = to_jsonb(:truth::text), correct = :truth = label "
        "WHERE prediction_id = :prediction_id::uuid",
        truth=truth,
        prediction_id=record["prediction_id"],
    )


@pytest.fixture
def right_wrong_and_unknown(api: httpx.Client, digit: bytes, query: Query) -> dict[str, str]:
    """The ids of three sevens: one is a seven, one is a one, and of one nobody knows."""
    right, wrong, unknown = (made(api, digit, inference_id=f"order-{number}") for number in range(3))
    judge(query, right, "7")
    judge(query, wrong, "1")
    return {name: one["prediction_id"] for name, one in {"right": right, "wrong": wrong, "unknown": unknown}.items()}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"has_ground_truth": "true"}, ["wrong", "right"]),
        ({"has_ground_truth": "false"}, ["unknown"]),
        ({"correct": "true"}, ["right"]),
        ({"correct": "false"}, ["wrong"]),
        ({"correct": "false", "has_ground_truth": "false"}, []),
        ({"ground_truth": "1"}, ["wrong"]),
        ({"ground_truth": "8"}, []),
        ({"ground_truth": "1", "label": "7", "inference_id": "order-1", "status": "succeeded"}, ["wrong"]),
        ({"inference_id": "order-2"}, ["unknown"]),
        ({"inference_id": "order-2", "user_id": "bob"}, []),
        ({"correct": "true", "user_id": "anonymous"}, ["right"]),
        ({"status": "succeeded"}, ["unknown", "wrong", "right"]),
        ({"status": "failed"}, []),
        ({"order": "newest"}, ["unknown", "wrong", "right"]),
        ({"order": "confidence", "correct": "true"}, ["right"]),
        ({"order": "confidence", "has_ground_truth": "false"}, ["unknown"]),
    ],
    ids=str,
)
def test_predictions_are_found_by_what_became_of_them(
    api: httpx.Client, right_wrong_and_unknown: dict[str, str], wanted: dict[str, str], found: list[str]
) -> None:
    ids = [record["prediction_id"] for record in listed(api, **wanted)]
    assert ids == [right_wrong_and_unknown[name] for name in found]


def test_the_least_sure_come_first_and_the_link_leads_on_in_the_same_order_and_by_the_same_filter(
    api: httpx.Client, digit: bytes, query: Query
) -> None:
    images = [digit, png(28, 28, depth=8), digit, png(20, 28, depth=8), digit]
    records = [made(api, image) for image in images]
    judge(query, records[0], "7")
    expected = sorted(records[1:], key=lambda record: (record["confidence"], record["prediction_id"]))
    assert len({record["confidence"] for record in expected}) < len(expected)  # some are equally sure

    path, read = "/predictions?order=confidence&has_ground_truth=false&limit=1&user_id=anonymous", []
    while path:
        answer = api.get(path)
        assert answer.status_code == 200, answer.text
        read += answer.json()["predictions"]
        link = answer.headers.get("link")
        path = link.removeprefix("<").removesuffix('>; rel="next"') if link else ""
        if path:
            asked = parse_qs(urlsplit(path).query)
            assert asked["has_ground_truth"] == ["false"]
            assert asked["cursor"] == [answer.json()["next_cursor"]]

    assert read == expected


def test_a_cursor_of_one_order_is_refused_in_the_other(api: httpx.Client, digit: bytes) -> None:
    for _ in range(2):
        made(api, digit)
    for order, other in (("newest", "confidence"), ("confidence", "newest")):
        cursor = api.get(f"/predictions?limit=1&order={order}").json()["next_cursor"]
        refused = api.get(f"/predictions?limit=1&order={other}&cursor={cursor}")
        assert refused.status_code == 422
        assert "in the same order" in refused.json()["detail"]
        assert refused.json()["errors"] == [
            {"pointer": "/cursor", "detail": "not a cursor of this API, or of another order"}
        ]
        assert api.get(f"/predictions?limit=1&order={order}&cursor={cursor}").status_code == 200


@pytest.mark.of_lambda
def test_a_user_finds_their_own_alone_by_whatever_filter_and_order(
    environment: pytest.MonkeyPatch, digit: bytes, query: Query
) -> None:
    environment.setenv("AUTH", "on")
    forget_environment()
    anna, bob = (
        httpx.Client(transport=EventTransport(user), base_url="https://api.example") for user in ("anna", "bob")
    )
    for client in (anna, bob):
        judge(query, made(client, digit, inference_id="order-1"), "1")
    for wanted in (
        {"inference_id": "order-1"},
        {"correct": "false"},
        {"ground_truth": "1"},
        {"has_ground_truth": "true"},
        {"status": "succeeded"},
        {"order": "confidence"},
    ):
        assert [record["user_id"] for record in listed(anna, **wanted)] == ["anna"]
        assert anna.get("/predictions", params={**wanted, "user_id": "bob"}).status_code == 403
        head = bob.head("/predictions", params=wanted)
        assert (head.status_code, head.content) == (200, b"")
