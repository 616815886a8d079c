"""`GET /models/{name}/versions/{version}/drift`: each window is compared with the baseline that was asked for."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from functions.shared.evaluation.drift import Column
from functions.shared.ledger.rollups import RollingLedger
from tests.support.database import Query
from tests.support.event_transport import EventTransport
from tests.support.judged_rows import ages, classified, digits, insert, regressed

SINCE = datetime(2026, 3, 2, tzinfo=UTC)
SPAN = {"since": SINCE.isoformat(), "until": (SINCE + timedelta(days=4)).isoformat()}
SECOND = 102
MODELS = [digits(), digits(SECOND, version="2"), ages()]

Row = dict[str, Any]


def day(number: int, count: int, seed: int, shift: float = 0.0, **changes: Any) -> list[Row]:
    """Return regressions of one day, whose feature `bmi` is shifted."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        age, bmi = chance.gauss(50, 10), chance.gauss(0.1, 1) + shift
        at = SINCE + timedelta(days=number, seconds=chance.uniform(0, 86_399))
        features = {"age": round(age, 4), "bmi": round(bmi, 4), "sex": chance.choice(["f", "m"])}
        rows.append(regressed(at, round(age * 2, 3), features=features, **changes))
    return rows


def roll_up(database_url: str) -> None:
    ledger = RollingLedger.at(database_url, longest=60)
    assert not ledger.roll_up(60).left
    ledger.close()


def ask(api: httpx.Client, of: str = "ages/versions/1", **parameters: str) -> dict[str, Any]:
    answer = api.get(f"/models/{of}/drift", params=parameters)
    assert answer.status_code == 200, answer.text
    assert "NaN" not in answer.text
    return dict(answer.json())


@pytest.mark.parametrize("rolled", ["live", "rolled"])
def test_the_column_that_has_moved_is_told_in_its_window_and_no_other(
    api: httpx.Client, query: Query, database_url: str, rolled: str
) -> None:
    insert(query, MODELS, day(0, 400, 1) + day(1, 150, 2) + day(3, 150, 3, shift=1.0))
    if rolled == "rolled":
        roll_up(database_url)
    whole_first_day = f"{SINCE.isoformat()}/{(SINCE + timedelta(days=1)).isoformat()}"

    told = ask(api, **SPAN, baseline=whole_first_day)

    assert told["baseline"]["kind"] == "span"
    assert told["baseline"]["count"] == 400
    assert [window["count"] for window in told["windows"]] == [400, 150, 0, 150]
    assert [window["drifted"] for window in told["windows"]] == [[], [], [], ["feature:bmi"]]
    assert [window["drift"] for window in told["windows"]] == [False, False, None, True]
    assert set(told["windows"][0]["columns"]) == {"feature:age", "feature:bmi", "feature:sex", "value"}
    assert told["windows"][0]["columns"]["feature:age"]["jensen_shannon_distance"] == 0
    moved = told["windows"][3]["columns"]["feature:bmi"]
    assert moved["baseline"]["count"] == 400
    assert moved["window"]["count"] == 150
    assert moved["ks_test"]["statistic"] > told["thresholds"]["ks_statistic"]
    assert told["windows"][3]["columns"]["feature:sex"]["chi_squared_test"]["pvalue"] > 0.001


def test_the_figures_are_those_of_a_plain_count(api: httpx.Client, query: Query) -> None:
    first, second = day(0, 200, 4), day(1, 100, 5)
    insert(query, MODELS, first + second)
    whole_first_day = f"{SINCE.isoformat()}/{(SINCE + timedelta(days=1)).isoformat()}"

    window = ask(api, **SPAN, baseline=whole_first_day)["windows"][1]

    def counted(rows: list[Row]) -> dict[str, Any]:
        sexes = [row["features"]["sex"] for row in rows]
        return {"n": len(sexes), "categories": {sex: sexes.count(sex) for sex in set(sexes)}}

    expected = Column("category", counted(first)).compare(counted(second))
    column = window["columns"]["feature:sex"]
    assert column["chi_squared_test"] == pytest.approx(expected["chi_squared_test"])
    assert column["jensen_shannon_distance"] == pytest.approx(expected["jensen_shannon_distance"])
    assert column["population_stability_index"] == pytest.approx(expected["population_stability_index"])


