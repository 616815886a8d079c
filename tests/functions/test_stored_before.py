"""Records that an older version stored, and that today's limits would refuse: they are shown as far as possible."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, PredictionFilter
from tests.support.database import run
from tests.support.predictions import MODEL, prediction

MAX_RESPONSE_BYTES = 6_000_000


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """The ledger under the API."""
    ledger = Ledger.at(database_url, longest=60)  # the test stores more at once than a request may
    yield ledger
    ledger.close()


def store(ledger: Ledger, **changes: Any) -> str:
    """Store a prediction as it is, past the limits of the API, and return its id."""
    new = prediction(**changes)
    ledger.store(MODEL, [new])
    return str(new.prediction_id)


def nested(levels: int) -> str:
    """Return JSON of an object that holds lists in lists."""
    return '{"a":' + "[" * levels + "1" + "]" * levels + "}"


def read(api: httpx.Client, prediction_id: str) -> dict[str, Any]:
    """Read a record alone and on the list, and see that both say the same of it."""
    answer = api.get(f"/prediction/{prediction_id}")
    pages = list(walk(api))
    assert answer.status_code == 200
    assert all(len(page.content) <= MAX_RESPONSE_BYTES for page in (answer, *pages))
    record: dict[str, Any] = answer.json()
    listed = [one for page in pages for one in page.json()["predictions"] if one["prediction_id"] == prediction_id]
    assert listed == [{name: value for name, value in record.items() if name not in ("image", "input_url", "features")}]
    return record


def walk(api: httpx.Client, limit: int = 50) -> list[httpx.Response]:
    """Return all pages of the list."""
    pages = [api.get("/predictions", params={"limit": limit})]
    while (cursor := pages[-1].raise_for_status().json()["next_cursor"]) is not None:
        pages.append(api.get("/predictions", params={"limit": limit, "cursor": cursor}))
    return pages


@pytest.mark.parametrize("levels", [255, 900, 5_000])
def test_metadata_too_deep_for_an_answer_is_left_out_and_the_error_says_so(
    api: httpx.Client, ledger: Ledger, database_url: str, levels: int
) -> None:
    before, deep, after = (store(ledger) for _ in range(3))
    run(database_url, f"UPDATE predictions SET metadata = '{nested(levels)}' WHERE prediction_id = '{UUID(deep)}'")

    record = read(api, deep)

    assert "metadata" not in record
    assert record["error"] == "This record cannot be shown in full: metadata cannot be part of an answer."
    assert record["image"].startswith("data:image/png;base64,")
    assert (read(api, before)["metadata"], read(api, after)["metadata"]) == ({}, {})


def test_an_output_larger_than_an_answer_is_left_out_and_the_error_says_so(api: httpx.Client, ledger: Ledger) -> None:
    before = store(ledger)
    large = store(ledger, output=[0.1234567890123] * 400_000, metadata={"form": 3})
    after = store(ledger)

    record = read(api, large)

    assert "prediction" not in record
    assert record["error"] == "This record cannot be shown in full: prediction cannot be part of an answer."
    assert (record["metadata"], record["label"], record["status"]) == ({"form": 3}, "7", "succeeded")
    assert len(read(api, before)["prediction"]) == len(read(api, after)["prediction"]) == 10


def test_features_are_shown_to_the_letter_however_deep_they_are(api: httpx.Client, ledger: Ledger) -> None:
    features = "[" * 900 + "0.10, 12345678901234567890" + "]" * 900
    deep = store(ledger, input=NewInput(None, "application/json", features=features))

    assert f'"features":{features}' in api.get(f"/prediction/{deep}").text
    assert api.get(f"/prediction/{deep}/input").text == features


def test_features_larger_than_an_answer_are_a_reference(api: httpx.Client, ledger: Ledger) -> None:
    large = store(ledger, input=NewInput(None, "application/json", features=json.dumps([0.125] * 860_000)))

    record = read(api, large)

    assert record["input_url"] == f"/prediction/{large}/input"


def test_a_page_ends_before_it_is_too_large(api: httpx.Client, ledger: Ledger) -> None:
    made = [store(ledger, output=[float(number)] * 500_000) for number in range(7)]

    pages = walk(api)

    assert [one["prediction_id"] for page in pages for one in page.json()["predictions"]] == made[::-1]
    assert all(len(page.content) <= MAX_RESPONSE_BYTES for page in pages)
    assert len(pages) > 2


def test_a_page_reads_only_as_much_as_it_can_answer(api: httpx.Client, ledger: Ledger) -> None:
    small = [store(ledger) for _ in range(3)]
    output = [(number * 7919 % 1_000_003) / 7 for number in range(250_000)]
    made = [store(ledger, output=output) for _ in range(8)]

    page = ledger.list(PredictionFilter(), limit=1000)

    assert 1 <= len(page.records) < len(made)
    assert page.next_cursor is not None
    assert [one["prediction_id"] for page in walk(api, 1000) for one in page.json()["predictions"]] == [
        *made[::-1],
        *small[::-1],
    ]
