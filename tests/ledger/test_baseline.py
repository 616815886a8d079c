"""The baseline that is registered with a model."""

import json

from functions.shared.ledger.ledger import Ledger
from tests.support.database import Query
from tests.support.predictions import MODEL, prediction

FIRST = json.dumps({"count": 1, "columns": {"label": {"7": 1}}, "performance": {}})
SECOND = json.dumps({"count": 2, "columns": {"label": {"7": 2}}, "performance": {}})


def baselines(query: Query) -> list[object]:
    return [row[0] for row in query("SELECT baseline FROM models")]


def test_a_model_is_the_same_whatever_its_baseline_which_is_the_last_that_was_registered(
    ledger: Ledger, query: Query
) -> None:
    numbers = set()
    for baseline in (None, FIRST, SECOND, SECOND):
        numbers.add(ledger.register(MODEL._replace(baseline=baseline)))
        assert baselines(query) == [None if baseline is None else json.loads(baseline)]
    assert len(numbers) == 1


def test_a_package_that_has_none_any_more_takes_it_away(ledger: Ledger, query: Query) -> None:
    ledger.register(MODEL._replace(baseline=FIRST))
    ledger.register(MODEL)
    assert baselines(query) == [None]


def test_what_stores_the_first_prediction_registers_it_too(ledger: Ledger, query: Query) -> None:
    model = MODEL._replace(baseline=FIRST)
    ledger.store(model, [prediction()])
    assert baselines(query) == [json.loads(FIRST)]
    query("TRUNCATE models, predictions CASCADE")
    ledger.store(model, [prediction()])
    assert baselines(query) == [json.loads(FIRST)]