def test_without_a_baseline_the_first_thousand_are_one(api: httpx.Client, query: Query) -> None:
    insert(query, MODELS, day(0, 1000, 6) + day(1, 300, 7))

    told = ask(api, **SPAN)

    assert told["baseline"] | {"until": None} == {
        "kind": "first",
        "count": 1000,
        "since": told["baseline"]["since"],
        "until": None,
        "version": None,
    }
    assert datetime.fromisoformat(told["baseline"]["until"]) <= SINCE + timedelta(days=1)
    assert told == ask(api, **SPAN, baseline="first")


BASELINE: dict[str, Any] = {
    "count": 60,
    "columns": {"label": {"a": 40, "b": 20}, "confidence": {"n": 60, "sum": 54.0, "bins": {"45": 60}}},
    "performance": {},
}


def test_the_baseline_of_the_package_comes_before_the_first_predictions(api: httpx.Client, query: Query) -> None:
    rows = [classified(SINCE, "a", {"a": 0.91, "b": 0.05, "c": 0.04}) for _ in range(60)]
    insert(query, [digits() | {"baseline": BASELINE}], rows)

    for parameters in ({}, {"baseline": "package"}):
        told = ask(api, "digits/versions/1", **SPAN, **parameters)
        assert (told["baseline"]["kind"], told["baseline"]["count"]) == ("package", 60)
        assert told["windows"][0]["drifted"] == ["label"]
        assert told["windows"][0]["columns"]["confidence"]["drift"] is False


def test_a_label_may_be_called_as_a_part_of_the_counts(api: httpx.Client, query: Query) -> None:
    name = "categories"
    insert(query, [digits(labels=(name, "bins"))], [classified(SINCE, name, {name: 0.9, "bins": 0.1})])

    told = ask(api, "digits/versions/1", **SPAN, baseline="2020-01-01/2020-01-02")

    assert {column["kind"] for window in told["windows"] for column in window["columns"].values()} == {"label", "share"}


def test_another_version_is_a_baseline(api: httpx.Client, query: Query) -> None:
    before = [
        classified(SINCE - timedelta(days=100), "a", {"a": 0.9, "b": 0.05, "c": 0.05}, model_id=SECOND)
        for _ in range(50)
    ]
    now = [classified(SINCE, "b", {"a": 0.05, "b": 0.9, "c": 0.05}) for _ in range(50)]
    insert(query, MODELS, before + now)

    told = ask(api, "digits/versions/1", **SPAN, baseline="version:2")

    assert told["baseline"] == {"kind": "version", "count": 50, "since": None, "until": None, "version": "2"}
    assert told["windows"][0]["drifted"] == ["label"]
    assert told["windows"][0]["columns"]["label"]["new_categories"] == ["b"]


@pytest.mark.parametrize(
    ("baseline", "status", "says"),
    [
        ("package", 422, "has no baseline.json: send baseline=first"),
        ("last", 422, "baseline must be package, first, a span of time as in"),
        ("2026-01-01", 422, "baseline must be package, first, a span of time as in"),
        ("2026-01-02/2026-01-01", 422, "the first time must be before the second"),
        ("2026-01-02/", 422, "must be a time with its offset or a date"),
        ("yesterday/today", 422, "must be a time with its offset or a date"),
        ("2026-01-01T00:00:00/2026-01-02", 422, "baseline must be"),
        ("0001-01-01T00:00:00+14:00/9999-12-31T00:00:00-14:00", 200, ""),
        ("version:9", 404, "There is no version '9' of this model: it has '1'"),
        ("version:", 404, "There is no version ''"),
    ],
)
def test_a_baseline_that_is_none_says_what_would_be_one(
    api: httpx.Client, query: Query, baseline: str, status: int, says: str
) -> None:
    insert(query, MODELS, [])

    answer = api.get("/models/ages/versions/1/drift", params={**SPAN, "baseline": baseline})

    assert answer.status_code == status, answer.text
    assert says in answer.text


