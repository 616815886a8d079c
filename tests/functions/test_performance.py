"""`GET /models/{name}/versions/{version}/performance`: what it says is what a plain computation over the rows says."""

import json
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from functions.shared.ledger.rollups import RollingLedger
from tests.support.database import Query
from tests.support.event_transport import EventTransport
from tests.support.judged_rows import DIGITS, ages, classified, digits, insert, judged, regressed

SINCE = datetime(2026, 3, 2, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=3)
SPAN = {"since": SINCE.isoformat(), "until": UNTIL.isoformat()}
SECOND, THIRD = 102, 103
MODELS = [digits(), digits(SECOND, version="2"), digits(THIRD, version="2"), ages()]
LABELS = "abc"

Row = dict[str, Any]


def some_digits(seed: int, count: int, *, share_judged: float = 0.7) -> list[Row]:
    """Return classifications at random times, some with a ground truth."""
    chance = random.Random(seed)
    rows = []
    for _ in range(count):
        shares = [chance.random() ** 2 + 1e-3 for _ in LABELS]
        named = {label: share / sum(shares) for label, share in zip(LABELS, shares, strict=True)}
        label = max(named, key=lambda name: named[name])
        row = classified(
            SINCE + chance.random() * (UNTIL - SINCE), label, named, user_id=chance.choice(["anna", "bob"])
        )
        rows.append(judged(row, chance.choice(LABELS)) if chance.random() < share_judged else row)
    return rows


