from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from functions.shared.ledger.errors import InvalidCursorError
from functions.shared.ledger.identifiers import created_at
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewPrediction, PredictionFilter, PredictionRecord
from tests.support.predictions import MODEL, prediction
from tests.support.waiting import soon

EVERYTHING = PredictionFilter()


def pages(ledger: Ledger, matching: PredictionFilter, limit: int) -> Iterator[tuple[PredictionRecord, ...]]:
    cursor = None
    while True:
        page = ledger.list(matching, limit=limit, cursor=cursor)
        yield page.records
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def found(ledger: Ledger, matching: PredictionFilter, limit: int = 3) -> list[UUID]:
    return [record.prediction_id for page in pages(ledger, matching, limit) for record in page]


@pytest.fixture
def stored(ledger: Ledger) -> list[tuple[str, str, NewPrediction]]:
    """Forty predictions, oldest first, of three users, four labels and three models: name, version, prediction."""
    models = [MODEL, MODEL._replace(version="2"), MODEL._replace(name="iris", provider="CUDA")]
    made = []
    for n in range(40):
        model = models[n % 3]
        new = prediction(
            user_id=("anna", "bob", "carl")[n // 3 % 3], label=("a", "b", "c", None)[n % 4], confidence=n / 40
        )
        ledger.store(model, [new])
        made.append((model.name, model.version, new))
    return made


def test_an_empty_ledger_has_one_empty_page(ledger: Ledger) -> None:
    page = ledger.list(EVERYTHING, limit=10)
    assert (page.records, page.next_cursor) == ((), None)


def test_records_are_listed_newest_first(ledger: Ledger, stored: list[tuple[str, str, NewPrediction]]) -> None:
    assert found(ledger, EVERYTHING, limit=50) == [new.prediction_id for _, _, new in reversed(stored)]


def test_a_listed_record_is_the_record(ledger: Ledger, stored: list[tuple[str, str, NewPrediction]]) -> None:
    for record in ledger.list(EVERYTHING, limit=50).records:
        assert record == ledger.get(record.prediction_id)[0]
    assert len(stored) == 40


@pytest.mark.parametrize("limit", [1, 7, 39, 40, 41])
def test_pages_of_any_size_hold_every_record_once(
    ledger: Ledger, stored: list[tuple[str, str, NewPrediction]], limit: int
) -> None:
    read = list(pages(ledger, EVERYTHING, limit))
    assert [record.prediction_id for page in read for record in page] == found(ledger, EVERYTHING, 50)
    assert len(read) == -(-len(stored) // limit)


FILTERS = [
    PredictionFilter(user_id="anna"),
    PredictionFilter(user_id="nobody"),
    PredictionFilter(label="b"),
    PredictionFilter(label=""),
    PredictionFilter(model="mnist"),
    PredictionFilter(model="mnist", version="2"),
    PredictionFilter(version="1"),
    PredictionFilter(model="iris", version="2"),
    PredictionFilter(min_confidence=0.5),
    PredictionFilter(max_confidence=0.25),
    PredictionFilter(min_confidence=0.25, max_confidence=0.5),
    PredictionFilter(user_id="bob", label="c"),
    PredictionFilter(user_id="bob", model="mnist"),
    PredictionFilter(label="a", version="1", min_confidence=0.1),
    PredictionFilter(user_id="carl", label="a", model="mnist", version="1", min_confidence=0.1, max_confidence=0.9),
]


def matches(name: str, version: str, new: NewPrediction, matching: PredictionFilter) -> bool:
    confidence = new.confidence or 0.0
    return (
        matching.user_id in (None, new.user_id)
        and matching.label in (None, new.label)
        and matching.model in (None, name)
        and matching.version in (None, version)
        and (matching.min_confidence is None or confidence >= matching.min_confidence)
        and (matching.max_confidence is None or confidence <= matching.max_confidence)
    )


@pytest.mark.parametrize("matching", FILTERS, ids=str)
@pytest.mark.parametrize("window", [None, (10, 30)], ids=["ever", "for a while"])
def test_a_filter_shows_what_meets_all_its_conditions(
    ledger: Ledger,
    stored: list[tuple[str, str, NewPrediction]],
    matching: PredictionFilter,
    window: tuple[int, int] | None,
) -> None:
    expected = stored
    if window is not None:
        first, last = window
        times = [created_at(new.prediction_id) for _, _, new in stored]
        matching = matching._replace(since=times[first], until=times[last])
        expected = stored[first:last]
    wanted = [new.prediction_id for name, version, new in reversed(expected) if matches(name, version, new, matching)]
    assert found(ledger, matching) == wanted


def test_since_includes_its_microsecond_and_until_does_not(
    ledger: Ledger, stored: list[tuple[str, str, NewPrediction]]
) -> None:
    new = stored[20][2]
    at = created_at(new.prediction_id)
    microsecond = timedelta(microseconds=1)
    assert found(ledger, PredictionFilter(since=at, until=at + microsecond)) == [new.prediction_id]
    assert found(ledger, PredictionFilter(since=at + microsecond, until=at + microsecond)) == []
    assert found(ledger, PredictionFilter(since=at, until=at)) == []


def test_a_cursor_that_is_none_of_ours_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InvalidCursorError):
        ledger.list(EVERYTHING, limit=10, cursor="2")


@pytest.mark.parametrize(
    "matching", [EVERYTHING, PredictionFilter(label="7"), PredictionFilter(model="mnist")], ids=str
)
def test_what_is_written_meanwhile_is_neither_skipped_nor_seen_twice(
    ledger: Ledger, matching: PredictionFilter
) -> None:
    before = [prediction() for _ in range(60)]
    for new in before:
        ledger.store(MODEL, [new])
    done = False
    written: list[int] = []

    def write(number: int) -> None:
        while not done:
            ledger.store(MODEL, [prediction()])
            written.append(number)

    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(write, number) for number in range(2)]
        try:
            assert soon(lambda: set(written) == {0, 1})
            read = found(ledger, matching, limit=5)
        finally:
            done = True
        for writer in writers:
            writer.result()
    assert len(read) == len(set(read))
    assert read == sorted(read, reverse=True)
    assert {new.prediction_id for new in before} <= set(read)