def constant(number: int) -> Row:
    return regressed(SINCE + timedelta(days=number), 1.0, features={"age": 1, "bmi": None, "sex": "f"})


SMALL: dict[str, Callable[[], list[Row]]] = {
    "no rows": list,
    "one": lambda: [constant(0)],
    "windows of 3": lambda: [constant(number) for number in (0, 0, 0, 1, 1, 1, 3)],
    "constant columns": lambda: [constant(number) for number in range(3) for _ in range(40)],
    "another kind of feature": lambda: (
        [constant(0) for _ in range(40)]
        + [regressed(SINCE + timedelta(days=1), 1.0, features={"age": "old", "sex": 3}) for _ in range(40)]
    ),
    "a list of features": lambda: [regressed(SINCE, 2.0, features=[1, 2, "x", None, []]) for _ in range(3)],
    "huge numbers": lambda: [regressed(SINCE, 1e300, features={"age": 1e308}) for _ in range(40)],
}


@pytest.mark.parametrize("rows", SMALL)
@pytest.mark.parametrize("baseline", ["first", "2026-03-02/2026-03-03", "version:1"])
def test_few_or_odd_rows_are_an_answer(api: httpx.Client, query: Query, rows: str, baseline: str) -> None:
    stored = SMALL[rows]()
    insert(query, MODELS, stored)

    told = ask(api, **SPAN, baseline=baseline)

    assert [window["count"] for window in told["windows"]] == [
        sum(row["created_at"][:10] == window["starts_at"][:10] for row in stored) for window in told["windows"]
    ]
    if rows != "another kind of feature":
        assert [window["drift"] for window in told["windows"] if window["drift"]] == []


@pytest.mark.parametrize(("window", "count"), [("hour", 96), ("day", 4), ("week", 1)])
def test_a_window_is_an_hour_a_day_or_a_week(api: httpx.Client, query: Query, window: str, count: int) -> None:
    insert(query, MODELS, day(0, 10, 8))

    told = ask(api, **SPAN, window=window)

    assert len(told["windows"]) == count
    assert sum(one["count"] for one in told["windows"]) == 10


def test_too_many_windows_are_refused_with_what_would_fit(api: httpx.Client, query: Query) -> None:
    insert(query, MODELS, day(0, 10, 9))

    span = api.get("/models/ages/versions/1/drift", params={"since": "2020-01-01", "window": "hour"})
    columns = api.get(
        "/models/ages/versions/1/drift", params={"since": "2026-02-01", "until": "2026-03-14", "window": "hour"}
    )
    minute = api.get("/models/ages/versions/1/drift", params={"window": "minute"})

    assert (span.status_code, minute.status_code) == (422, 422)
    assert "window=week" in span.json()["detail"]
    assert columns.status_code == 200, columns.text
    many = [regressed(SINCE, 1.0, features={f"f{number}": number for number in range(90)}) for _ in range(2)]
    insert(query, [], many)
    columns = api.get(
        "/models/ages/versions/1/drift", params={"since": "2026-02-01", "until": "2026-03-14", "window": "hour"}
    )
    assert columns.status_code == 422
    assert "longer windows" in columns.json()["detail"]


def test_who_may_not_read_everything_is_told_of_their_own(environment: pytest.MonkeyPatch, query: Query) -> None:
    environment.setenv("AUTH", "on")
    insert(query, MODELS, day(0, 40, 10, user_id="anna") + day(0, 70, 11, user_id="bob"))

    with httpx.Client(transport=EventTransport("anna"), base_url="https://api.example") as anna:
        told = ask(anna, **SPAN)
        other = ask(anna, **SPAN, baseline="version:1")

    assert told["of"] == "yours"
    assert told["baseline"]["count"] == other["baseline"]["count"] == told["windows"][0]["count"] == 40
    assert "bob" not in json.dumps(told)
