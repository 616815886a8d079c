import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from functions.shared.ledger.errors import (
    LedgerUnavailableError,
    RecordNotFoundError,
    UnstorableValueError,
)
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, PredictionFilter
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.predictions import MODEL, PNG, prediction
from tests.support.waiting import soon

HOSTILE = [
    "'; DROP TABLE predictions; --",
    '"; DELETE FROM inputs; --',
    "$1 :user_id %s {0} \\",
    "a\nb\r\n\tc",
    "é 漢字 🙂 \u202e",
    "NULL",
    "",
    " ",
    "x" * 10_000,
]


def count(query: Query) -> tuple[int, int]:
    """How many inputs and predictions there are."""
    ((inputs, predictions),) = query("SELECT (SELECT count(*) FROM inputs), (SELECT count(*) FROM predictions)")
    return inputs, predictions


def test_what_is_read_is_what_was_stored(ledger: Ledger) -> None:
    new = prediction(metadata={"b": 1, "a": [1.5, None, {"é": True}]})
    ledger.store(MODEL, [new])
    record, stored = ledger.get(new.prediction_id)
    assert record == new.record(MODEL)
    assert list(record.metadata) == ["b", "a"]
    assert (stored.content, stored.contenttype, stored.filename) == (PNG, "image/png", "seven.png")
    assert (stored.sha256, stored.size, stored.features) == (hashlib.sha256(PNG).hexdigest(), len(PNG), None)
    assert ledger.get_input(new.prediction_id) == stored


@pytest.mark.parametrize("count", [1, 2])
def test_what_an_image_was_declared_to_be_is_kept_beside_what_it_is(ledger: Ledger, count: int) -> None:
    declared = NewInput(PNG, "image/png", declared_contenttype="image/pjpeg")
    new = [prediction(input=replace(declared, input_id=new_id())) for _ in range(count)]
    ledger.store(MODEL, new)
    page = ledger.list(PredictionFilter(), limit=9)
    for one in new:
        record, stored = ledger.get(one.prediction_id)
        assert (record.contenttype, record.declared_contenttype, stored.contenttype) == (
            *("image/png", "image/pjpeg"),
            "image/png",
        )
        assert record == one.record(MODEL)
        assert record in page.records


def test_the_time_in_the_table_is_the_time_in_the_id(ledger: Ledger, query: Query) -> None:
    new = prediction()
    ledger.store(MODEL, [new])
    assert query("SELECT 1 FROM predictions WHERE created_at = :at", at=new.record(MODEL).created_at) == [[1]]


def test_features_come_back_to_the_letter(ledger: Ledger) -> None:
    as_sent = '{ "petal": 1.50,\n "petal": 1e0, "é":\t[-0.0, 12345678901234567890] }'
    new = prediction(input=NewInput(None, "application/json", features=as_sent))
    ledger.store(MODEL, [new])
    stored = ledger.get_input(new.prediction_id)
    assert (stored.features, stored.content) == (as_sent, None)
    assert (stored.sha256, stored.size) == (hashlib.sha256(as_sent.encode()).hexdigest(), len(as_sent.encode()))


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize(
    "number",
    [0.1 + 0.2, 1e16, -1e16, 1.5e300, 5e-324, 1.7976931348623157e308, 1e-5, 7.0, 7, 2**63, 123456789.125, 1e22],
)
def test_every_number_comes_back_the_same_and_of_the_same_type(ledger: Ledger, many: bool, number: float) -> None:
    new = prediction(
        output=[number, [number, "1e+16"]],
        predicted_value=number,
        confidence=float(number),
        duration_ms=float(number),
        metadata={"n": number},
    )
    ledger.store(MODEL, [new, prediction()] if many else [new])
    record, _ = ledger.get(new.prediction_id)
    assert repr(record) == repr(new.record(MODEL))


