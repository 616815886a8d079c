"""The predictions that the benchmark of ten million makes are as the functions would have stored them."""

from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import pytest

from functions.shared.ledger.identifiers import created_at
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import ModelIdentity, PredictionFilter
from tests.benchmarks.filled import LABELS, Filled
from tests.support.database import run

ROWS = 500
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
DIGITS = ModelIdentity("mnist", "1", "ab" * 32, LABELS, "classification", "CPUExecutionProvider", "{}")
PATIENTS = ModelIdentity("diabetes", "1", "cd" * 32, None, "regression", "CPUExecutionProvider", "{}")


@pytest.fixture
def filled(database_url: str) -> Filled:
    """A ledger to fill, with both models."""
    ledger = Ledger.at(database_url, longest=60)
    for model in (DIGITS, PATIENTS):
        ledger.register(model)
    ledger.close()
    return Filled(database_url, database_url, ROWS, SINCE, SINCE + timedelta(days=5))


@pytest.mark.parametrize("model", ["mnist", "diabetes"])
def test_they_are_spread_evenly_over_the_time_and_can_be_read(
    filled: Filled, model: Literal["mnist", "diabetes"]
) -> None:
    filled.fill(model)

    ledger = Ledger.at(filled.url, longest=60)
    records = ledger.list(PredictionFilter(model=model), limit=1000).records
    one = ledger.get(records[0].prediction_id)
    ledger.close()
    assert len(records) == ROWS
    assert [record.created_at for record in reversed(records)] == [
        SINCE + number * timedelta(days=5) / ROWS for number in range(ROWS)
    ]
    assert all(record.created_at == created_at(record.prediction_id) for record in records)
    assert all(record.model_name == model and record.status == "succeeded" for record in records)
    assert one is not None


def test_half_of_them_have_a_ground_truth_and_few_of_these_were_wrong(filled: Filled) -> None:
    filled.fill()

    [[judged, wrong, odd]] = filled.ask(
        "SELECT count(ground_truth), count(*) FILTER (WHERE NOT correct), "
        "count(*) FILTER (WHERE correct IS DISTINCT FROM (label = ground_truth #>> '{}')) FROM predictions"
    )
    assert ROWS * 0.4 < judged < ROWS * 0.6
    assert 0 < wrong < ROWS * 0.1
    assert odd == 0
    [[history]] = filled.ask("SELECT count(*) FROM ground_truths JOIN predictions USING (prediction_id)")
    assert history == judged


def test_no_index_is_lost(filled: Filled) -> None:
    names = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    before = run(filled.url, names)
    filled.fill()
    assert run(filled.url, names) == before


def test_their_ids_are_of_version_7(filled: Filled) -> None:
    filled.fill()
    found = filled.ask("SELECT prediction_id FROM predictions")
    assert {(UUID(str(one)).version, UUID(str(one)).variant) for [one] in found} == {(7, "specified in RFC 4122")}