def some_ages(seed: int, count: int) -> list[Row]:
    """Return regressions at random times, most with a ground truth."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        value = round(chance.gauss(50, 20), 3)
        row = regressed(SINCE + chance.random() * (UNTIL - SINCE), value)
        rows.append(judged(row, round(value + chance.gauss(2, 5), 3)) if number % 5 else row)
    return rows


def roll_up(database_url: str) -> None:
    ledger = RollingLedger.at(database_url, longest=60)
    assert not ledger.roll_up(60).left
    ledger.close()


def ask(api: httpx.Client, of: str = "digits/versions/1", **parameters: str) -> dict[str, Any]:
    answer = api.get(f"/models/{of}/performance", params=parameters)
    assert answer.status_code == 200, answer.text
    assert "NaN" not in answer.text
    return dict(answer.json())


@pytest.mark.parametrize("rolled", ["live", "rolled"])
def test_a_classifier_is_as_right_as_its_rows_are(
    api: httpx.Client, query: Query, database_url: str, rolled: str
) -> None:
    rows = some_digits(1, 300)
    insert(query, MODELS, rows)
    if rolled == "rolled":
        roll_up(database_url)

    told = ask(api, **SPAN)

    known = [row for row in rows if row["ground_truth"] is not None]
    assert told["coverage"] == {"count": 300, "judged": len(known), "share": pytest.approx(len(known) / 300)}
    scores = told["classification"]
    assert scores["accuracy"] == pytest.approx(sum(row["correct"] for row in known) / len(known))
    assert scores["confusion_matrix"]["labels"] == list(LABELS)
    assert scores["confusion_matrix"]["matrix"] == [
        [sum(row["ground_truth"] == truth and row["label"] == label for row in known) for label in LABELS]
        for truth in LABELS
    ]
    assert scores["confusion_matrix"]["labels_left_out"] == 0
    of_a = scores["classes"][0]
    hits = sum(row["ground_truth"] == row["label"] == "a" for row in known)
    assert of_a["precision"] == pytest.approx(hits / sum(row["label"] == "a" for row in known))
    assert of_a["recall"] == pytest.approx(hits / sum(row["ground_truth"] == "a" for row in known))
    right = [row["output"][LABELS.index(row["ground_truth"])] for row in known]
    assert told["log_loss"] == pytest.approx(-sum(math.log(share) for share in right) / len(right))
    brier = sum(
        sum((share - (label == row["ground_truth"])) ** 2 for label, share in zip(LABELS, row["output"], strict=True))
        for row in known
    )
    assert told["brier_score"] == pytest.approx(brier / len(known))
    bins: dict[int, list[Row]] = {}
    for row in known:
        bins.setdefault(max(math.ceil(row["confidence"] * 15) - 1, 0), []).append(row)
    error = sum(abs(sum(row["confidence"] - row["correct"] for row in those)) for those in bins.values()) / len(known)
    assert told["calibration"]["expected_calibration_error"] == pytest.approx(error)
    assert "regression" not in told


@pytest.mark.parametrize("rolled", ["live", "rolled"])
def test_a_regression_is_as_near_as_its_rows_are(
    api: httpx.Client, query: Query, database_url: str, rolled: str
) -> None:
    rows = some_ages(2, 200)
    insert(query, MODELS, rows)
    if rolled == "rolled":
        roll_up(database_url)

    told = ask(api, "ages/versions/1", **SPAN)["regression"]

    known = [row for row in rows if row["ground_truth"] is not None]
    residuals = [row["predicted_value"] - row["ground_truth"] for row in known]
    truths = [row["ground_truth"] for row in known]
    mean = sum(truths) / len(truths)
    squares = sum(residual**2 for residual in residuals)
    assert told["count"] == len(known)
    assert told["mae"] == pytest.approx(sum(map(abs, residuals)) / len(known))
    assert told["rmse"] == pytest.approx(math.sqrt(squares / len(known)))
    assert told["bias"] == pytest.approx(sum(residuals) / len(known))
    assert told["r2"] == pytest.approx(1 - squares / sum((truth - mean) ** 2 for truth in truths))
    ordered = sorted(residuals)
    for name, share in (("p05", 0.05), ("p50", 0.5), ("p95", 0.95)):
        exact = ordered[math.ceil(share * len(ordered)) - 1]
        assert told["residual_quantiles"][name] == pytest.approx(exact, rel=0.0101)


def test_the_buckets_have_the_numbers_of_their_rows(api: httpx.Client, query: Query) -> None:
    rows = some_digits(3, 200) + some_ages(3, 100)
    insert(query, MODELS, rows)

    for of in ("digits", "ages"):
        told = ask(api, f"{of}/versions/1", **SPAN, interval="day")
        assert len(told["buckets"]) == 3
        for number, bucket in enumerate(told["buckets"]):
            start = SINCE + timedelta(days=number)
            alone = ask(
                api,
                f"{of}/versions/1",
                since=start.isoformat(),
                until=(start + timedelta(days=1)).isoformat(),
                interval="day",
            )
            assert bucket["coverage"] == alone["coverage"]
            if of == "digits":
                assert bucket["accuracy"] == alone["classification"]["accuracy"]
                assert bucket["log_loss"] == pytest.approx(alone["log_loss"])
            else:
                assert bucket["mae"] == pytest.approx(alone["regression"]["mae"])
                assert bucket["r2"] == pytest.approx(alone["regression"]["r2"])


def test_a_version_of_several_files_is_summed(api: httpx.Client, query: Query) -> None:
    rows = some_digits(4, 90)
    for number, row in enumerate(rows):
        row["model_id"] = (DIGITS, SECOND, THIRD)[number % 3]
    insert(query, MODELS, rows)

    assert ask(api, **SPAN)["coverage"]["count"] == 30
    assert ask(api, "digits/versions/2", **SPAN)["coverage"]["count"] == 60


def compare(api: httpx.Client, query: Query, first: list[Row], second: list[Row]) -> dict[str, Any]:
    for row in second:
        row["model_id"] = SECOND
    insert(query, MODELS, first + second)
    told = ask(api, **SPAN, compare="2")
    assert told["coverage"]["count"] == len(first)
    assert told["compare"]["coverage"]["count"] == len(second)
    return dict(told["compare"]["paired"])


def right(row: Row) -> Row:
    return judged(row, row["label"])


def wrong(row: Row) -> Row:
    return judged(row, "b" if row["label"] == "a" else "a")


def one(hour: int, **changes: Any) -> Row:
    return classified(SINCE + timedelta(hours=hour), "a", {"a": 0.8, "b": 0.1, "c": 0.1}, **changes)


def test_two_versions_are_compared_on_what_both_have_predicted(api: httpx.Client, query: Query) -> None:
    same = {"sha256": "ab" * 32}
    first = [
        right(one(1, **same)),
        wrong(one(2, **same)),  # the newest of an input counts
        right(one(3, inference_id="order-1")),
        right(one(4, inference_id="order-2")),
        wrong(one(5, inference_id="order-3")),
        one(6, inference_id="order-4"),  # has no truth
        right(one(7)),  # only this version has predicted it
    ]
    second = [
        right(one(8, **same)),
        right(one(9, inference_id="order-1")),
        wrong(one(10, inference_id="order-2")),
        wrong(one(11, inference_id="order-3")),
        right(one(12, inference_id="order-4")),
        right(one(13)),
    ]

    paired = compare(api, query, first, second)

    assert paired["count"] == 4
    assert (paired["both_right"], paired["both_wrong"]) == (1, 1)
    assert paired["mcnemar"]["only_first"] == 1
    assert paired["mcnemar"]["only_second"] == 1
    assert paired["mcnemar"]["method"] == "exact"
    assert paired["mcnemar"]["pvalue"] == 1.0


def test_a_better_version_is_told_from_a_worse_one(api: httpx.Client, query: Query) -> None:
    first = [(right if number % 10 == 0 else wrong)(one(1, inference_id=str(number))) for number in range(60)]
    second = [right(one(2, inference_id=str(number))) for number in range(60)]

    paired = compare(api, query, first, second)

    assert paired["count"] == 60
    assert (paired["mcnemar"]["only_first"], paired["mcnemar"]["only_second"]) == (0, 54)
    assert paired["mcnemar"]["method"] == "chi_squared"
    assert paired["mcnemar"]["pvalue"] < 1e-9


def test_an_input_that_both_have_by_its_bytes_and_by_its_id_is_one_pair(api: httpx.Client, query: Query) -> None:
    both = {"sha256": "ab" * 32, "inference_id": "order-1"}

    assert compare(api, query, [right(one(1, **both))], [right(one(2, **both))])["count"] == 1


@pytest.mark.parametrize("first", [False, True], ids=["by the other version", "by the first version"])
def test_an_input_that_was_predicted_again_without_its_id_is_still_one_pair(
    api: httpx.Client, query: Query, first: bool
) -> None:
    both = {"sha256": "ab" * 32, "inference_id": "order-1"}
    once, twice = [right(one(1, **both))], [wrong(one(2, **both)), right(one(3, sha256="ab" * 32))]

    paired = compare(api, query, *((twice, once) if first else (once, twice)))

    assert paired["count"] == 1
    assert (paired["mcnemar"]["only_first"], paired["mcnemar"]["only_second"]) == ((0, 1) if first else (1, 0))


def test_inputs_of_the_same_bytes_with_ids_of_their_own_are_pairs_of_their_own(api: httpx.Client, query: Query) -> None:
    same = {"sha256": "ab" * 32}
    first = [right(one(number, **same, inference_id=str(number))) for number in range(3)]
    second = [right(one(number, **same, inference_id=str(number))) for number in range(3)]

    assert compare(api, query, first, second)["count"] == 3


def test_versions_without_a_common_input_have_no_test(api: httpx.Client, query: Query) -> None:
    assert compare(api, query, [right(one(1))], [right(one(2))]) == {
        "count": 0,
        "both_right": 0,
        "both_wrong": 0,
        "looked_at": 50_000,
        "mcnemar": None,
    }


def test_what_cannot_be_compared_is_refused(api: httpx.Client, query: Query) -> None:
    insert(query, MODELS, [])

    itself = api.get("/models/digits/versions/1/performance", params={"compare": "1"})
    unknown = api.get("/models/digits/versions/1/performance", params={"compare": "9"})

    assert (itself.status_code, unknown.status_code) == (422, 404)
    assert "name another version" in itself.json()["detail"]
    assert "versions '1', '2'" in unknown.json()["detail"]


def test_who_may_not_read_everything_is_told_of_their_own(environment: pytest.MonkeyPatch, query: Query) -> None:
    environment.setenv("AUTH", "on")
    rows = [right(one(number, user_id="anna", inference_id=str(number))) for number in range(3)]
    rows += [wrong(one(number, user_id="bob", inference_id=str(number))) for number in range(3)]
    others = [row | one(9, user_id="bob", inference_id=row["inference_id"], model_id=SECOND) for row in rows[:3]]
    insert(query, MODELS, rows + [judged(row, "a") for row in others])

    with httpx.Client(transport=EventTransport("anna"), base_url="https://api.example") as anna:
        told = ask(anna, **SPAN, compare="2")

    assert told["of"] == "yours"
    assert (told["coverage"]["count"], told["classification"]["accuracy"]) == (3, 1.0)
    assert told["compare"]["coverage"]["count"] == 0
    assert told["compare"]["paired"]["count"] == 0


@pytest.mark.parametrize(
    "rows",
    [[], [one(1)], [right(one(1))], [right(one(number)) for number in range(3)], [wrong(one(1))]],
    ids=["none", "no truth", "one", "one class", "one wrong"],
)
def test_few_rows_are_an_answer(api: httpx.Client, query: Query, rows: list[Row]) -> None:
    insert(query, MODELS, rows)

    told = ask(api, **SPAN)

    assert told["coverage"]["count"] == len(rows)
    accuracy = told.get("classification", {}).get("accuracy")
    known = [row["correct"] for row in rows if row["correct"] is not None]
    assert accuracy == (sum(known) / len(known) if known else None)


@pytest.mark.parametrize("rolled", ["live", "rolled"])
def test_a_list_has_the_records_of_each_cell_of_the_confusion_matrix(
    api: httpx.Client, query: Query, database_url: str, rolled: str
) -> None:
    """The console's matrix leads to them by these filters. A microsecond beside an hour or an end, nothing is lost."""
    labels = ("7", "a & b", "naïve?")
    shares = dict.fromkeys(labels, 1 / len(labels))
    tick = timedelta(microseconds=1)
    edges = [SINCE, UNTIL, *(SINCE + timedelta(hours=hour) for hour in (1, 24, 25))]
    moments = [edge + step for edge in edges for step in (-tick, timedelta(0), tick)]
    pairs = [(label, truth) for label in labels for truth in labels]
    rows = [
        judged(classified(moment, label, shares), truth)
        for number, moment in enumerate(moments)
        for label, truth in (pairs[number % 9], pairs[number * 2 % 9])
    ]
    # A truth that came before its outcome may be a number, which is no label: it is in no cell.
    rows.append(classified(SINCE, "7", shares, ground_truth=7))
    insert(query, [digits(labels=labels)], rows)
    query("UPDATE predictions SET ground_truth = NULL")
    for row in rows:
        query(
            "UPDATE predictions SET ground_truth = :truth::jsonb WHERE prediction_id = :own",
            truth=json.dumps(row["ground_truth"]),
            own=row["prediction_id"],
        )
    if rolled == "rolled":
        roll_up(database_url)

    told = ask(api, **SPAN)
    matrix = told["classification"]["confusion_matrix"]

    assert sum(map(sum, matrix["matrix"])) == sum(SINCE <= moment < UNTIL for moment in moments) * 2
    for truth, counts in zip(matrix["labels"], matrix["matrix"], strict=True):
        for label, count in zip(matrix["labels"], counts, strict=True):
            filters = {"model": "digits", "version": "1", "label": label, "ground_truth": truth}
            filters |= {"correct": str(label == truth).lower(), "since": told["since"], "until": told["until"]}
            found = api.get("/predictions", params=filters)
            assert found.status_code == 200, found.text
            assert len(found.json()["predictions"]) == count, (truth, label)