def test_a_regression_has_neither_class_nor_label_nor_confidence(ledger: Ledger) -> None:
    new = prediction(output=[3.5], likely_class=None, label=None, confidence=None, predicted_value=3.5)
    ledger.store(MODEL, [new])
    assert ledger.get(new.prediction_id)[0] == new.record(MODEL)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_stored_verbatim_in_every_field(ledger: Ledger, text: str, many: bool) -> None:
    model = MODEL._replace(name=text, version=text, labels=(text,), task=text, provider=text)
    new = prediction(
        input=NewInput(text.encode(), text, text),
        output=[text],
        label=text,
        predicted_value=text,
        user_id=text,
        metadata={text: text},
    )
    ledger.store(model, [new, prediction()] if many else [new])
    record, stored = ledger.get(new.prediction_id, user_id=text)
    assert record == new.record(model)
    assert (stored.content, stored.contenttype, stored.filename) == (text.encode(), text, text)
    assert ledger.served_provider(text, text, model.sha256) == text
    chosen = PredictionFilter(user_id=text, model=text, version=text, label=text)
    assert ledger.list(chosen, limit=2).records == (record,)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"user_id": "a\0b"}, id="NUL in user_id"),
        pytest.param({"user_id": "\ud800"}, id="lone surrogate in user_id"),
        pytest.param({"label": "a\0b"}, id="NUL in label"),
        pytest.param({"output": ["a\0"]}, id="NUL in output"),
        pytest.param({"output": ["\ud800"]}, id="lone surrogate in output"),
        pytest.param({"output": [float("inf")]}, id="infinity in output"),
        pytest.param({"metadata": {"a": float("nan")}}, id="NaN in metadata"),
        pytest.param({"likely_class": 2**31}, id="class out of range"),
        pytest.param({"likely_class": 2**63}, id="class out of any range"),
        pytest.param({"input": NewInput(b"x", "image/png", "a\0b")}, id="NUL in filename"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nothing_of_it_is_stored(
    ledger: Ledger, query: Query, bad: dict[str, object], many: bool
) -> None:
    new = prediction(**bad)
    with pytest.raises(UnstorableValueError):
        ledger.store(MODEL, [prediction(), new] if many else [new])
    assert count(query) == (0, 0)


def test_a_prediction_is_stored_in_one_round_trip(proxied: Ledger, proxy: Proxy) -> None:
    proxied.store(MODEL, [prediction()])
    for _ in range(10):
        with proxy.counted(1):
            proxied.store(MODEL, [prediction()])


def test_the_first_prediction_of_a_registered_model_is_stored_in_one_round_trip(proxied: Ledger, proxy: Proxy) -> None:
    proxied.register(MODEL)
    with proxy.counted(1):
        proxied.store(MODEL, [prediction()])


def test_a_batch_is_stored_in_one_round_trip(proxied: Ledger, proxy: Proxy, query: Query) -> None:
    proxied.register(MODEL)
    for size in (2, 256):
        with proxy.counted(1):
            proxied.store(MODEL, [prediction() for _ in range(size)])
    assert count(query) == (258, 258)


def test_a_prediction_is_stored_in_one_round_trip_where_nothing_may_be_prepared(proxy: Proxy) -> None:
    ledger = Ledger.at(f"{proxy.url}&pooler=transaction")
    ledger.register(MODEL)
    for _ in range(3):
        with proxy.counted(1):
            ledger.store(MODEL, [prediction()])
    ledger.close()


def test_reading_takes_one_round_trip(proxied: Ledger, proxy: Proxy) -> None:
    new = prediction()
    proxied.store(MODEL, [new])
    for _ in range(2):
        with proxy.counted(3):
            proxied.get(new.prediction_id)
            proxied.get_input(new.prediction_id)
            proxied.list(PredictionFilter(user_id="anonymous", label="7"), limit=10)


def test_a_batch_comes_back_whole(ledger: Ledger) -> None:
    batch = [
        prediction(input=NewInput(bytes([n]) * n, "image/png", f"{n}.png"), label=str(n), metadata={"n": n})
        for n in range(1, 30)
    ]
    batch.append(prediction(input=NewInput(None, "application/json", features="[1, 2.50]")))
    ledger.store(MODEL, batch)
    for new in batch:
        record, stored = ledger.get(new.prediction_id)
        assert record == new.record(MODEL)
        assert (stored.content, stored.features) == (new.input.content, new.input.features)


def test_storing_again_what_is_stored_changes_nothing(ledger: Ledger, query: Query) -> None:
    batch = [prediction(), prediction()]
    for stored in (batch, batch, batch[:1]):
        ledger.store(MODEL, stored)
    assert count(query) == (2, 2)


@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.REPLY_LOST])
@pytest.mark.parametrize("size", [1, 3])
def test_a_connection_lost_while_storing_costs_nothing_and_stores_nothing_twice(
    proxied: Ledger, proxy: Proxy, query: Query, fate: Fate, size: int
) -> None:
    proxied.register(MODEL)
    proxy.next_flights(fate)
    batch = [prediction() for _ in range(size)]
    assert proxied.store(MODEL, batch) is None
    assert proxy.sessions == 2
    assert count(query) == (size, size)


def test_a_connection_lost_between_two_requests_is_not_noticed(proxied: Ledger, proxy: Proxy, query: Query) -> None:
    for _ in range(3):
        proxied.store(MODEL, [prediction()])
        proxy.cut()
        time.sleep(0.02)
    assert count(query) == (3, 3)


