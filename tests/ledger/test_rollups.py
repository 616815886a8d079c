"""A summary is at every moment what a plain count of the rows is, whatever was stored, changed, deleted, rolled up."""

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from functions.shared.evaluation import bins
from functions.shared.ledger import arrays
from functions.shared.ledger.arrays import Array
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.identifiers import first_id_at
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import Failure, ModelIdentity, NewInput, NewPrediction, QueuedPrediction, Success
from functions.shared.ledger.rollups import MEASURES, Interval, RolledUp, RollingLedger, SummaryLedger, merged
from tests.ledger.plain_count import flat, plain_count, rows
from tests.support.database import Query
from tests.support.predictions import MODEL, prediction

HOUR = timedelta(hours=1)
FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
"""A day that is over."""


def model(name: str, task: str, labels: tuple[str, ...] | None = None, **settings: Any) -> ModelIdentity:
    return ModelIdentity(name, "1", "cd" * 32, labels, task, "CPUExecutionProvider", json.dumps(settings))


FLOWERS = model("flowers", "classification", ("setosa", "virginica", "Ünïcode"), feature_names=["length", "width"])
SPAM = model("spam", "classification", ("ham", "spam"), feature_names=None)
NAMELESS = model("nameless", "classification")
SALES = model("sales", "regression", feature_names=["size", "city", "garden"])
WIDE = model("wide", "regression", feature_names=None)
BOTH = model("both", "regression")
MIXED = model("mixed", "multi-target")
TENSORS = model("tensors", "tensors")


@pytest.fixture
def summaries(database_url: str) -> Iterator[SummaryLedger]:
    opened = SummaryLedger.at(database_url, longest=60)
    yield opened
    opened.close()


@pytest.fixture
def rolling(database_url: str) -> Iterator[RollingLedger]:
    opened = RollingLedger.at(database_url, longest=60)
    yield opened
    opened.close()


@pytest.fixture
def deleting(database_url: str) -> Iterator[DeletingLedger]:
    opened = DeletingLedger.at(database_url, longest=60)
    yield opened
    opened.close()


@pytest.fixture
def connect(database_url: str) -> Iterator[Callable[[], Connection]]:
    with ExitStack() as stack:

        def open_one() -> Connection:
            connection = Connection(parse_database_url(database_url), longest=60)
            stack.callback(connection.close)
            return connection

        yield open_one


def at(hour: float, moment: datetime = FIRST) -> UUID:
    """Return an id of so many hours after a moment."""
    return UUID(int=first_id_at(moment + hour * HOUR).int | Random().getrandbits(62))


def seven(hour: float, **changes: Any) -> NewPrediction:
    return prediction(prediction_id=at(hour), input=NewInput(b"picture", "image/png"), **changes)


def features(hour: float, given: object, form: str | None = None, **changes: Any) -> NewPrediction:
    text = given if isinstance(given, str) else json.dumps(given)
    new = NewInput(None, "application/json", features=text, form=form)
    return prediction(prediction_id=at(hour), **({"input": new} | changes))


def in_time(query: Query) -> None:
    """Forget the marks of what was stored: a test stores late what would have been stored in its hour."""
    query("DELETE FROM stale_hours")


def stale(query: Query) -> set[datetime]:
    return {row[0] for row in query("SELECT starts_at FROM stale_hours")}


def roll_to(rolling: RollingLedger, hour: float, **options: Any) -> RolledUp:
    """Roll up as if it were so many hours after the first moment, and five minutes: a part of this hour, too."""
    return rolling.roll_up(grace=(datetime.now(UTC) - FIRST - hour * HOUR).total_seconds(), **options)


PART = 5.9
"""Hours after the first moment: until when a part of the sixth hour is rolled up."""


def roll(rolling: RollingLedger, part: bool, **options: Any) -> RolledUp:
    """Roll everything up, or only a part of the sixth hour and what is before."""
    return roll_to(rolling, PART, **options) if part else rolling.roll_up(**options)


def rolled(query: Query) -> list[list[Any]]:
    return query("SELECT span, starts_at, model_id, measure, counts FROM rollups ORDER BY 1, 2, 3, 4")


class Counting:
    """Compares what is summed up with what is counted one by one."""

    def __init__(self, ledger: SummaryLedger, query: Query) -> None:
        self.ledger = ledger
        self.query = query

    def check(self, since: datetime, until: datetime, interval: Any = None, **whose: Any) -> None:
        found = flat(self.ledger.summary(since=since, until=until, measures=MEASURES, interval=interval, **whose))
        expected = plain_count(rows(self.query), since, until, interval, whose.get("model_ids"), whose.get("user_id"))
        assert found.keys() == expected.keys()
        for key, numbers in expected.items():
            assert found[key].keys() == numbers.keys(), key
            wrong = {
                path: (found[key][path], number)
                for path, number in numbers.items()
                if not math.isclose(found[key][path], number, rel_tol=1e-9, abs_tol=1e-9)
            }
            assert wrong == {}, key

    def check_everything(self) -> None:
        since, until = FIRST - 2 * HOUR, datetime.now(UTC) + 2 * HOUR
        for interval in (None, "hour", "day", "week"):
            self.check(since, until, interval)
        self.check(since + timedelta(minutes=17, microseconds=3), until - HOUR * 40.3, "day")


@pytest.fixture
def counting(summaries: SummaryLedger, query: Query) -> Counting:
    return Counting(summaries, query)


# --- what is counted ---


