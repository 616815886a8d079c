"""Whatever the API accepts is stored, and can be read, listed and paged: alone, among others, queued or not."""

import json
from typing import Any

import httpx
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.serving import IMAGE, Served, check

SHOWN_ELSEWHERE = {"image", "input_url", "features", "inputs"}

texts = st.one_of(
    st.text(max_size=300),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=255),
    st.sampled_from(["", " ", "anna", "\u202e", "a\u0000", "\ud800", "x" * 255, "x" * 256, "🙂" * 255, "\u2028"]),
)
numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([1e308, -1e-308, 5e-324, -0.0, 2**63, 10**400, float("nan")])
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)
nested = st.integers(1, 2_000).map(lambda levels: json.loads("[" * min(levels, 900) + "]" * min(levels, 900)))
metadata = st.one_of(
    st.dictionaries(texts, json_values, max_size=4),
    nested.map(lambda value: {"a": value}),
    st.integers(16_370, 16_390).map(lambda size: {"a": "x" * size}),
    json_values,
)


@st.composite
def bodies(draw: st.DrawFn, served: Served) -> dict[str, Any]:
    """Return JSON of one input that the model takes, or nearly, with all that may accompany it."""
    body: dict[str, Any] = dict(served.input)
    if served.takes == "features" and draw(st.booleans()):
        names = st.sampled_from(sorted(body["features"]))
        body["features"] = body["features"] | draw(st.dictionaries(names, numbers, max_size=3))
    if served.takes == "inputs" and draw(st.booleans()):
        body["inputs"] = {"x": draw(st.lists(numbers, min_size=3, max_size=3))}
    accompanying = {"user_id": texts, "metadata": metadata, "filename": texts, "inference_id": texts}
    for name, values in accompanying.items():
        if draw(st.booleans()):
            body[name] = draw(values)
    return body


def post(served: Served, body: dict[str, Any], prefer: str) -> httpx.Response:
    """Send JSON, including what httpx would not encode: NaN and lone surrogates."""
    headers = {"content-type": "application/json", "prefer": prefer}
    return check(served.api.post("/prediction", content=json.dumps(body).encode(), headers=headers))


def read(served: Served, prediction_id: str) -> dict[str, Any]:
    """Read a record, its input, and the pages that hold it, and see that all say the same of it."""
    record: dict[str, Any] = check(served.api.get(f"/prediction/{prediction_id}")).json()
    assert check(served.api.get(f"/prediction/{prediction_id}/input")).status_code == 200
    found = []
    queries: list[dict[str, Any]] = [{"limit": 1000}, {"limit": 1}, {"user_id": record["user_id"], "limit": 3}]
    queries += [{"inference_id": record["inference_id"], "limit": 1}] if "inference_id" in record else []
    for query in queries:
        page = check(served.api.get("/predictions", params=query))
        assert page.status_code == 200
        found += [one for one in page.json()["predictions"] if one["prediction_id"] == prediction_id]
    shown = {name: value for name, value in record.items() if name not in SHOWN_ELSEWHERE}
    assert found == [shown] * len(queries)
    return record


def test_what_is_accepted_can_be_read_listed_and_paged(served: Served) -> None:
    @given(bodies(served), st.sampled_from(["", "respond-async"]))
    def is_read_back(body: dict[str, Any], prefer: str) -> None:
        answer = post(served, body, prefer)
        if answer.status_code >= 400:
            return
        prediction_id = answer.json()["prediction_id"]
        read(served, prediction_id)
        served.work()

        record = read(served, prediction_id)

        assert record["status"] in ("succeeded", "failed")
        assert record["user_id"] == body.get("user_id") or body.get("user_id") is None
        assert record["metadata"] == (body.get("metadata") or {})
        assert record.get("inference_id") == body.get("inference_id")
        assert "error" not in record or record["status"] == "failed"
        if prefer == "":
            assert answer.status_code == 201
            assert record.items() >= answer.json().items()

    is_read_back()


def test_what_a_form_brings_is_read_back(served: Served) -> None:
    @given(texts, texts, st.one_of(metadata.map(json.dumps), texts), st.sampled_from(["", "respond-async"]))
    def is_read_back(filename: str, user_id: str, sent: str, prefer: str) -> None:
        parts = {"user_id": user_id.encode("utf-8", "replace"), "metadata": sent.encode("utf-8", "replace")}
        name = filename.encode("utf-8", "replace").decode()
        answer = check(
            served.api.post("/prediction", files={"file": (name, IMAGE)}, data=parts, headers={"prefer": prefer})
        )
        if answer.status_code < 400:
            served.work()
            read(served, answer.json()["prediction_id"])

    if served.takes == "image":
        is_read_back()


def test_a_ground_truth_that_is_accepted_can_be_read_and_its_record_listed(served: Served) -> None:
    prediction_id = served.predicted()
    path = f"/prediction/{prediction_id}/ground_truth"
    member, values = ("label", st.one_of(st.just("7"), texts)) if served.takes == "image" else ("value", json_values)
    said_by = {"source": st.sampled_from(["human", "code", "model", ""]), "source_id": texts, "comment": texts}

    @given(st.fixed_dictionaries({member: values}, optional=said_by))
    def is_read_back(truth: dict[str, Any]) -> None:
        body = json.dumps(truth).encode()
        if check(served.api.put(path, content=body, headers={"content-type": "application/json"})).status_code >= 400:
            return
        assert read(served, prediction_id)["ground_truth"] == truth[member]
        newest = check(served.api.get(path)).json()["history"][0]
        assert {name: newest.get(name) for name in truth if name != member} == {
            name: value for name, value in truth.items() if name != member
        }

    is_read_back()


def test_every_page_of_everything_can_be_read(served: Served) -> None:
    made = {served.predicted() for _ in range(5)}

    @given(
        st.integers(1, 1000), st.sampled_from([{}, {"user_id": "anonymous"}, {"label": "7"}, {"min_confidence": "0"}])
    )
    def is_walked(limit: int, conditions: dict[str, str]) -> None:
        seen: list[str] = []
        query: dict[str, Any] = {"limit": limit, **conditions}
        while len(seen) < 200:
            page = check(served.api.get("/predictions", params=query)).json()
            seen += [one["prediction_id"] for one in page["predictions"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert len(seen) == len(set(seen))
        assert seen == sorted(seen, reverse=True)
        assert conditions or len(seen) >= 200 or made <= set(seen)

    is_walked()
