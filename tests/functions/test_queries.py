"""The parameters of a query: what is understood, and what a refusal says would be right."""

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl

import httpx
import pytest

from functions.delete_predictions.query import DeletionQuery
from functions.list_predictions.page_query import PageQuery
from functions.shared.api.query_fields import QueryFields


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("limit=5000", "as in limit=50"),
        ("cursor=", "send `next_cursor` of the previous page"),
        ("cursor=abc", "send the next_cursor of the previous page"),
        ("since=yesterday", "must be a time with its offset or a date, as in since=2026-01-31T00:00:00Z"),
        ("until=2026-01-01T00:00:00", "should have timezone info, as in until=2026-01-31T00:00:00Z"),
        ("min_confidence=90%25", "as in min_confidence=0.9"),
        ("user_id=", "as in user_id=anna"),
        ("label=%E9", "write é as %C3%A9"),
        ("limit=1&limit=2", "send one request for each"),
        ("inference_id=", "as in inference_id=order-17"),
        ("has_ground_truth=1", "must be true or false, as in has_ground_truth=true"),
        ("correct=False", "must be true or false, as in correct=false"),
        ("ground_truth=%00", "as in ground_truth=7"),
        ("status=done", "'queued', 'processing', 'succeeded' or 'failed', as in status=failed"),
        ("order=oldest", "should be 'newest' or 'confidence', as in order=confidence"),
        ("client_request_id=a", "there is no such parameter: use"),
        ("lable=7", "use limit, cursor, user_id, model, version, label, min_confidence, max_confidence, since, until"),
    ],
)
def test_the_refusal_of_a_query_shows_what_would_be_right(api: httpx.Client, query: str, right: str) -> None:
    answer = api.get(f"/predictions?{query}")
    assert answer.status_code == 422
    assert right in answer.json()["detail"]


def test_every_value_that_the_refusal_of_a_query_shows_is_right(api: httpx.Client) -> None:
    queries: dict[str, type[QueryFields]] = {"GET": PageQuery, "DELETE": DeletionQuery}
    for method, query in queries.items():
        shown = {name: field.examples[0] for name, field in query.model_fields.items() if field.examples}
        assert query.model_fields.keys() - shown <= {"cursor"}
        for name, value in shown.items():
            assert api.request(method, "/predictions", params={name: value}).status_code == 200, name


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-28", "2026-11-28T00:00:00Z"),
        ("2026-11-28T00:00:00+02:00", "2026-11-27T22:00:00Z"),
        ("2026-11-28T00:00:00.5+0200", "2026-11-27T22:00:00.5Z"),
        ("2026-11-28T00:00:00%2B02:00", "2026-11-27T22:00:00Z"),
        ("2026-11-28+00:00:00+02:00", "2026-11-27T22:00:00Z"),
        ("2026-11-28T00:00-02:00", "2026-11-28T02:00:00Z"),
        ("2026-11-28t00:00:00z", "2026-11-28T00:00:00Z"),
    ],
)
def test_a_time_is_understood_as_people_write_it(written: str, meant: str) -> None:
    # A bare plus stands for a space in a query.
    [(_, value)] = parse_qsl(f"since={written}")
    assert PageQuery.model_validate({"since": value}).since == datetime.fromisoformat(meant)


def test_a_list_may_begin_or_end_at_a_time_with_a_bare_plus_or_a_date(api: httpx.Client, digit: bytes) -> None:
    created = [api.post("/prediction", files={"file": digit}).json() for _ in range(2)]
    newest, today = created[1], datetime.now(UTC).date()

    def found(query: str) -> list[str]:
        return [record["prediction_id"] for record in api.get(f"/predictions?{query}").json()["predictions"]]

    elsewhere = datetime.fromisoformat(newest["created_at"]).astimezone(timezone(timedelta(hours=2))).isoformat()
    assert elsewhere.endswith("+02:00")
    assert newest["prediction_id"] in found(f"since={elsewhere}")
    assert newest["prediction_id"] not in found(f"until={elsewhere}")
    assert len(found(f"since={today - timedelta(days=1)}&until={today + timedelta(days=2)}")) == 2
    assert found(f"until={today - timedelta(days=1)}") == found(f"since={today + timedelta(days=2)}") == []