def test_the_bins_of_the_database_are_those_of_the_evaluation(query: Query) -> None:
    random = Random(17)
    edges = [edge for number in range(-bins.LAST, bins.LAST, 37) for edge in bins.edges(number)]
    around = [math.nextafter(edge, towards) for edge in (*edges, 1e-9, 1e12) for towards in (-math.inf, math.inf)]
    values = [0.0, 1e-9, -1e-9, 1e12, -1e12, 1e13, 5e-324, 1.7e308, -1.7e308, *edges, *around]
    values += [random.choice((1, -1)) * 10 ** random.uniform(-12, 15) for _ in range(3000)]
    text = "{" + ",".join(map(repr, values)) + "}"
    found = query(
        "SELECT log_bin(x) FROM unnest(CAST(:values AS float8[])) WITH ORDINALITY u (x, n) ORDER BY n", values=text
    )
    assert [row[0] for row in found] == [bins.bin_of(value) for value in values]
    assert query("SELECT log_bin('NaN'), log_bin('Infinity'), log_bin('-Infinity'), log_bin(NULL)") == [[None] * 4]


@pytest.mark.parametrize("moment", ["1970-01-01T00:00:00Z", "2026-11-28T17:00:00Z", "9999-12-31T23:00:00Z"])
def test_the_first_id_of_an_hour_is_that_of_the_ledger(query: Query, moment: str) -> None:
    [[found]] = query("SELECT first_id_at(CAST(:moment AS timestamptz))", moment=moment)
    assert found == first_id_at(datetime.fromisoformat(moment))


def test_each_measure_counts_what_it_says(ledger: Ledger, summaries: SummaryLedger, query: Query) -> None:
    ledger.store(MODEL, [one := seven(1), seven(1, confidence=1.0, user_id="anna")])
    query(
        "UPDATE predictions SET ground_truth = '\"1\"', correct = FALSE, measured = '{2, 0.5, NULL, 28}'::real[] "
        "WHERE prediction_id = :id",
        id=one.prediction_id,
    )
    found = {
        summary.measure: summary.counts
        for summary in summaries.summary(since=FIRST, until=FIRST + 2 * HOUR, measures=MEASURES)
    }
    assert found["status"] == {"succeeded": 2}
    assert found["label"] == {"7": 2}
    assert found["user_id"] == {"anonymous": 1, "anna": 1}
    assert found["confidence"]["bins"] == {"48": 1, "49": 1}
    assert found["decode_ms"] == {"n": 1, "missing": 0, "sum": 2, "squares": 4, "bins": {str(bins.bin_of(2)): 1}}
    assert found["picture:width"]["bins"] == {str(bins.bin_of(28)): 1}
    assert found["confusion"] == {"1": {"7": 1}}
    assert found["judged"] == {"judged": 1, "correct": 0, "wrong": 1}
    assert found["calibration"] == {"bins": {"14": {"n": 1, "confidence": 0.9642, "correct": 0}}}
    assert found["log_loss"] == {"n": 1, "sum": pytest.approx(-math.log(0.003))}
    squares = sum(p * p for p in json.loads(json.dumps(one.output)))
    assert found["brier"] == {"n": 1, "sum": pytest.approx(squares - 2 * 0.003 + 1)}
    assert "queue_ms" not in found
    assert "value" not in found


def test_only_what_is_asked_for_is_counted(ledger: Ledger, summaries: SummaryLedger) -> None:
    ledger.store(MODEL, [seven(1)])
    for kind in MEASURES:
        found = summaries.summary(since=FIRST, until=FIRST + 2 * HOUR, measures=[kind])
        assert {one.measure.partition(":")[0] for one in found} <= {kind}
    assert summaries.summary(since=FIRST, until=FIRST + 2 * HOUR, measures=[]) == []
    assert summaries.summary(since=FIRST + 2 * HOUR, until=FIRST, measures=MEASURES) == []


ODD = {
    "features by name": features(1, {"width": 2, "length": 0.5}),
    "features in order": features(1, "[1.5, -0.25]"),
    "spaces": features(1, " [ 1.5 ,\n null]\t"),
    "exponents": features(1, "[1e-7, 2.5E+3]"),
    "numbers out of all proportion": features(1, "[1e-999, 1e308]"),
    "a request of the protocol": features(
        1, {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[1.5, 2]]}]}, "v2"
    ),
    "a flat request of the protocol": features(
        1, {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2]}]}, "v2"
    ),
    "a tensor for each feature": features(
        1,
        {
            "inputs": [
                {"name": "length", "shape": [1, 1], "datatype": "FP32", "data": [[1.5]]},
                {"name": "width", "shape": [1], "datatype": "FP32", "data": [3]},
            ]
        },
        "v2",
    ),
}


@pytest.mark.parametrize("which", ODD)
def test_features_are_counted_in_whatever_way_they_were_sent(ledger: Ledger, counting: Counting, which: str) -> None:
    ledger.store(FLOWERS, [ODD[which]])
    found = counting.ledger.summary(since=FIRST, until=FIRST + 2 * HOUR, measures=["feature"])
    assert [one.measure for one in found] == ["feature:length", "feature:width"]
    counting.check(FIRST, FIRST + 2 * HOUR)


def test_texts_and_booleans_are_categories(ledger: Ledger, counting: Counting) -> None:
    city = {"size": 1, "city": 'Zürich, "[e]"', "garden": True}
    ledger.store(SALES, [features(1, given, label=None, predicted_value=1.0) for given in (city, ["1", None, False])])
    counting.check(FIRST, FIRST + 2 * HOUR)
    found = counting.ledger.summary(since=FIRST, until=FIRST + 2 * HOUR, measures=["feature"])
    assert found[0].counts == {"n": 1, "missing": 1, "categories": {'Zürich, "[e]"': 1}}