def test_sessions_terminated_by_the_administrator_cost_no_request(ledger: Ledger, query: Query) -> None:
    ledger.store(MODEL, [prediction()])
    with ThreadPoolExecutor(4) as threads:
        stored = threads.map(lambda _: ledger.store(MODEL, [prediction()]), range(600))
        for again in range(3):
            # Each is repeated once: none may be under way both times.
            assert soon(lambda enough=100 * (again + 1): count(query)[0] > enough)  # type: ignore[misc]
            query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        assert list(stored) == [None] * 600
    assert count(query) == (601, 601)


def test_without_a_database_nothing_is_stored_and_the_error_says_so(
    proxied: Ledger, proxy: Proxy, query: Query
) -> None:
    proxied.store(MODEL, [prediction()])
    proxy.close()
    with pytest.raises(LedgerUnavailableError):
        proxied.store(MODEL, [prediction()])
    assert count(query) == (1, 1)


def test_a_model_is_registered_once_however_often_it_serves(ledger: Ledger, database_url: str, query: Query) -> None:
    for process in (ledger, Ledger.at(database_url)):
        for _ in range(3):
            process.store(MODEL, [prediction()])
        process.close()
    (row,) = query("SELECT name, version, encode(sha256, 'hex'), labels, task, provider, settings FROM models")
    assert row[:3] == [MODEL.name, MODEL.version, MODEL.sha256]
    assert row[3:] == [list(MODEL.labels or ()), MODEL.task, MODEL.provider, json.loads(MODEL.settings)]


@pytest.mark.parametrize(
    "change",
    [
        {"version": "2"},
        {"sha256": "cd" * 32},
        {"labels": None},
        {"labels": ("a", "b")},
        {"provider": "CUDA"},
        {"settings": '{"activation": "softmax"}'},
    ],
    ids=str,
)
def test_a_model_that_differs_is_another_model(ledger: Ledger, query: Query, change: dict[str, object]) -> None:
    other = MODEL._replace(**change)  # type: ignore[arg-type]  # each value fits its field
    assert ledger.register(other) != ledger.register(MODEL)
    assert query("SELECT count(*) FROM models") == [[2]]


def test_the_provider_of_a_model_is_the_one_it_was_last_served_with(ledger: Ledger) -> None:
    asked = (MODEL.name, MODEL.version, MODEL.sha256)
    assert ledger.served_provider(*asked) is None
    for provider in ("CUDAExecutionProvider", "CPUExecutionProvider", "CUDAExecutionProvider"):
        ledger.register(MODEL._replace(provider=provider))
        assert ledger.served_provider(*asked) == provider


def test_a_record_of_a_model_registered_before_its_settings_were_kept_is_read_listed_and_filtered(
    ledger: Ledger, query: Query
) -> None:
    new = prediction()
    query(
        "INSERT INTO models (model_id, name, version, sha256, labels, task, provider) "
        "VALUES (17, :name, :version, :sha256, NULL, :task, :provider)",
        **{key: getattr(MODEL, key) for key in ("name", "version", "task", "provider")},
        sha256=bytes.fromhex(MODEL.sha256),
    )
    ledger.store(MODEL, [new])
    query("UPDATE predictions SET model_id = 17")
    assert ledger.get(new.prediction_id)[0] == new.record(MODEL)
    again = prediction()
    ledger.store(MODEL, [again])
    assert query("SELECT count(*), count(settings) FROM models") == [[2, 1]]  # who knows what settings those were
    listed = ledger.list(PredictionFilter(model=MODEL.name, version=MODEL.version), limit=5).records
    assert [record.prediction_id for record in listed] == [again.prediction_id, new.prediction_id]


def test_a_database_emptied_under_a_process_gets_the_model_again(ledger: Ledger, query: Query) -> None:
    ledger.store(MODEL, [prediction()])
    query("TRUNCATE predictions, models CASCADE")
    new = prediction()
    ledger.store(MODEL, [new])
    assert ledger.get(new.prediction_id)[0].model_name == MODEL.name


def test_a_record_of_somebody_else_is_as_unknown_as_one_that_is_not_there(ledger: Ledger) -> None:
    new = prediction(user_id="anna")
    ledger.store(MODEL, [new])
    assert ledger.get(new.prediction_id, user_id="anna")[0].user_id == "anna"
    for prediction_id, user_id in ((new.prediction_id, "bob"), (new_id(), "bob"), (new_id(), None)):
        with pytest.raises(RecordNotFoundError):
            ledger.get(prediction_id, user_id=user_id)
        with pytest.raises(RecordNotFoundError):
            ledger.get_input(prediction_id, user_id=user_id)


def test_the_database_itself_refuses_an_incomplete_success(ledger: Ledger, query: Query) -> None:
    ledger.store(MODEL, [prediction()])
    for broken in ("output = NULL", "model_id = NULL", "status = 'failed'", "status = 'done'", "status = 'queued'"):
        with pytest.raises(Exception, match="predictions_outcome"):
            query("UPDATE predictions SET " + broken)
