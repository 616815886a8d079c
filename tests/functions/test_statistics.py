"""`GET /statistics` and `GET /models`: what they say is what a plain count of the rows says."""

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from functions.shared.ledger.rollups import RollingLedger
from functions.statistics.span import Span, start_of
from tests.support.database import Query
from tests.support.event_transport import EventTransport
from tests.support.judged_rows import DIGITS, ages, classified, digits, insert, judged, regressed, unfinished

SINCE = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""

UNTIL = SINCE + timedelta(days=9, hours=5, minutes=30)
SPAN = {"since": SINCE.isoformat(), "until": UNTIL.isoformat()}
SECOND = 102
"""The second version of the classifier. `THIRD` has the same name and version, and another file."""
THIRD = 103
MODELS = [digits(), digits(SECOND, version="2"), digits(THIRD, version="2"), ages()]

Row = dict[str, Any]
Part = Callable[[Row], bool]


def everything(_: Row) -> bool:
    return True


def some_rows(seed: int, count: int) -> list[Row]:
    """Return rows of all kinds, at random times within the span, and some outside of it."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        at = SINCE + chance.uniform(-0.05, 1.05) * (UNTIL - SINCE)
        kind = chance.random()
        who = chance.choice(["anna", "bob", "Zoë \N{PILE OF POO}"])
        took = [round(chance.lognormvariate(0, 2), 4), chance.choice([None, 0.0, 3.25]), None, None, None, None]
        if kind < 0.1:
            rows.append(unfinished(at, chance.choice(["queued", "processing", "failed"]), user_id=who))
        elif kind < 0.25:
            took[2] = round(chance.uniform(0, 5000), 3)
            rows.append(regressed(at, round(chance.gauss(50, 20), 3), user_id=who, measured=[*took, None, None]))
        else:
            shares = [chance.random() ** 3 + 1e-3 for _ in "abc"]
            shares = [share / sum(shares) for share in shares]
            named = dict(zip("abc", shares, strict=True))
            label = max(named, key=lambda name: named[name])
            model = chance.choice([DIGITS, SECOND, THIRD])
            row = classified(at, label, named, user_id=who, model_id=model, measured=[*took, None, None])
            rows.append(judged(row, chance.choice("abc")) if chance.random() < 0.5 else row)
    return rows


def roll_up(database_url: str) -> None:
    ledger = RollingLedger.at(database_url, longest=60)
    assert not ledger.roll_up(60).left
    ledger.close()


def at(row: Row) -> datetime:
    return datetime.fromisoformat(row["created_at"])


def check(figures: dict[str, Any], rows: list[Row]) -> None:
    """Compare figures with a plain count of rows."""
    assert figures["count"] == len(rows)
    statuses = Counter(row["status"] for row in rows)
    assert figures["statuses"] == {name: statuses[name] for name in ("succeeded", "failed", "queued", "processing")}
    assert figures["failures"] == Counter(row["failure"] for row in rows if row["failure"])
    assert figures["labels"] == Counter(row["label"] for row in rows if row["label"])
    assert figures["other_labels"] == 0
    sure = [row["confidence"] for row in rows if row["confidence"] is not None]
    assert figures["confidence"]["count"] == len(sure)
    assert figures["confidence"]["mean"] == (pytest.approx(sum(sure) / len(sure)) if sure else None)
    histogram = Counter(min(math.floor(share * 50), 49) for share in sure)
    assert figures["confidence"]["histogram"] == [histogram[number] for number in range(50)]
    for place, name in enumerate(("decode_ms", "inference_ms", "queue_ms")):
        took = sorted(row["measured"][place] for row in rows if row["measured"] and row["measured"][place] is not None)
        latency = figures["latency"][name]
        assert latency["count"] == len(took)
        assert latency["mean"] == (pytest.approx(sum(took) / len(took), rel=1e-6) if took else None)
        for percentile, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
            exact = took[max(math.ceil(share * len(took)), 1) - 1] if took else None
            assert latency[percentile] == (None if exact is None else pytest.approx(exact, rel=0.0101, abs=1e-9))


def ask(api: httpx.Client, path: str = "/statistics", **parameters: str) -> dict[str, Any]:
    answer = api.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    assert "NaN" not in answer.text
    return dict(answer.json())


def within(rows: Iterable[Row], since: datetime, until: datetime, part: Part = everything) -> list[Row]:
    return [row for row in rows if since <= at(row) < until and part(row)]


@pytest.mark.parametrize("rolled", ["live", "rolled"])
@pytest.mark.parametrize("interval", ["hour", "day", "week"])
def test_each_bucket_is_a_plain_count_of_its_rows(
    api: httpx.Client, query: Query, database_url: str, interval: Any, rolled: str
) -> None:
    rows = some_rows(1, 300)
    insert(query, MODELS, rows[:200])
    if rolled == "rolled":
        roll_up(database_url)
    insert(query, [], rows[200:])

    told = ask(api, **SPAN, interval=interval)

    check(told["total"], within(rows, SINCE, UNTIL))
    starts = Span(SINCE, UNTIL, interval).starts()
    assert [datetime.fromisoformat(bucket["starts_at"]) for bucket in told["buckets"]] == starts
    for bucket, start in zip(told["buckets"], starts, strict=True):
        end = datetime.fromisoformat(bucket["ends_at"])
        check(bucket, within(rows, max(start, SINCE), min(end, UNTIL)))
    assert sum(bucket["count"] for bucket in told["buckets"]) == told["total"]["count"]


def test_minutes_are_counted_too(api: httpx.Client, query: Query) -> None:
    minutes = [SINCE + timedelta(seconds=seconds) for seconds in (0, 59.999999, 60, 61, 600)]
    rows = [classified(moment, "a", {"a": 0.9, "b": 0.1}) for moment in minutes]
    insert(query, MODELS, rows)

    told = ask(api, since=SINCE.isoformat(), until=(SINCE + timedelta(minutes=10, seconds=1)).isoformat())

    assert told["interval"] == "minute"
    assert [bucket["count"] for bucket in told["buckets"]] == [2, 2, *[0] * 8, 1]


PARTS: dict[str, Part] = {
    "model=ages": lambda row: row["model_id"] == 201,
    "model=digits": lambda row: row["model_id"] in (DIGITS, SECOND, THIRD),
    "model=digits&version=2": lambda row: row["model_id"] in (SECOND, THIRD),
    "version=1": lambda row: row["model_id"] in (DIGITS, 201),
}


@pytest.mark.parametrize("parameters", PARTS)
def test_a_model_and_a_version_of_several_files_are_counted_alone(
    api: httpx.Client, query: Query, parameters: str
) -> None:
    rows = some_rows(2, 200)
    insert(query, MODELS, rows)

    given = dict(pair.split("=") for pair in parameters.split("&"))
    check(ask(api, **SPAN, **given)["total"], within(rows, SINCE, UNTIL, PARTS[parameters]))


@pytest.mark.parametrize("name", ["label", "status", "user_id"])
def test_groups_are_counts_that_add_up(api: httpx.Client, query: Query, name: str) -> None:
    rows = some_rows(3, 200)
    insert(query, MODELS, rows)

    told = ask(api, **SPAN, interval="week", group_by=name)

    for part in (told["total"], *told["buckets"]):
        assert sum(group["count"] for group in part["groups"]) + part["others"] == part["count"]
    counted = Counter(row[name] for row in within(rows, SINCE, UNTIL) if row[name] is not None)
    assert {group[name]: group["count"] for group in told["total"]["groups"]} == counted


def test_a_group_of_a_version_has_all_figures(api: httpx.Client, query: Query) -> None:
    rows = some_rows(4, 200)
    insert(query, MODELS, rows)
    ids = {("digits", "1"): {DIGITS}, ("digits", "2"): {SECOND, THIRD}, ("ages", "1"): {201}}

    told = ask(api, **SPAN, interval="day", group_by="version")

    for bucket in told["buckets"]:
        start, end = (datetime.fromisoformat(bucket[name]) for name in ("starts_at", "ends_at"))
        those = within(rows, start, min(end, UNTIL))
        for group in bucket["groups"]:
            check(group, [row for row in those if row["model_id"] in ids[group["model"], group["version"]]])
        assert bucket["others"] == sum(row["model_id"] is None for row in those)
    total = told["total"]
    assert sum(group["count"] for group in total["groups"]) + total["others"] == total["count"]


def test_more_groups_than_an_answer_has_are_counted_together(api: httpx.Client, query: Query) -> None:
    users = [f"user-{number}" for number in range(70)]
    rows = [regressed(SINCE, 1.0, user_id=user) for number, user in enumerate(users) for _ in range(number + 1)]
    insert(query, MODELS, rows)

    total = ask(api, **SPAN, interval="week", group_by="user_id")["total"]

    assert [group["user_id"] for group in total["groups"]] == users[::-1][:50]
    assert total["others"] == sum(range(1, 21))


def test_what_is_stored_now_is_counted_where_nobody_says_until_when(api: httpx.Client, digit: bytes) -> None:
    assert api.post("/prediction", content=digit, headers={"Content-Type": "image/png"}).status_code == 201

    told = ask(api)

    assert told["interval"] == "day"
    assert len(told["buckets"]) in (30, 31)  # the first of 31 days is a part of one, and in the minute of midnight none
    assert told["total"]["count"] == told["buckets"][-1]["count"] == 1
    assert told["total"]["labels"] == {"7": 1}
    assert told["of"] == "everybody"


def test_nothing_is_an_answer_too(api: httpx.Client) -> None:
    told = ask(api)
    check(told["total"], [])
    for one in ask(api, "/models")["models"]:  # a server that holds a model serves it
        assert (one["count"], one["judged"], one["accuracy"], one["first_prediction_at"]) == (0, 0, None, None)


@pytest.mark.of_lambda
def test_no_model_is_an_answer_too(api: httpx.Client) -> None:
    assert ask(api, "/models") == {"of": "everybody", "models": [], "others": 0}
    refused = api.get("/statistics", params={"model": "digits"})
    assert refused.status_code == 404
    assert "No model was served yet" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"interval": "minute"}, ["gives 4", "at most 1000", "interval=hour or interval=day or interval=week"]),
        ({"interval": "month"}, ["interval", "'week'"]),
        ({"since": "2026-03-02", "until": "2026-03-02"}, ["since must be before until"]),
        ({"since": "1970-01-01"}, ["weeks", "a later since"]),
        ({"since": "1000-01-01", "until": "9999-12-31T23:59:59-12:00"}, ["a later since"]),
        ({"group_by": "model"}, ["group_by", "'version'"]),
        ({"users": "anna"}, ["there is no such parameter"]),
        ({"since": "yesterday"}, ["since", "as in since=2026-01-31T00:00:00Z"]),
        ({"model": "a\x00b"}, ["model"]),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_answered_says_what_could(
    api: httpx.Client, parameters: dict[str, str], says: list[str]
) -> None:
    answer = api.get("/statistics", params=parameters)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    for words in says:
        assert words in answer.json()["detail"]


def test_a_route_without_parameters_says_so(api: httpx.Client) -> None:
    refused = api.get("/models", params={"interval": "day"})
    assert refused.status_code == 422
    assert refused.json()["detail"] == "interval: there is no such parameter: this route takes none."


def test_an_unknown_model_or_version_is_told_what_there_is(api: httpx.Client, query: Query) -> None:
    insert(query, MODELS, [])

    no_model = api.get("/statistics", params={"model": "cats"})
    no_version = api.get("/models/digits/versions/9/performance")

    assert (no_model.status_code, no_version.status_code) == (404, 404)
    assert "'ages' (version '1')" in no_model.json()["detail"]
    assert "'digits' (versions '1', '2')" in no_model.json()["detail"]
    assert no_version.json()["detail"] == "'digits' has no version '9': it has versions '1', '2'."


@pytest.mark.parametrize("rolled", ["live", "rolled"])
def test_every_version_says_since_when_how_many_and_how_right(
    api: httpx.Client, query: Query, database_url: str, rolled: str
) -> None:
    rows = some_rows(5, 300)
    insert(query, MODELS, rows)
    if rolled == "rolled":
        roll_up(database_url)

    every = {(one["name"], one["version"]): one for one in ask(api, "/models")["models"]}

    told = {key: one for key, one in every.items() if key[0] != "mnist"}  # which the server may have begun to serve
    assert set(told) == {("digits", "1"), ("digits", "2"), ("ages", "1")}
    second = [row for row in rows if row["model_id"] in (SECOND, THIRD)]
    one = told["digits", "2"]
    correct = [row["correct"] for row in second if row["correct"] is not None]
    assert (one["count"], one["judged"]) == (len(second), len(correct))
    assert one["accuracy"] == pytest.approx(sum(correct) / len(correct))
    assert 0 < one["accuracy_interval"]["low"] < one["accuracy"] < one["accuracy_interval"]["high"] < 1
    times = sorted(at(row) for row in second)
    assert datetime.fromisoformat(one["first_prediction_at"]) == times[0]
    assert datetime.fromisoformat(one["last_prediction_at"]) == times[-1]
    assert len(one["sha256"]) == 2
    assert told["ages", "1"]["accuracy"] is None
    assert told["ages", "1"]["task"] == "regression"


def test_who_may_not_read_everything_is_told_of_their_own(environment: pytest.MonkeyPatch, query: Query) -> None:
    environment.setenv("AUTH", "on")
    rows = some_rows(6, 200)
    insert(query, MODELS, rows)
    theirs = [row for row in rows if row["user_id"] == "anna"]

    with httpx.Client(transport=EventTransport("anna"), base_url="https://api.example") as anna:
        told = ask(anna, **SPAN, group_by="user_id")
        models = ask(anna, "/models")

    check(told["total"], within(theirs, SINCE, UNTIL))
    assert told["of"] == models["of"] == "yours"
    assert [group["user_id"] for group in told["total"]["groups"]] == ["anna"]
    counts = {(one["name"], one["version"]): one["count"] for one in models["models"]}
    assert counts["ages", "1"] == sum(row["model_id"] == 201 for row in theirs)
    assert "bob" not in json.dumps([told, models])

    reader = EventTransport("olga", scope="predictions:read-all")
    with httpx.Client(transport=reader, base_url="https://api.example") as olga:
        told = ask(olga, **SPAN)
    check(told["total"], within(rows, SINCE, UNTIL))
    assert told["of"] == "everybody"


def test_nobody_is_told_anything_without_a_token(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AUTH", "on")
    with httpx.Client(transport=EventTransport(), base_url="https://api.example") as api:
        for path in ("/statistics", "/models", "/models/m/versions/1/performance", "/models/m/versions/1/drift"):
            assert api.get(path).status_code == 401


def test_an_answer_of_many_labels_stays_small(api: httpx.Client, query: Query) -> None:
    labels = tuple(f"{number:03}{'x' * 250}" for number in range(400))
    rows = [
        classified(start_of(SINCE, "week") + timedelta(hours=number % 190), labels[number], {labels[number]: 1.0})
        for number in range(400)
    ]
    insert(query, [digits(labels=labels)], rows)

    answer = api.get("/statistics", params={**SPAN, "interval": "hour"})

    assert answer.status_code == 200
    assert len(answer.content) < 2_000_000
    assert len(answer.json()["total"]["labels"]) == 400