@pytest.mark.parametrize(
    "text",
    [
        '["a\\u0000b", 1, true]',
        '["\\ud800", 1, true]',
        '["\\udc00", 1, true]',
        "[1e99999, 1, true]",
        "[1e-99999, 1, true]",
        "[" + "9" * 200_000 + ", 1, true]",
        "[" + ", ".join(["1"] * 101) + "]",
        '"text"',
    ],
    ids=["U+0000", "a high half", "a low half", "too large", "too small", "too long", "too many", "no list"],
)
def test_what_cannot_be_counted_keeps_nothing_else_from_being_counted(
    ledger: Ledger, rolling: RollingLedger, summaries: SummaryLedger, text: str
) -> None:
    ledger.store(WIDE, [features(1, text, label=None, predicted_value=1.0)])
    ledger.store(SALES, [features(1, '["\\ud83d\\ude00", "x", false]', label=None, predicted_value=1.0)])
    rolling.roll_up()
    [city, garden, size] = summaries.summary(since=FIRST, until=FIRST + 2 * HOUR, measures=["feature"])
    assert size.counts["categories"] == {"😀": 1}
    assert city.counts["n"] == garden.counts["n"] == 1


def test_of_many_categories_the_most_frequent_are_told(
    ledger: Ledger, rolling: RollingLedger, summaries: SummaryLedger
) -> None:
    for hour in (1, 2):
        texts = [f"{hour}-{number}" for number in range(120)] + ["often"] * 3
        new = [features(hour, [text, 1, True], label=None, predicted_value=1.0) for text in texts]
        ledger.store(SALES, new)
    for _ in range(2):
        for until in (FIRST + 2 * HOUR, FIRST + 24 * HOUR):
            [size] = [
                one.counts
                for one in summaries.summary(since=FIRST, until=until, measures=["feature"])
                if one.measure == "feature:size"
            ]
            assert size["categories"]["often"] == size["n"] / 41
            assert sum(size["categories"].values()) == size["n"]
        rolling.roll_up()
    assert max(len(row[4].get("categories", ())) for row in rolled(lambda sql: summaries._pool.run(sql, {}))) == 101


def test_a_label_or_a_user_with_the_name_of_a_part_of_the_counts_is_rolled_up_as_any_other(
    ledger: Ledger, rolling: RollingLedger, counting: Counting
) -> None:
    names = ["categories", "bins", "n", "sum", "missing", "squares"]
    for hour in (1, 2):
        ledger.store(MODEL, [seven(hour, user_id=name, label=name) for name in names])
        ledger.store(MODEL, [seven(hour, user_id=f"{hour}-{number}") for number in range(110)])

    assert rolling.roll_up().left is False

    counting.check(FIRST, FIRST + 24 * HOUR)


def test_counts_are_merged_by_name() -> None:
    assert merged([{"n": 1, "bins": {"3": 1}}, {"n": 2, "bins": {"3": 1, "4": 1}}, {}]) == {
        "n": 3,
        "bins": {"3": 2, "4": 1},
    }


# --- rolling up ---


def test_an_hour_is_rolled_up_when_it_is_over_for_five_minutes(
    ledger: Ledger, rolling: RollingLedger, query: Query
) -> None:
    now = datetime.now(UTC)
    ledger.store(MODEL, [prediction(), seven(5), prediction(prediction_id=at(0, now - timedelta(hours=1, minutes=6)))])
    done = rolling.roll_up()
    assert done.left is False
    [[until]] = query("SELECT moment FROM rolled_until")
    assert now - timedelta(minutes=66) < until <= now - timedelta(minutes=5)
    assert until.minute == 0
    hours = {row[1] for row in rolled(query) if row[0] == "hour"}
    assert hours == {FIRST + 5 * HOUR, (now - timedelta(minutes=66)).replace(minute=0, second=0, microsecond=0)}
    assert rolling.roll_up() == RolledUp(0, left=False)


def test_what_is_rolled_up_is_no_longer_counted_one_by_one(
    ledger: Ledger, rolling: RollingLedger, summaries: SummaryLedger, query: Query
) -> None:
    ledger.store(MODEL, [seven(5), seven(30)])
    rolling.roll_up()
    query("SET session_replication_role = replica")  # no trigger tells of it
    query("DELETE FROM predictions")
    query("SET session_replication_role = origin")
    spans: list[tuple[Interval | None, datetime]] = [(None, FIRST), ("hour", FIRST), ("day", FIRST - HOUR)]
    for interval, since in (*spans, ("week", FIRST + 5 * HOUR)):
        found = summaries.summary(since=since, until=FIRST + 48 * HOUR, measures=["status"], interval=interval)
        assert merged(one.counts for one in found) == {"succeeded": 2}
    for begin, end in ((5.1, 24), (4, 5.9)):
        assert summaries.summary(since=FIRST + begin * HOUR, until=FIRST + end * HOUR, measures=["status"]) == []
    assert summaries.summary(since=FIRST, until=FIRST + 48 * HOUR, measures=["status"], interval="minute") == []
    assert summaries.summary(since=FIRST, until=FIRST + 48 * HOUR, measures=["status"], user_id="anonymous") == []


