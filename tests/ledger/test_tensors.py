"""Inputs that are tensors or requests of the Open Inference Protocol, and outputs that are named tensors."""

import json
from dataclasses import replace
from typing import Any

import pytest

from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import (
    ClaimedPrediction,
    IdempotencyKey,
    NewInput,
    NewPrediction,
    PredictionFilter,
    QueuedPrediction,
    Success,
)
from tests.support.database import Query
from tests.support.predictions import MODEL, prediction

JSON = "application/json"
INPUTS = [
    pytest.param(NewInput(None, JSON, features='{"x": [1.50,  2]}', form="tensors"), id="tensors"),
    pytest.param(NewInput(None, JSON, features='{"inputs": [ ]}', form="v2"), id="v2"),
    pytest.param(
        NewInput(b'{"inputs": []}\x00\xff', "application/octet-stream", form="v2-binary", header_length=14),
        id="v2-binary",
    ),
    pytest.param(NewInput(None, JSON, features="[1]"), id="features"),
]


def tensor(data: list[Any], datatype: str = "FP32") -> dict[str, Any]:
    return {"shape": [len(data)], "datatype": datatype, "data": data}


OUTPUTS: list[dict[str, Any]] = [
    {},
    {"y": tensor([0.1, 1e16, 1e-7, 5e-324])},
    {"probabilities": tensor([0.5]), "age": tensor([31, 2**63], "UINT64"), "é": tensor(["x", "1e+16", ""], "BYTES")},
    {"b": tensor([True], "BOOL"), "a": tensor([]), "": tensor([1e22])},
]


def of_tensors(new: NewInput, outputs: dict[str, Any]) -> NewPrediction:
    """Return a prediction of which no output is the answer."""
    nothing = dict.fromkeys(("likely_class", "label", "confidence", "predicted_value"))
    return prediction(input=new, output={"outputs": outputs}, outputs=outputs, **nothing)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("new", INPUTS)
def test_an_input_comes_back_in_the_form_in_which_it_was_stored(ledger: Ledger, new: NewInput, many: bool) -> None:
    one = of_tensors(replace(new, input_id=new_id()), {})
    ledger.store(MODEL, [one, prediction()] if many else [one])

    record, stored = ledger.get(one.prediction_id)

    assert (stored.content, stored.features) == (new.content, new.features)
    assert (stored.form, stored.header_length) == (new.form, new.header_length)
    assert ledger.get_input(one.prediction_id) == stored
    assert record == one.record(MODEL)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("outputs", OUTPUTS)
def test_outputs_come_back_byte_for_byte_as_they_were_answered(
    ledger: Ledger, outputs: dict[str, Any], many: bool
) -> None:
    one = of_tensors(NewInput(None, JSON, features="{}", form="tensors"), outputs)
    key = IdempotencyKey("anonymous", str(new_id()), bytes(32))
    ledger.store(MODEL, [one, prediction()] if many else [one], idempotency=key)

    answered = one.record(MODEL)

    assert answered.outputs == outputs
    replay = ledger.replay(key)
    assert replay is not None
    [listed] = [each for each in ledger.list(PredictionFilter(), limit=2).records if each.input_id == answered.input_id]
    for read in (ledger.get(one.prediction_id)[0], replay.records[0], listed):
        assert read == answered
        assert json.dumps(read.output) == json.dumps(answered.output)
        assert json.dumps(read.outputs) == json.dumps(answered.outputs)


@pytest.mark.parametrize("new", INPUTS)
def test_a_queued_input_reaches_the_worker_in_its_form_and_its_outputs_are_kept(ledger: Ledger, new: NewInput) -> None:
    queued = QueuedPrediction(replace(new, input_id=new_id()), "anna")
    ledger.enqueue(queued)

    [claimed] = ledger.claim([queued.prediction_id], lease_seconds=60).claimed

    assert claimed == ClaimedPrediction(
        queued.prediction_id, new.content, new.features, None, claimed.sha256, new.form, new.header_length, "anna"
    )
    outputs = {"y": tensor([0.25])}
    done = Success(queued.prediction_id, {"outputs": outputs}, None, None, None, None, 0.5, outputs)
    assert ledger.complete(MODEL, [done]) == ()
    record, _ = ledger.get(queued.prediction_id)
    assert (record.status, record.output, record.outputs) == ("succeeded", {"outputs": outputs}, outputs)
    assert record.predicted_value is None


def test_a_prediction_without_further_outputs_has_none(ledger: Ledger) -> None:
    one = prediction()
    ledger.store(MODEL, [one])
    record, stored = ledger.get(one.prediction_id)
    assert (record.outputs, stored.form, stored.header_length) == (None, None, None)


def test_a_page_ends_before_its_further_outputs_fill_more_than_an_answer(ledger: Ledger) -> None:
    large = {"y": tensor([1 / 3] * 200_000)}
    for _ in range(4):
        ledger.store(MODEL, [prediction(outputs=large)])

    page = ledger.list(PredictionFilter(), limit=4)

    assert 1 <= len(page.records) < 4
    assert page.next_cursor is not None


def test_an_older_function_stores_and_reads_beside_the_new_columns(ledger: Ledger, query: Query) -> None:
    """Its statements name neither column."""
    new = prediction()
    ledger.store(MODEL, [new])
    query(
        "INSERT INTO inputs (input_id, size, sha256, contenttype, filename, features, content, uri, upload_id) "
        "SELECT :copy, size, sha256, contenttype, filename, features, content, uri, upload_id FROM inputs "
        "WHERE input_id = :input_id",
        copy=(copy := new_id()),
        input_id=new.input.input_id,
    )
    query("UPDATE predictions SET input_id = :copy WHERE prediction_id = :id", copy=copy, id=new.prediction_id)

    assert ledger.get(new.prediction_id)[1].form is None


def test_an_analyst_sees_further_outputs_and_what_an_input_is(ledger: Ledger, query: Query) -> None:
    outputs = {"age": tensor([31.5])}
    new = NewInput(None, JSON, features='{"x": [1]}', form="tensors")
    ledger.store(MODEL, [of_tensors(new, outputs)])

    shown = query(
        "SELECT input_form, features #>> '{x,0}', outputs #>> '{age,data,0}', output #>> '{outputs,age,data,0}', "
        "predicted_value FROM prediction_log"
    )

    assert shown == [["tensors", "1", "31.5", "31.5", None]]