def test_a_constant_regression_is_an_answer(api: httpx.Client, query: Query) -> None:
    insert(query, MODELS, [judged(regressed(SINCE, 3.0), 3.0) for _ in range(3)])

    told = ask(api, "ages/versions/1", **SPAN)["regression"]

    assert (told["mae"], told["rmse"], told["bias"], told["r2"]) == (0.0, 0.0, 0.0, None)


def test_a_class_of_several_targets_is_the_same_with_a_decimal_point(api: httpx.Client, query: Query) -> None:
    both = ages() | {"task": "multi-target"}
    truths: list[Any] = [[1.0, 0.5], [1, 0.5], [0.0, 0.25], [100.0, 2]]
    rows = [judged(regressed(SINCE, 0.0, predicted_value=[1, 0.5], output=[1, 0.5]), truth) for truth in truths]
    insert(query, [both], rows)

    of_class = ask(api, "ages/versions/1", **SPAN)["targets"]["0"]["classification"]

    assert of_class["accuracy"] == 0.5
    assert of_class["confusion_matrix"]["labels"] == ["0", "1", "100"]


def test_a_model_of_which_the_largest_scores_alone_are_kept_has_no_log_loss(api: httpx.Client, query: Query) -> None:
    kept = {"values": [0.6, 0.3], "indices": [0, 1]}
    rows = [right(one(1, output=kept)), judged(one(2, output=kept), "b"), judged(one(3, output=kept), "c")]
    insert(query, MODELS, rows)

    told = ask(api, **SPAN)

    assert told["classification"]["accuracy"] == pytest.approx(1 / 3)
    assert "log_loss" not in told  # that of the last would be larger than any
    assert "brier_score" not in told


def test_a_confusion_matrix_of_very_many_labels_is_cut(api: httpx.Client, query: Query) -> None:
    labels = tuple(f"label-{number}" for number in range(300))
    rows = [judged(classified(SINCE, label, {label: 1.0}), label) for label in labels[:250]]
    insert(query, [digits(labels=labels)], rows)

    scores = ask(api, **SPAN)["classification"]

    assert len(scores["classes"]) == 300
    assert len(scores["confusion_matrix"]["labels"]) == len(scores["confusion_matrix"]["matrix"]) == 200
    assert scores["confusion_matrix"]["labels_left_out"] == 100