def test_what_is_rolled_up_of_the_open_hour_is_no_longer_counted_one_by_one(
    ledger: Ledger, rolling: RollingLedger, summaries: SummaryLedger, query: Query
) -> None:
    ledger.store(MODEL, [seven(3), seven(5), seven(5.8), seven(5.95)])
    assert roll_to(rolling, PART) == RolledUp(1, left=False)
    [[moment, until]] = query("SELECT moment, part_until FROM rolled_until")
    assert moment == FIRST + 5 * HOUR
    assert FIRST + PART * HOUR <= until < FIRST + (PART + 0.05) * HOUR
    query("SET session_replication_role = replica")  # no trigger tells of it
    query("DELETE FROM predictions WHERE created_at < :until", until=until)
    query("SET session_replication_role = origin")
    spans: dict[tuple[float, float], int] = {
        (0, 48): 4,
        (0, 5.96): 4,
        (5, 48): 3,
        (5.01, 48): 1,
        (5.92, 48): 1,
        (0, 5.85): 1,  # it ends within the part, so this has too much
        (0, 5): 1,
    }
    for (begin, end), count in spans.items():
        for interval in (None, "hour", "day", "week"):
            found = summaries.summary(
                since=FIRST + begin * HOUR, until=FIRST + end * HOUR, measures=["status"], interval=interval
            )
            assert merged(one.counts for one in found) == {"succeeded": count}, (begin, end, interval)
    by_minute = summaries.summary(since=FIRST, until=FIRST + 48 * HOUR, measures=["status"], interval="minute")
    assert [one.counts for one in by_minute] == [{"succeeded": 1}]


def test_the_open_hour_is_counted_further_each_time_and_as_a_whole_when_it_is_over(
    ledger: Ledger, rolling: RollingLedger, counting: Counting
) -> None:
    ledger.store(MODEL, [seven(3), seven(5)])
    for until in (5.1, 5.5, 5.5, 5.7, 6.2, 7.5, 24.1):
        roll_to(rolling, until)
        assert stale(counting.query) == set()
        counting.check_everything()
        ledger.store(MODEL, [seven(until + 0.1), seven(until + 0.3)])
        in_time(counting.query)
        counting.check_everything()
    roll_to(rolling, 5.3)  # the clock was set back
    counting.check_everything()
    rolling.roll_up()
    counting.check_everything()


def test_a_day_keeps_its_hours_although_nothing_is_left_of_its_open_one(
    ledger: Ledger, deleting: DeletingLedger, rolling: RollingLedger, counting: Counting
) -> None:
    ledger.store(MODEL, [seven(3), one := seven(5)])
    roll_to(rolling, 5.5)
    deleting.delete(one.prediction_id)
    roll_to(rolling, 5.8)
    rolling.roll_up()
    assert stale(counting.query) == set()
    counting.check_everything()


@pytest.mark.parametrize("moment", [4, 6, 7], ids=["before", "after", "later"])
def test_a_part_is_not_used_if_the_previous_version_has_moved_the_hours(
    ledger: Ledger, rolling: RollingLedger, counting: Counting, moment: int
) -> None:
    query = counting.query
    ledger.store(MODEL, [seven(3), seven(4), seven(5)])
    roll_to(rolling, 5.5)
    ledger.store(MODEL, [seven(5.7), seven(moment + 0.7)])
    in_time(query)
    [[part_until]] = query("SELECT part_until FROM rolled_until")
    roll_to(rolling, moment)
    query("UPDATE rolled_until SET part_until = :until", until=part_until)  # it does not know this column
    counting.check_everything()


def test_a_part_is_not_used_if_the_clock_was_set_back_into_it(
    ledger: Ledger, rolling: RollingLedger, counting: Counting
) -> None:
    rolling.roll_up(grace=0)  # as if it were five minutes later
    ledger.store(MODEL, [prediction(prediction_id=at(0, datetime.now(UTC) - timedelta(minutes=1)))])
    assert stale(counting.query) == set()
    counting.check_everything()


def test_what_was_stored_into_a_whole_hour_while_the_clock_was_set_back_is_counted_by_the_next_rollup(
    ledger: Ledger, rolling: RollingLedger, counting: Counting
) -> None:
    ledger.store(MODEL, [seven(4), seven(5)])
    in_time(counting.query)
    roll_to(rolling, 6.2)
    ledger.store(MODEL, [seven(5.9)])
    in_time(counting.query)  # when it was stored, its hour was not over
    assert roll_to(rolling, 6.4) == RolledUp(1, left=False)
    counting.check_everything()
    assert roll_to(rolling, 6.5) == RolledUp(0, left=False)


def test_what_is_rolled_up_is_marked_however_young_it_is(
    ledger: Ledger, deleting: DeletingLedger, rolling: RollingLedger, counting: Counting
) -> None:
    query, moment = counting.query, datetime.now(UTC) - timedelta(minutes=1)
    one, other = (prediction(prediction_id=at(0, moment), user_id=user) for user in ("anna", "bert"))
    ledger.store(MODEL, [one, other])
    hour = moment.replace(minute=0, second=0, microsecond=0)
    rolling.roll_up(grace=0)  # as if it were five minutes later; then the clock is set back
    assert "anna" in str(rolled(query))
    query("UPDATE predictions SET label = '8' WHERE user_id = 'bert'")
    assert stale(query) == {hour}
    rolling.roll_up(grace=0)
    assert stale(query) == set()
    deleting.delete(one.prediction_id)
    assert stale(query) == {hour}
    assert rolled(query) == []
    counting.check_everything()


def test_rolling_up_again_changes_nothing(ledger: Ledger, rolling: RollingLedger, query: Query) -> None:
    ledger.store(MODEL, [seven(5), seven(30)])
    rolling.roll_up()
    before = rolled(query)
    query("INSERT INTO stale_hours (starts_at) VALUES (:hour)", hour=FIRST + 5 * HOUR)
    assert rolling.roll_up() == RolledUp(1, left=False)
    assert rolled(query) == before
    assert stale(query) == set()


def test_it_goes_on_where_it_was_cut_off(ledger: Ledger, rolling: RollingLedger, counting: Counting) -> None:
    ledger.store(MODEL, [seven(hour) for hour in (5, 6, 30)])
    in_time(counting.query)
    answers = iter([True, True, False])
    assert rolling.roll_up(goes_on=lambda: next(answers)) == RolledUp(2, left=True)
    counting.check_everything()
    assert rolling.roll_up() == RolledUp(1, left=False)
    counting.check_everything()


CHANGES: dict[str, Callable[[Ledger, DeletingLedger, dict[str, UUID]], object]] = {
    "stored late": lambda ledger, _deleting, _old: ledger.store(MODEL, [seven(5)]),
    "many stored late": lambda ledger, _deleting, _old: ledger.store(MODEL, [seven(5), seven(5.5)]),
    "queued late": lambda ledger, _deleting, _old: ledger.enqueue(queued(5)),
    "deleted": lambda _ledger, deleting, old: deleting.delete(old["stored"]),
    "withdrawn": lambda ledger, _deleting, old: ledger.withdraw(old["queued"]),
    "claimed": lambda ledger, _deleting, old: ledger.claim([old["queued"]], lease_seconds=60),
    "claimed without a queue": lambda ledger, _deleting, _old: ledger.claim_oldest(limit=1, lease_seconds=60),
    "succeeded": lambda ledger, _deleting, old: ledger.complete(MODEL, [success(old["queued"])]),
    "failed": lambda ledger, _deleting, old: ledger.complete(MODEL, [Failure(old["queued"], "no picture")]),
    "given up": lambda ledger, _deleting, _old: ledger.sweep(queued_seconds=0, processing_seconds=0),
}


def queued(hour: float) -> QueuedPrediction:
    return QueuedPrediction(NewInput(b"picture", "image/png"), "bert", prediction_id=at(hour))


def success(prediction_id: UUID, **changes: Any) -> Success:
    one = prediction(**changes)
    return Success(
        prediction_id=prediction_id,
        output=one.output,
        likely_class=one.likely_class,
        label=one.label,
        confidence=one.confidence,
        predicted_value=one.predicted_value,
        duration_ms=1,
    )


@pytest.mark.parametrize("part", [False, True], ids=["whole", "open"])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_an_hour_marks_it(
    ledger: Ledger, deleting: DeletingLedger, rolling: RollingLedger, counting: Counting, change: str, part: bool
) -> None:
    query, stored, waiting = counting.query, seven(5), queued(5)
    ledger.store(MODEL, [seven(4), stored, seven(5.95), seven(7)])
    ledger.enqueue(waiting)
    roll(rolling, part)
    in_time(query)

    CHANGES[change](ledger, deleting, {"stored": stored.prediction_id, "queued": waiting.prediction_id})

    assert stale(query) == {FIRST + 5 * HOUR}
    counting.check_everything()
    assert roll(rolling, part) == RolledUp(0 if part else 1, left=False)
    assert stale(query) == set()
    counting.check_everything()


def test_a_change_that_is_rolled_back_marks_nothing(
    ledger: Ledger, rolling: RollingLedger, connect: Callable[[], Connection], query: Query
) -> None:
    ledger.store(MODEL, [seven(5)])
    rolling.roll_up()
    connection = connect()
    connection.run("BEGIN", {})
    connection.run("UPDATE predictions SET label = '8'", {})
    connection.run("ROLLBACK", {})
    assert stale(query) == set()


def test_what_is_stored_and_changed_in_its_hour_marks_nothing(ledger: Ledger, query: Query) -> None:
    one = prediction()
    ledger.store(MODEL, [one])
    ledger.enqueue(waiting := QueuedPrediction(NewInput(b"picture", "image/png"), "bert"))
    ledger.claim([waiting.prediction_id], lease_seconds=60)
    query("UPDATE predictions SET correct = TRUE")
    query("DELETE FROM predictions")
    assert stale(query) == set()


def test_what_changes_more_than_four_minutes_later_marks_its_hour_although_it_is_open(
    ledger: Ledger, deleting: DeletingLedger, rolling: RollingLedger, counting: Counting
) -> None:
    query, moment = counting.query, datetime.now(UTC) - timedelta(minutes=6)
    one, other = (prediction(prediction_id=at(0, moment), user_id=user) for user in ("anna", "bert"))
    ledger.store(MODEL, [one, other])
    rolling.roll_up()
    in_time(query)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    query("UPDATE predictions SET correct = TRUE WHERE user_id = 'bert'")
    assert stale(query) == {hour}
    counting.check_everything()
    rolling.roll_up()
    assert stale(query) == set()
    assert "anna" in str(rolled(query))
    deleting.delete(one.prediction_id)
    assert stale(query) == {hour}
    assert rolled(query) == []
    counting.check_everything()
    rolling.roll_up()
    assert stale(query) == set()
    counting.check_everything()


def test_a_large_update_makes_one_mark_an_hour(ledger: Ledger, query: Query) -> None:
    for hour in (1, 2):
        ledger.store(MODEL, [seven(hour) for _ in range(50)])
    in_time(query)
    query("UPDATE predictions SET correct = TRUE")
    assert query("SELECT count(*) FROM stale_hours") == [[2]]


def test_an_hour_waits_for_what_was_being_stored_when_it_was_closed(
    ledger: Ledger, rolling: RollingLedger, connect: Callable[[], Connection], counting: Counting
) -> None:
    ledger.store(MODEL, [seven(5)])
    in_time(counting.query)
    slow = connect()
    slow.run("BEGIN", {})
    slow.run("SELECT pg_current_xact_id()::text", {})
    assert rolling.roll_up(0.3) == RolledUp(0, left=True)
    slow.run("COMMIT", {})
    assert rolling.roll_up() == RolledUp(1, left=False)
    counting.check_everything()


def test_the_open_hour_waits_for_what_was_being_stored(
    ledger: Ledger, rolling: RollingLedger, connect: Callable[[], Connection], counting: Counting
) -> None:
    ledger.store(MODEL, [seven(5)])
    in_time(counting.query)
    slow = connect()
    slow.run("BEGIN", {})
    slow.run("SELECT pg_current_xact_id()::text", {})
    assert roll_to(rolling, PART, seconds=0.3) == RolledUp(0, left=True)
    assert counting.query("SELECT part_until FROM rolled_until") == []
    slow.run("COMMIT", {})
    assert roll_to(rolling, PART) == RolledUp(0, left=False)
    counting.check_everything()


def test_a_clock_that_was_set_back_opens_hours_again(
    ledger: Ledger, rolling: RollingLedger, counting: Counting
) -> None:
    ahead = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + 3 * HOUR
    ledger.store(MODEL, [prediction()])
    rolling.roll_up(grace=-3 * 3600)  # as if it were three hours later
    assert counting.query("SELECT moment FROM rolled_until") == [[ahead]]
    ledger.store(MODEL, [prediction(), prediction(prediction_id=at(1, ahead - 2 * HOUR))])
    counting.check_everything()
    rolling.roll_up()
    [[until]] = counting.query("SELECT moment FROM rolled_until")
    assert until <= datetime.now(UTC) - timedelta(minutes=5)
    counting.check_everything()


# --- at the same moment ---


@contextmanager
def blocked(
    connect: Callable[[], Connection], query: Query, roll: Callable[[], object], hour: datetime | None
) -> Iterator[None]:
    """Have a rollup of an hour wait when it has counted the rows and not yet committed, for as long as the context.

    Without an hour, the rollup is that of the open one, which does not begin while a transaction writes.
    """
    holding = connect()
    holding.run("BEGIN", {})
    if hour is None:
        holding.run("SELECT pg_advisory_xact_lock_shared(2025172)", {})
    else:
        query("INSERT INTO stale_hours (starts_at) VALUES (:hour)", hour=hour)
        holding.run("SELECT mark_id FROM stale_hours WHERE starts_at = :hour FOR UPDATE", {"hour": hour})
    with ThreadPoolExecutor(1) as pool:
        rolling = pool.submit(roll)
        try:
            wait_for_locks(query, 1)
            yield
        finally:
            holding.run("ROLLBACK", {})
            rolling.result(30)


def wait_for_locks(query: Query, count: int) -> None:
    """Wait until so many connections wait for a lock."""
    until = time.monotonic() + 30
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while query(waiting) != [[count]]:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("part", [False, True], ids=["whole", "open"])
def test_what_is_stored_while_its_hour_is_rolled_up_is_counted(
    ledger: Ledger, rolling: RollingLedger, connect: Callable[[], Connection], counting: Counting, part: bool
) -> None:
    ledger.store(MODEL, [seven(5)])
    roll(rolling, part)
    hour = None if part else FIRST + 5 * HOUR
    with blocked(connect, counting.query, lambda: roll(rolling, part, goes_on=once()), hour):
        ledger.store(MODEL, [seven(5)])
        counting.check_everything()
    assert stale(counting.query) == {FIRST + 5 * HOUR}
    counting.check_everything()
    assert roll(rolling, part) == RolledUp(0 if part else 1, left=False)
    assert stale(counting.query) == set()
    counting.check_everything()


def once() -> Callable[[], bool]:
    answers = iter([True])
    return lambda: next(answers, False)


def test_two_at_once_do_each_hour_once(
    ledger: Ledger, rolling: RollingLedger, connect: Callable[[], Connection], counting: Counting, database_url: str
) -> None:
    ledger.store(MODEL, [seven(hour) for hour in (5, 6, 7, 30, 31)])
    rolling.roll_up()
    counting.query("UPDATE predictions SET label = '8'")
    other = RollingLedger.at(database_url, longest=60)
    done: list[RolledUp] = []
    with ThreadPoolExecutor(1) as pool:
        with blocked(connect, counting.query, lambda: done.append(rolling.roll_up()), FIRST + 5 * HOUR):
            second = pool.submit(other.roll_up)
            wait_for_locks(counting.query, 2)
        done.append(second.result(30))
    other.close()
    assert sum(one.hours for one in done) == 5
    assert [one.left for one in done] == [False, False]
    counting.check_everything()


@pytest.mark.parametrize("part", [False, True], ids=["whole", "open"])
def test_a_name_is_in_no_rollup_once_its_user_is_erased(
    ledger: Ledger, deleting: DeletingLedger, rolling: RollingLedger, query: Query, part: bool
) -> None:
    ledger.store(MODEL, [seven(5, user_id="anna"), seven(5, user_id="bert"), seven(30, user_id="anna")])
    roll(rolling, part)
    assert "anna" in str(rolled(query))
    deletion = deleting.begin_deletion(user_id="anna")
    deleting.delete_some(deletion)
    assert "anna" not in str(rolled(query))
    roll(rolling, part)
    assert "anna" not in str(rolled(query))
    assert "bert" in str(rolled(query))


@pytest.mark.parametrize("part", [False, True], ids=["whole", "open"])
def test_a_name_is_in_no_rollup_although_its_user_was_erased_while_it_was_made(
    ledger: Ledger,
    deleting: DeletingLedger,
    rolling: RollingLedger,
    connect: Callable[[], Connection],
    counting: Counting,
    part: bool,
) -> None:
    ledger.store(MODEL, [seven(5, user_id="anna"), seven(6, user_id="bert")])
    roll(rolling, part)
    deletion = deleting.begin_deletion(user_id="anna")
    hour = None if part else FIRST + 5 * HOUR
    with ThreadPoolExecutor(1) as pool:
        with blocked(connect, counting.query, lambda: roll(rolling, part, goes_on=once()), hour):
            erased: Future[object] = pool.submit(deleting.delete_some, deletion)
            wait_for_locks(counting.query, 2)
        erased.result(30)
    assert "anna" not in str(rolled(counting.query))
    counting.check_everything()
    roll(rolling, part)
    assert "anna" not in str(rolled(counting.query))
    counting.check_everything()


@pytest.mark.parametrize("part", [False, True], ids=["whole", "open"])
def test_an_hour_is_counted_again_if_a_name_was_deleted_before_the_counts_are_written(
    ledger: Ledger, rolling: RollingLedger, connect: Callable[[], Connection], counting: Counting, part: bool
) -> None:
    ledger.store(MODEL, [seven(5, user_id="anna"), seven(6, user_id="bert")])
    roll(rolling, part)
    counting.query("UPDATE predictions SET label = '8' WHERE user_id = 'anna'")
    deleting = connect()
    deleting.run("BEGIN", {})
    deleting.run("SELECT pg_advisory_xact_lock_shared(2025172)", {})  # as a deletion does
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(roll, rolling, part, goes_on=once())
        wait_for_locks(counting.query, 1)  # it has counted the row
        deleting.run("DELETE FROM predictions WHERE user_id = 'anna'", {})
        deleting.run("COMMIT", {})
        assert done.result(30) == RolledUp(0 if part else 1, left=not part)
    assert "anna" not in str(rolled(counting.query))
    assert FIRST + 5 * HOUR not in stale(counting.query)
    counting.check_everything()


# --- anything, in any order ---


class World:
    """Stores, changes, deletes and rolls up at random."""

    def __init__(
        self,
        seed: int,
        ledger: Ledger,
        deleting: DeletingLedger,
        rolling: RollingLedger,
        connect: Callable[[], Connection],
        counting: Counting,
    ) -> None:
        self.random = Random(seed)
        self.ledger, self.deleting, self.rolling = ledger, deleting, rolling
        self.connect, self.counting, self.query = connect, counting, counting.query
        self.hours = [float(hour) for hour in (20, 21, 22, 23, 24, 25, 47, 48, 49)]

    def step(self) -> None:
        self.random.choice(
            [
                *(self.store, self.store, self.store_late, self.enqueue, self.work, self.judge, self.judge),
                *(self.delete, self.erase, self.roll_some, self.roll_part, self.roll_part, self.roll_all),
                self.roll_while_writing,
            ]
        )()

    def hour(self) -> float:
        if self.random.random() < 0.2:  # in the open hour, or not long before
            return (datetime.now(UTC) - FIRST) / HOUR - self.random.random()
        return self.random.choice(self.hours) + self.random.random()

    def store(self) -> None:
        """Store in time: what is not rolled up yet gets no mark."""
        before = [mark_id for [mark_id] in self.query("SELECT mark_id FROM stale_hours")]
        ids = self.store_late()
        self.query(
            "DELETE FROM stale_hours s WHERE mark_id <> ALL (CAST(:before AS uuid[])) AND NOT EXISTS ("
            "   SELECT FROM predictions p, rolled_until r WHERE p.prediction_id = ANY (CAST(:ids AS uuid[]))"
            "   AND p.created_at >= s.starts_at AND p.created_at < s.starts_at + interval '1 hour'"
            "   AND p.created_at < coalesce(r.part_until, r.moment))",
            before=Array(arrays.UUIDS, before),
            ids=Array(arrays.UUIDS, ids),
        )

    def store_late(self) -> list[UUID]:
        of = self.random.choice([MODEL, FLOWERS, SPAM, NAMELESS, SALES, BOTH, MIXED, TENSORS])
        stored = [self.made(of) for _ in range(self.random.randint(1, 4))]
        self.ledger.store(of, stored)
        return [one.prediction_id for one in stored]

    def made(self, of: ModelIdentity) -> NewPrediction:
        random = self.random
        user = random.choice(["anna", "bert", "Çelik"])
        plain: dict[str, Any] = {"label": None, "likely_class": None, "confidence": None, "user_id": user}
        shares = [random.random() for _ in range(3)]
        if of is MODEL:
            return seven(self.hour(), user_id=user, label=random.choice("0123456789"), confidence=random.random())
        if of is FLOWERS:
            scores = [share / sum(shares) for share in shares]
            best = scores.index(max(scores))
            changes: dict[str, Any] = {
                "output": random.choice([scores, [scores], [[score] for score in scores]]),
                "likely_class": best,
            }
            changes |= {"label": FLOWERS.labels[best], "confidence": scores[best], "user_id": user}  # type: ignore[index]
            given: list[Any] = [random.gauss(0, 10), random.choice([None, random.random(), 7])]
            return features(
                self.hour(), random.choice([given, dict(zip(("length", "width"), given, strict=True))]), **changes
            )
        if of is SPAM:
            share = random.choice([0.0, 1.0, 0.6, random.random()])
            changes = {"output": [share], "likely_class": int(share > 0.5), "label": ("ham", "spam")[share > 0.5]}
            changes |= {"confidence": max(share, 1 - share), "user_id": user}
            return features(self.hour(), [random.random() for _ in range(3)], **changes)
        if of is NAMELESS:
            changes = {"output": {"values": [0.5, 0.25], "indices": [4, 11]}, "likely_class": 4, "label": "4"}
            return seven(self.hour(), confidence=0.5, user_id=user, **changes)
        value: Any = random.choice([random.gauss(0, 1), random.lognormvariate(0, 20), 0.0, -3.5])
        if of is SALES:
            given = [random.randint(0, 9), random.choice(["Bern", "Ürümqi", ""]), random.random() < 0.5]
            return features(self.hour(), given, **plain, output=[value], predicted_value=value)
        if of is BOTH:
            value = [value, random.random() * 9]
        if of is MIXED:
            value = [random.randint(0, 3), random.choice(["a", "b"]), random.random() * 9]
        return seven(self.hour(), **plain, output=value if isinstance(value, list) else [value], predicted_value=value)

    def enqueue(self) -> None:
        self.ledger.enqueue(queued(self.hour()))

    def work(self) -> None:
        waiting = [row[0] for row in self.query("SELECT prediction_id FROM predictions WHERE status = 'queued'")]
        if not waiting:
            return
        one = self.random.choice(waiting)
        match self.random.randrange(5):
            case 0:
                self.ledger.withdraw(one)
            case 1:
                self.ledger.sweep(queued_seconds=0, processing_seconds=0)
            case 2:
                self.ledger.complete(MODEL, [Failure(one, "no picture", self.random.choice(["undecodable", "late"]))])
            case 3:
                self.ledger.claim([one], lease_seconds=60)
            case 4:
                self.ledger.complete(MODEL, [success(one)])

    def judge(self) -> None:
        found = self.some("task IS NOT NULL AND status = 'succeeded'")
        if found is None:
            return
        prediction_id, predicted = found
        truth = self.random.choice(
            [
                json.loads(predicted),
                "7",
                "setosa",
                "spam",
                3.25,
                -1e200,
                [1, "a", 2.5],
                [2.0, "b", 1],
                [2.5, 3],
                None,
                {"x": 1},
            ]
        )
        self.query(
            "UPDATE predictions SET ground_truth = CAST(:truth AS jsonb), "
            "correct = CASE WHEN label IS NOT NULL AND jsonb_typeof(CAST(:truth AS jsonb)) = 'string' "
            "               THEN label = CAST(:truth AS jsonb) #>> '{}' END, "
            "measured = CAST(:measured AS real[]) WHERE prediction_id = :id",
            id=prediction_id,
            truth=None if truth is None else json.dumps(truth),
            measured=self.random.choice([None, "{1.5,NULL,3}", "{0,2,NULL,640,480,12345,0.25,1e-10}"]),
        )

    def delete(self) -> None:
        found = self.some("TRUE")
        if found is not None:
            self.deleting.delete(found[0])

    def erase(self) -> None:
        if self.random.random() < 0.3:
            user = self.random.choice(["anna", "bert"])
            self.deleting.delete_some(self.deleting.begin_deletion(user_id=user))
            assert user not in str(rolled(self.query))

    def some(self, condition: str) -> tuple[UUID, str] | None:
        found = self.query(
            "SELECT prediction_id, predicted_value::text FROM predictions LEFT JOIN models USING (model_id) "
            f"WHERE {condition} ORDER BY prediction_id"
        )
        return tuple(self.random.choice(found)) if found else None

    def roll_some(self) -> None:
        answers = iter([True] * self.random.randint(1, 3))
        self.rolling.roll_up(goes_on=lambda: next(answers, False))

    def roll_all(self) -> None:
        assert self.rolling.roll_up().left is False

    def part(self) -> float:
        """Return a moment well within an hour, most often one with predictions."""
        return float(self.random.choice([*self.hours, *range(18, 50)])) + self.random.uniform(0.01, 0.98)

    def roll_part(self) -> None:
        """Roll up until within an hour, which may be earlier than the time before: then the clock was set back."""
        assert roll_to(self.rolling, self.part()).left is False

    def roll_while_writing(self) -> None:
        part = self.part()
        assert roll_to(self.rolling, part).left is False
        open_hour = FIRST + int(part) * HOUR
        found = self.query(
            "SELECT DISTINCT date_trunc('hour', created_at, 'UTC') AS hour FROM predictions "
            "WHERE created_at < :open_hour ORDER BY hour",
            open_hour=open_hour,
        )
        hour = self.random.choice([None, None, *(one for [one] in found)])
        with blocked(self.connect, self.query, lambda: roll_to(self.rolling, part, goes_on=once()), hour):
            for _ in range(3):
                self.random.choice([self.store_late, self.enqueue, self.work_without_withdrawing, self.judge])()
                self.check()

    def work_without_withdrawing(self) -> None:
        """Deletions wait for the rollup."""
        waiting = [row[0] for row in self.query("SELECT prediction_id FROM predictions WHERE status = 'queued'")]
        if waiting:
            self.ledger.complete(MODEL, [success(self.random.choice(waiting))])

    def check(self) -> None:
        random = self.random
        begins = [FIRST, FIRST + 24 * HOUR, FIRST + 19.5 * HOUR, FIRST + HOUR * random.uniform(18, 49)]
        ends = [FIRST + 24 * HOUR, FIRST + 48 * HOUR, datetime.now(UTC) + HOUR, FIRST + HOUR * random.uniform(20, 50)]
        whose: dict[str, Any] = random.choice(
            [{}, {}, {"user_id": "anna"}, {"model_ids": [0, self.ledger.register(SALES)]}]
        )
        self.counting.check(
            random.choice(begins), random.choice(ends), random.choice([None, "hour", "day", "week"]), **whose
        )
        self.counting.check(FIRST, datetime.now(UTC) + HOUR, random.choice([None, "day", "minute"]))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_a_summary_is_a_plain_count(
    seed: int,
    ledger: Ledger,
    deleting: DeletingLedger,
    rolling: RollingLedger,
    connect: Callable[[], Connection],
    counting: Counting,
) -> None:
    world = World(seed, ledger, deleting, rolling, connect, counting)
    for _ in range(8):
        world.store()
    for _ in range(40):
        world.step()
        world.check()
    world.roll_all()
    world.check()
