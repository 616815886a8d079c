"""Ground truth: what a prediction should have been, of one or of many, by whom it may be said, and its end."""

import gzip
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from functions.ground_truth.environment import MAX_BODY_BYTES
from functions.ground_truth.many import MOST
from functions.ground_truth.truth import MAX_VALUE_BYTES
from tests.support.database import Query
from tests.support.event_transport import EventTransport
from tests.support.repository import ROOT

UNKNOWN = "019a0000-0000-7000-8000-000000000000"
CSV = {"content-type": "text/csv"}
LINES = {"content-type": "application/x-ndjson"}


def predict(api: httpx.Client, digit: bytes, **data: str) -> str:
    answer = api.post("/prediction", files={"file": ("seven.png", digit, "image/png")}, data=data)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["prediction_id"])


def path(prediction_id: str) -> str:
    return f"/prediction/{prediction_id}/ground_truth"


def put(api: httpx.Client, prediction_id: str, **members: object) -> httpx.Response:
    return api.put(path(prediction_id), json=members)


def truth_of(api: httpx.Client, prediction_id: str) -> tuple[Any, Any]:
    record = api.get(f"/prediction/{prediction_id}").json()
    return record.get("ground_truth"), record.get("correct")


def errors(answer: httpx.Response, status: int = 422) -> list[tuple[Any, str]]:
    """Return the line, if there is one, and the pointer of each error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [(one.get("line"), one["pointer"]) for one in answer.json()["errors"]]


# --- one --------------------------------------------------------------------------------------------------------------


def test_a_ground_truth_is_given_shown_superseded_and_withdrawn(api: httpx.Client, digit: bytes) -> None:
    prediction_id = predict(api, digit)
    assert api.get(path(prediction_id)).json() == {"prediction_id": prediction_id, "history": []}

    said = {"label": "1", "source": "human", "source_id": "reviewer-3", "comment": "a one,\nI think"}
    first = put(api, prediction_id, **said)
    assert first.status_code == 200
    given_at = first.json()["given_at"]
    shown = {"ground_truth": "1", "source": "human", "source_id": "reviewer-3", "comment": "a one,\nI think"}
    assert first.json() == {"prediction_id": prediction_id, "correct": False, **shown, "given_at": given_at}
    assert put(api, prediction_id, **said).content == first.content

    second = put(api, prediction_id, label="7").json()
    assert truth_of(api, prediction_id) == ("7", True)
    [in_list] = api.get("/predictions").json()["predictions"]
    assert (in_list["ground_truth"], in_list["correct"]) == ("7", True)

    for _ in range(2):
        assert api.delete(path(prediction_id)).status_code == 204
    assert truth_of(api, prediction_id) == (None, None)
    answer = api.get(path(prediction_id)).json()
    withdrawn_at = answer["history"][0]["given_at"]
    assert answer == {
        "prediction_id": prediction_id,
        "history": [
            {"withdrawn": True, "given_at": withdrawn_at},
            {"ground_truth": "7", "given_at": second["given_at"]},
            {**shown, "given_at": given_at},
        ],
    }


def test_a_path_with_a_slash_and_head_are_answered_too(api: httpx.Client, digit: bytes) -> None:
    prediction_id = predict(api, digit)
    assert api.put(f"{path(prediction_id)}/", json={"label": "7"}).status_code == 200
    assert api.head(path(prediction_id)).status_code == 200
    assert api.get(f"{path(prediction_id)}/").json()["ground_truth"] == "7"
    assert api.patch(path(prediction_id)).headers["allow"] == "DELETE, GET, HEAD, PUT"


def test_null_counts_as_absent(api: httpx.Client, digit: bytes) -> None:
    prediction_id = predict(api, digit)
    answer = put(api, prediction_id, label="7", value=None, source=None, source_id=None, comment=None)
    assert answer.status_code == 200
    assert "source" not in answer.json()


@pytest.mark.parametrize("model", ["diabetes"])
def test_a_regression_takes_a_number_and_is_neither_right_nor_wrong(
    api: httpx.Client, environment: pytest.MonkeyPatch, model: str
) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / model))
    features = json.loads((ROOT / "local" / "samples" / "diabetes.json").read_bytes())
    prediction_id = api.post("/prediction", json=features).json()["prediction_id"]

    assert put(api, prediction_id, value=151).status_code == 200

    assert truth_of(api, prediction_id) == (151, None)
    for wrong in ({"value": [151]}, {"value": "151"}, {"value": True}):
        assert errors(put(api, prediction_id, **wrong)) == [(None, "/value")]
    answer = put(api, prediction_id, label="7")
    assert errors(answer) == [(None, "/label")]
    assert "regression" in answer.json()["detail"]
    assert "send value, a number" in answer.json()["detail"]


def test_a_label_that_the_model_does_not_know_is_refused_and_those_it_knows_are_named(
    api: httpx.Client, digit: bytes
) -> None:
    prediction_id = predict(api, digit)
    answer = put(api, prediction_id, label="seven")
    assert errors(answer) == [(None, "/label")]
    named = "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9'"
    assert answer.json()["detail"] == f"the model does not know the label 'seven': send one of {named}."
    as_value = put(api, prediction_id, value=7)
    assert errors(as_value) == [(None, "/value")]
    assert as_value.json()["detail"] == f"the prediction is a classification: send label, one of {named}."
    assert truth_of(api, prediction_id) == (None, None)


DEEP = "[" * 40 + "]" * 40

WRONG: dict[str, tuple[str, int, list[str]]] = {
    "no JSON": ("{", 400, []),
    "no object": ("[]", 422, [""]),
    "nothing": ("{}", 422, [""]),
    "null": ('{"value": null}', 422, [""]),
    "both": ('{"label": "7", "value": 7}', 422, [""]),
    "a member twice": ('{"label": "7", "label": "1"}', 400, []),
    "an unknown member": ('{"label": "7", "lable": "7"}', 422, ["/lable"]),
    "an unknown member with a name to escape": ('{"label": "7", "a/~": "7"}', 422, ["/a~1~0"]),
    "an unknown member that is null": ('{"label": "7", "lable": null}', 422, ["/lable"]),
    "the id": (f'{{"label": "7", "prediction_id": "{UNKNOWN}"}}', 422, ["/prediction_id"]),
    "a number as the label": ('{"label": 7}', 422, ["/label"]),
    "a label that is too long": (json.dumps({"label": "7" * 256}), 422, ["/label"]),
    "NUL in the label": ('{"label": "\\u0000"}', 422, ["/label"]),
    "a lone surrogate in the label": ('{"label": "\\ud800"}', 422, ["/label"]),
    "NaN": ('{"value": NaN}', 422, ["/value"]),
    "Infinity in a list": ('{"value": [1, -Infinity]}', 422, ["/value"]),
    "a number that is infinite": ('{"value": 1e400}', 422, ["/value"]),
    "an integer above every double": (f'{{"value": 1{"0" * 400}}}', 422, ["/value"]),
    "an integer of too many digits": (f'{{"value": 1{"0" * 5000}}}', 400, []),
    "NUL in a value": ('{"value": {"a": ["\\u0000"]}}', 422, ["/value"]),
    "NUL in a name of a value": ('{"value": {"\\u0000": 1}}', 422, ["/value"]),
    "a lone surrogate in a value": ('{"value": ["\\udfff"]}', 422, ["/value"]),
    "a value that is too deep": (f'{{"value": {DEEP}}}', 422, ["/value"]),
    "a value that nothing can parse": (f'{{"value": {"[" * 100_000}}}', 400, []),
    "a value that is too large": (json.dumps({"value": "x" * MAX_VALUE_BYTES}), 422, ["/value"]),
    "an unknown source": ('{"label": "7", "source": "robot"}', 422, ["/source"]),
    "a source that is no text": ('{"label": "7", "source": ["human"]}', 422, ["/source"]),
    "an empty source_id": ('{"label": "7", "source_id": ""}', 422, ["/source_id"]),
    "a source_id that is too long": (json.dumps({"label": "7", "source_id": "x" * 256}), 422, ["/source_id"]),
    "a line break in the source_id": ('{"label": "7", "source_id": "a\\nb"}', 422, ["/source_id"]),
    "a comment that is no text": ('{"label": "7", "comment": {}}', 422, ["/comment"]),
    "a comment that is too long": (json.dumps({"label": "7", "comment": "x" * 2001}), 422, ["/comment"]),
    "NUL in the comment": ('{"label": "7", "comment": "a\\u0000"}', 422, ["/comment"]),
}


@pytest.mark.parametrize(("body", "status", "pointers"), WRONG.values(), ids=WRONG)
def test_what_is_no_ground_truth_is_refused_and_nothing_is_kept(
    api: httpx.Client, digit: bytes, query: Query, body: str, status: int, pointers: list[str]
) -> None:
    prediction_id = predict(api, digit)

    answer = api.put(path(prediction_id), content=body.encode(), headers={"content-type": "application/json"})

    assert answer.status_code == status, answer.text
    assert [one["pointer"] for one in answer.json().get("errors", [])] == pointers
    assert query("SELECT count(*) FROM ground_truths") == [[0]]


def test_a_body_of_another_type_or_size_is_refused(api: httpx.Client, digit: bytes) -> None:
    prediction_id = predict(api, digit)
    assert api.put(path(prediction_id), content=b"7").status_code == 415
    assert api.put(path(prediction_id), content=b'{"label": "7"}', headers=CSV).status_code == 415
    zeros = {"content-type": "application/json", "content-encoding": "gzip"}
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 1))
    assert api.put(path(prediction_id), content=bomb, headers=zeros).status_code == 413
    packed = gzip.compress(b'{"label": "7"}')
    assert api.put(path(prediction_id), content=packed, headers=zeros).status_code == 200
    assert api.get(path(prediction_id), headers={"accept": "image/png"}).status_code == 406


def test_what_does_not_exist_has_no_ground_truth(api: httpx.Client) -> None:
    for answer in (put(api, UNKNOWN, label="7"), api.get(path(UNKNOWN)), api.delete(path(UNKNOWN))):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "There is no prediction with this id."
    assert errors(put(api, "seven", label="7")) == [(None, "/prediction_id")]


def test_the_history_fits_into_an_answer(api: httpx.Client, digit: bytes, query: Query) -> None:
    prediction_id = predict(api, digit)
    query(
        "INSERT INTO ground_truths (prediction_id, created_at, value) "
        "SELECT prediction_id, '2026-01-01Z'::timestamptz + n * interval '1 s', to_jsonb(repeat('x', :size::int) || n) "
        "FROM predictions, generate_series(1, 200) n",
        size=MAX_VALUE_BYTES - 10,
    )
    answer = api.get(path(prediction_id))
    assert len(answer.content) < 6_000_000
    history = answer.json()["history"]
    assert 80 < len(history) <= 100
    assert history[0]["ground_truth"].endswith("x200")


def test_a_replay_is_answered_as_the_first_time(api: httpx.Client, digit: bytes) -> None:
    def ask() -> httpx.Response:
        files = {"file": ("seven.png", digit, "image/png")}
        return api.post("/prediction", files=files, headers={"idempotency-key": "once"})

    first = ask()
    put(api, first.json()["prediction_id"], label="1")
    again = ask()
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content


# --- many -------------------------------------------------------------------------------------------------------------


def test_many_are_kept_from_json_lines_and_csv(api: httpx.Client, digit: bytes) -> None:
    ids = [predict(api, digit, inference_id=f"order-{number}") for number in range(3)]
    items = [{"prediction_id": ids[0], "label": "7"}, {"inference_id": "order-1", "label": "1", "comment": "so, so"}]
    lines = "\r\n".join(json.dumps(one) for one in items) + "\n\n"
    rows = f'\ufeffcomment,"prediction_id",inference_id,label\r\n,{ids[0]},,7\r\n\r\n"so, so",,order-1,"1"\r\n'
    bodies: list[tuple[str, bytes]] = [
        ("application/json", json.dumps({"items": items}).encode()),
        ("application/x-ndjson; charset=utf-8", lines.encode()),
        ("application/jsonl", lines.encode()),
        ("text/csv; header=present", rows.encode()),
    ]
    for at, (kind, body) in enumerate(bodies):
        answer = api.post("/ground_truth", content=body, headers={"content-type": kind})
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"ground_truths": 2, "predictions": 2, "changed": 0 if at else 2}
    packed = {"content-type": "text/csv", "content-encoding": "gzip"}
    answer = api.post("/ground_truth/", content=gzip.compress(rows.encode()), headers=packed)
    assert answer.json()["predictions"] == 2

    assert [truth_of(api, one) for one in ids] == [("7", True), ("1", False), (None, None)]
    assert api.get(path(ids[1])).json()["history"] == [
        {"ground_truth": "1", "comment": "so, so", "given_at": api.get(path(ids[1])).json()["given_at"]}
    ]


def test_a_cell_of_values_is_json(api: httpx.Client, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
    features = json.loads((ROOT / "local" / "samples" / "diabetes.json").read_bytes())
    prediction_id = api.post("/prediction", json=features).json()["prediction_id"]

    for cell, right in (("3.2", 3.2), ("-1e2", -100)):
        answer = api.post("/ground_truth", content=f"prediction_id,value\n{prediction_id},{cell}\n", headers=CSV)
        assert answer.status_code == 200, answer.text
        assert truth_of(api, prediction_id)[0] == right
    for cell in ("high", "1;5", "NaN", "[1]", '"[1, 2]"'):
        answer = api.post("/ground_truth", content=f"prediction_id,value\n{prediction_id},{cell}\n", headers=CSV)
        assert errors(answer) == [(2, "/value")]


def test_all_or_none_and_each_wrong_one_is_pointed_at(api: httpx.Client, digit: bytes, query: Query) -> None:
    right = predict(api, digit)
    items: list[Any] = [
        {"prediction_id": right, "label": "7"},
        {"prediction_id": "seven", "label": "7"},
        {"label": "7"},
        {"prediction_id": right, "inference_id": "a", "label": "7"},
        {"prediction_id": right},
        {"prediction_id": right, "label": "7", "source": "robot"},
        {"inference_id": "", "label": "7"},
        "7",
        {"prediction_id": right, "label": 7, "x": 1},
    ]
    wrong = ["/prediction_id", "", "", "", "/source", "/inference_id", "", "/x"]
    answer = api.post("/ground_truth", json={"items": items})
    assert errors(answer) == [(None, f"/items/{at}{pointer}") for at, pointer in enumerate(wrong, 1)]
    assert answer.json()["detail"].startswith("8 ground truths are wrong, and none was kept. The first: ")
    lines = "\n".join(["", *map(json.dumps, items), "{"])
    answer = api.post("/ground_truth", content=lines, headers=LINES)
    assert errors(answer, 400)[:-1] == [(at + 1, pointer) for at, pointer in enumerate(wrong[:6] + wrong[6:], 2)]
    assert errors(answer, 400)[-1] == (11, "")
    assert query("SELECT count(*) FROM ground_truths") == [[0]]


def test_what_only_the_ledger_knows_is_pointed_at_too(api: httpx.Client, digit: bytes, query: Query) -> None:
    right, other = predict(api, digit, inference_id="a"), predict(api, digit)
    rows = [
        ("prediction_id", "inference_id", "label", "comment"),
        (right, "", "7", '"a comment\nof two lines"'),
        (UNKNOWN, "", "7", ""),
        ("", "unknown", "7", ""),
        (other, "", "seven", ""),
        ("", "a", "1", ""),
    ]
    answer = api.post("/ground_truth", content="\n".join(map(",".join, rows)), headers=CSV)
    assert errors(answer) == [(4, "/prediction_id"), (5, "/inference_id"), (6, "/label"), (7, "")]
    assert "'0', '1'" in answer.json()["errors"][2]["detail"]
    answer = api.post("/ground_truth", json={"items": [{"prediction_id": right, "value": 7}]})
    assert errors(answer) == [(None, "/items/0/value")]
    assert query("SELECT count(*) FROM ground_truths") == [[0]]


WRONG_MANY: dict[str, tuple[str, bytes, int, list[tuple[int | None, str]]]] = {
    "no body": ("application/json", b"", 400, []),
    "no items": ("application/json", b"{}", 422, [(None, "/items")]),
    "items that are no list": ("application/json", b'{"items": {}}', 422, [(None, "/items")]),
    "an empty list": ("application/json", b'{"items": []}', 422, [(None, "/items")]),
    "something beside items": ("application/json", b'{"items": [], "user_id": "a"}', 422, [(None, "/user_id")]),
    "a name to escape beside items": ("application/json", b'{"items": [], "a/~": 1}', 422, [(None, "/a~1~0")]),
    "no line": ("application/x-ndjson", b"\n \n", 422, [(None, "")]),
    "a list in a line": ("application/x-ndjson", b"[]", 422, [(1, "")]),
    "an empty file": ("text/csv", b"", 422, [(None, "")]),
    "the columns alone": ("text/csv", b"prediction_id,label\n", 422, [(None, "")]),
    "no columns": ("text/csv", f"{UNKNOWN},7\n".encode(), 422, [(1, "")]),
    "semicolons": ("text/csv", b"prediction_id;label\n", 422, [(1, "")]),
    "a column twice": ("text/csv", b"prediction_id,label,label\n", 422, [(1, "")]),
    "no column of what": ("text/csv", b"prediction_id,comment\n", 422, [(1, "")]),
    "no column of whom": ("text/csv", b"label,comment\n", 422, [(1, "")]),
    "a row that is too short": ("text/csv", b"prediction_id,label\n7\n", 400, [(2, "")]),
    "a quote that is never closed": ("text/csv", b'prediction_id,label\n"7,7\n', 400, [(2, "")]),
    "NUL in a cell": ("text/csv", f"prediction_id,label\n{UNKNOWN},\0\n".encode(), 422, [(2, "/label")]),
    "not UTF-8": ("text/csv", b"prediction_id,label\n\xe9,7\n", 400, []),
    "an image": ("image/png", b"7", 415, []),
    "a form": ("application/x-www-form-urlencoded", b"7", 415, []),
    "no type": ("", b"7", 415, []),
}


@pytest.mark.parametrize(("kind", "body", "status", "wrong"), WRONG_MANY.values(), ids=WRONG_MANY)
def test_what_is_no_list_of_ground_truths_is_refused(
    api: httpx.Client, kind: str, body: bytes, status: int, wrong: list[tuple[int | None, str]]
) -> None:
    answer = api.post("/ground_truth", content=body, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    assert [(one.get("line"), one["pointer"]) for one in answer.json().get("errors", [])] == wrong
    if status == 415:
        assert answer.headers["accept-post"] == "application/json, application/x-ndjson, text/csv"


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("application/x-ndjson", b'{"label": "7"}\n\n{"label" "7"}\n', "at line 3, column 10."),
        ("application/x-ndjson", b'{"label": "7"}\r\n{"label":\t}\r\n', "at line 2, column 11."),
        ("application/json", b'{\n"items": [\n{"label" "7"}]}', "at line 3, column 10."),
        ("application/x-ndjson", b'{"label": "7"}\n[]\n', "must be an object"),
        ("text/csv", "inference_id,label\nBern,7\nZ\xfcrich,7\n".encode("latin-1"), "in line 3): send it as UTF-8."),
        ("text/csv", "inference_id,label\na,7\n".encode("utf-16"), "in line 1): send it as UTF-8."),
        ("text/csv", b"inference_id;label\na;7\n", "comment, with commas between them."),
        ("text/csv", b"inference_id\tlabel\na\t7\n", "comment, with commas between them."),
    ],
)
def test_a_refusal_says_where_in_the_file_it_is_and_what_would_be_right(
    api: httpx.Client, kind: str, body: bytes, says: str
) -> None:
    told = api.post("/ground_truth", content=body, headers={"content-type": kind}).json()
    details = [told["detail"], *(one["detail"] for one in told.get("errors", []))]
    assert any(detail.endswith(says) for detail in details), told


def test_there_is_a_most_and_a_problem_lists_no_more_than_it_can(api: httpx.Client) -> None:
    row = f"{UNKNOWN},7\n"
    answer = api.post("/ground_truth", content="prediction_id,label\n" + row * (MOST + 1), headers=CSV)
    assert answer.status_code == 413
    assert str(MOST) in answer.json()["detail"]
    answer = api.post("/ground_truth", content="prediction_id,label\n" + row * MOST, headers=CSV)
    listed = errors(answer)
    assert len(listed) <= 1001
    assert listed[0] == (2, "/prediction_id")
    assert answer.json()["detail"].startswith(f"{MOST} ground truths are wrong")


# --- what was said since ----------------------------------------------------------------------------------------------


def condition(given_at: str, seconds: int) -> dict[str, str]:
    """Return the header that names a time so many seconds after another."""
    named = datetime.fromisoformat(given_at) + timedelta(seconds=seconds)
    return {"if-unmodified-since": format_datetime(named, usegmt=True)}


def test_what_was_said_since_is_neither_superseded_nor_withdrawn(api: httpx.Client, digit: bytes, query: Query) -> None:
    own, other = predict(api, digit, inference_id="a"), predict(api, digit)
    earlier = condition(put(api, own, label="1").json()["given_at"], -2)
    items = {"items": [{"prediction_id": other, "label": "7"}, {"inference_id": "a", "label": "7"}]}
    before = [[row for *_, row in rows] for rows in everything(query)]

    assert errors(api.put(path(own), json={"label": "7"}, headers=earlier), 412) == [(None, "")]
    assert errors(api.post("/ground_truth", json=items, headers=earlier), 412) == [(None, "/items/1")]
    answer = api.delete(path(own), headers=earlier)

    assert (answer.status_code, "since then" in answer.json()["detail"]) == (412, True)
    assert [[row for *_, row in rows] for rows in everything(query)] == before
    assert truth_of(api, own) == ("1", False)
    checked = api.post("/ground_truth?dry_run=true", json=items, headers=earlier).json()
    assert [one["outcome"] for one in checked["outcomes"]] == ["new", "late"]
    api.delete(path(own))
    assert (
        api.put(path(own), json={"label": "7"}, headers=earlier).status_code == 412
    )  # that there is none was said since
    assert api.delete(path(own), headers=earlier).status_code == 204  # there is none


def test_what_is_there_already_and_what_was_said_before_are_not_late(api: httpx.Client, digit: bytes) -> None:
    own = predict(api, digit)
    given_at = put(api, own, label="1", source="human").json()["given_at"]

    again = api.put(path(own), json={"label": "1", "source": "human"}, headers=condition(given_at, -60))
    assert (again.status_code, again.json()["given_at"]) == (200, given_at)
    within_the_second = api.put(path(own), json={"label": "7"}, headers=condition(given_at, 0))
    assert within_the_second.status_code == 200
    assert api.delete(path(own), headers=condition(given_at, 60)).status_code == 204


@pytest.mark.parametrize(
    "date", ["", "yesterday", "1764417600", "Sun, 29 Nov 99999 12:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_a_condition_that_is_no_date_counts_as_absent(api: httpx.Client, digit: bytes, date: str) -> None:
    own = predict(api, digit)
    put(api, own, label="1")

    assert api.put(path(own), json={"label": "7"}, headers={"if-unmodified-since": date}).status_code == 200


# --- many, without writing --------------------------------------------------------------------------------------------


def everything(query: Query) -> list[Any]:
    """Return each row that a ground truth could change, with the transaction that wrote or locked it."""
    tables = ("predictions", "ground_truths", "judged_predictions")
    return [query(f"SELECT xmin::text, xmax::text, t::text FROM {table} t ORDER BY t::text") for table in tables]


def check(api: httpx.Client, body: str | bytes, headers: dict[str, str]) -> Any:
    answer = api.post("/ground_truth?dry_run=true", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_dry_run_says_what_would_become_of_each_and_writes_nothing(
    api: httpx.Client, digit: bytes, query: Query
) -> None:
    ids = [predict(api, digit, inference_id=f"order-{min(number, 3)}") for number in range(6)]
    put(api, ids[1], label="1", source="human")
    put(api, ids[2], label="7")
    put(api, ids[4], label="2")
    before = everything(query)
    rows = [
        ("prediction_id", "inference_id", "label", "source"),
        (ids[0], "", "7", ""),
        (ids[1], "", "7", ""),
        ("", "order-1", "7", ""),
        (ids[2], "", "7", ""),
        (ids[2], "", "8", ""),
        ("", "order-3", "7", ""),
        (UNKNOWN, "", "7", ""),
        ("", "order-17", "7", ""),
        (ids[0], "", "seven", ""),
        ("seven", "", "7", ""),
        (ids[0], "7"),
        (ids[0], "", "", ""),
    ]

    answer = check(api, "\r\n".join(map(",".join, rows)), CSV)

    outcomes = answer.pop("outcomes")
    assert [one.pop("line") for one in outcomes] == [*range(2, 14)]
    assert answer == {"ground_truths": 12, "predictions": 6, "changed": 5, "refused": 7}
    assert outcomes[:4] == [
        {"outcome": "new", "predictions": 1, "changed": 1},
        {"outcome": "changed", "predictions": 1, "changed": 1, "ground_truth": "1"},
        {"outcome": "repeated", "predictions": 1, "changed": 0, "ground_truth": "1"},
        {"outcome": "same", "predictions": 1, "changed": 0, "ground_truth": "7"},
    ]
    assert outcomes[5] == {"outcome": "changed", "predictions": 3, "changed": 3}
    refused = [outcomes[4], *outcomes[6:]]
    assert [(one["outcome"], one["pointer"]) for one in refused] == [
        ("contradiction", ""),
        ("unknown_id", "/prediction_id"),
        ("unknown_id", "/inference_id"),
        ("contradiction", ""),
        ("malformed", "/prediction_id"),
        ("malformed", ""),
        ("malformed", ""),
    ]
    assert refused[5]["detail"] == "this row has 2 values, and the first row names 4."
    assert everything(query) == before


def test_a_dry_run_names_the_labels_that_the_model_knows_and_a_value_that_does_not_suit(
    api: httpx.Client, digit: bytes
) -> None:
    prediction_id = predict(api, digit)
    items: list[dict[str, Any]] = [{"label": "seven"}, {"value": 7}]
    for item, outcome, pointer in zip(items, ("unknown_label", "wrong_kind"), ("/label", "/value"), strict=True):
        body = json.dumps({"items": [{"prediction_id": prediction_id} | item]})
        [one] = check(api, body, {"content-type": "application/json"})["outcomes"]
        assert (one["outcome"], one["pointer"]) == (outcome, f"/items/0{pointer}")
        assert "one of '0', '1'" in one["detail"]
        refused = api.post("/ground_truth", content=body, headers={"content-type": "application/json"})
        assert refused.json()["errors"] == [{"pointer": one["pointer"], "detail": one["detail"].removesuffix(".")}]


def test_what_a_dry_run_lets_pass_is_kept_as_it_said(api: httpx.Client, digit: bytes) -> None:
    ids = [predict(api, digit) for _ in range(4)]
    put(api, ids[0], label="1")
    put(api, ids[1], label="7")
    lines = [json.dumps({"prediction_id": one, "label": "7"}) for one in (*ids, ids[3], UNKNOWN)]
    would_be = check(api, "\n".join(lines), LINES)
    kept = [line for line, one in zip(lines, would_be["outcomes"], strict=True) if one["outcome"] != "unknown_id"]

    done = api.post("/ground_truth?dry_run=false", content="\n".join(kept), headers=LINES).json()

    assert done == {"ground_truths": 5, "predictions": would_be["predictions"], "changed": would_be["changed"]}
    assert done["changed"] == 3
    again = check(api, "\n".join(kept), LINES)
    assert [one["outcome"] for one in again["outcomes"]] == ["same"] * 4 + ["repeated"]
    assert again["changed"] == 0


@pytest.mark.parametrize("query_string", ["dryrun=true", "dry_run=1", "dry_run=", "dry_run=true&dry_run=false", "x"])
def test_a_query_that_is_misspelt_does_not_write(
    api: httpx.Client, digit: bytes, query: Query, query_string: str
) -> None:
    items = {"items": [{"prediction_id": predict(api, digit), "label": "7"}]}
    answer = api.post(f"/ground_truth?{query_string}", json=items)
    assert answer.status_code == 422, answer.text
    assert "dry_run" in answer.json()["detail"]
    assert query("SELECT count(*) FROM ground_truths") == [[0]]


@pytest.mark.parametrize(("kind", "body", "status", "wrong"), WRONG_MANY.values(), ids=WRONG_MANY)
def test_what_is_no_list_of_ground_truths_is_no_dry_run_either(
    api: httpx.Client, kind: str, body: bytes, status: int, wrong: list[tuple[int | None, str]]
) -> None:
    answer = api.post("/ground_truth?dry_run=true", content=body, headers={"content-type": kind} if kind else {})
    if answer.status_code == 200:  # it has lines, and each of them is malformed
        outcomes = answer.json()["outcomes"]
        assert [(one.get("line"), one["pointer"]) for one in outcomes] == wrong
        assert {one["outcome"] for one in outcomes} == {"malformed"}
    else:
        assert answer.status_code == status, answer.text
        assert [(one.get("line"), one["pointer"]) for one in answer.json().get("errors", [])] == wrong


def test_the_largest_dry_run_fits_into_an_answer(api: httpx.Client, digit: bytes, query: Query) -> None:
    long = "\u00e9" * 120  # 240 bytes
    prediction_id = predict(api, digit)
    query("UPDATE models SET labels = to_jsonb(ARRAY['7', :long::text])", long=long)
    assert put(api, prediction_id, label=long).status_code == 200
    rows = {
        "the same": f"{prediction_id},{long}\n",
        "malformed": f"{'x' * 300},7\n",
        "unknown": f"{UNKNOWN},{long}\n",
    }
    for what, row in rows.items():
        answer = api.post("/ground_truth?dry_run=true", content="prediction_id,label\n" + row * MOST, headers=CSV)
        assert answer.status_code == 200, what
        outcomes = answer.json()["outcomes"]
        assert [one["line"] for one in outcomes] == [*range(2, MOST + 2)]
        assert len(answer.content) < 5_900_000
        assert "detail" in outcomes[0] or what == "the same"


def test_a_dry_run_of_somebody_elses_records_tells_nothing_unless_a_scope_permits_it_and_then_it_is_logged(
    clients: dict[str, httpx.Client], digit: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    annas = predict(clients["anna"], digit, inference_id="a")
    put(clients["anna"], annas, label="1")
    body = "\n".join(json.dumps(one | {"label": "7"}) for one in ({"prediction_id": annas}, {"inference_id": "a"}))
    capsys.readouterr()

    assert clients["nobody"].post("/ground_truth?dry_run=true", content=body, headers=LINES).status_code == 401
    for user in ("bob", "reader"):
        assert {one["outcome"] for one in check(clients[user], body, LINES)["outcomes"]} == {"unknown_id"}
    for user in ("anna", "judge"):
        outcomes = check(clients[user], body, LINES)["outcomes"]
        assert [(one["outcome"], one["ground_truth"]) for one in outcomes] == [("changed", "1"), ("repeated", "1")]

    assert logged(capsys.readouterr().out) == [("judge", [annas])]
    assert truth_of(clients["anna"], annas) == ("1", False)


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clients(environment: pytest.MonkeyPatch) -> Iterator[dict[str, httpx.Client]]:
    """Two users, and others who have a scope, or no token."""
    environment.setenv("AUTH", "on")
    transports = {
        "anna": EventTransport("anna"),
        "bob": EventTransport("bob"),
        "judge": EventTransport("judge", scope="ground-truth:write"),
        "reader": EventTransport("reader", scope="predictions:read-all"),
        "nobody": EventTransport(),
    }
    opened = {name: httpx.Client(transport=one, base_url="https://api.example") for name, one in transports.items()}
    yield opened
    for client in opened.values():
        client.close()


def logged(output: str) -> list[tuple[str, list[str]]]:
    lines = [json.loads(line) for line in output.splitlines()]
    return [
        (line["judged_by"], line["prediction_ids"]) for line in lines if line["message"] == "judged others' records"
    ]


def test_the_owner_judges_and_anybody_else_is_answered_as_if_there_were_no_record(
    clients: dict[str, httpx.Client], digit: bytes
) -> None:
    mine = predict(clients["anna"], digit, inference_id="a")
    answer = put(clients["anna"], mine, label="7")
    assert answer.json()["given_by"] == "anna"

    for user in ("bob", "reader"):
        client = clients[user]
        for theirs, nobodys in (
            (put(client, mine, label="1"), put(client, UNKNOWN, label="1")),
            (put(client, mine, value=1), put(client, UNKNOWN, value=1)),
            (client.delete(path(mine)), client.delete(path(UNKNOWN))),
        ):
            assert theirs.status_code == nobodys.status_code == 404
            assert theirs.content == nobodys.content
        by_id, by_theirs = ({"prediction_id": mine, "label": "1"}, {"inference_id": "a", "label": "1"})
        answer = client.post("/ground_truth", json={"items": [by_id, by_theirs]})
        assert errors(answer) == [(None, "/items/0/prediction_id"), (None, "/items/1/inference_id")]
    assert clients["bob"].get(path(mine)).status_code == 404
    assert clients["reader"].get(path(mine)).json()["ground_truth"] == "7"
    assert truth_of(clients["anna"], mine) == ("7", True)


def test_without_a_token_nothing_is_judged(clients: dict[str, httpx.Client], digit: bytes) -> None:
    mine, nobody = predict(clients["anna"], digit), clients["nobody"]
    for answer in (
        put(nobody, mine, label="7"),
        nobody.get(path(mine)),
        nobody.delete(path(mine)),
        nobody.post("/ground_truth", json={"items": [{"prediction_id": mine, "label": "7"}]}),
    ):
        assert answer.status_code == 401


def test_a_scope_judges_everybodys_and_is_logged_with_each_record(
    clients: dict[str, httpx.Client], digit: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = clients["judge"]
    annas, bobs = predict(clients["anna"], digit, inference_id="a"), predict(clients["bob"], digit)
    own = predict(judge, digit)
    capsys.readouterr()

    assert put(judge, annas, label="1").json()["given_by"] == "judge"
    assert judge.get(path(annas)).status_code == 200
    assert judge.delete(path(annas)).status_code == 204
    items = [{"inference_id": "a", "label": "7"}, *({"prediction_id": one, "label": "7"} for one in (bobs, own))]
    assert judge.post("/ground_truth", json={"items": items}).json()["changed"] == 3
    put(judge, own, label="7")
    put(clients["anna"], annas, label="1")

    assert logged(capsys.readouterr().out) == [
        ("judge", [annas]),
        ("judge", [annas]),
        ("judge", [annas]),
        ("judge", sorted([annas, bobs])),
    ]
    assert [entry.get("given_by") for entry in clients["anna"].get(path(annas)).json()["history"]] == [
        "anna",
        "judge",
        "judge",
        "judge",
    ]
    assert judge.get(f"/prediction/{annas}").status_code == 404  # it may judge the record, not read it


def test_an_id_that_two_users_gave_is_refused_to_whom_judges_both(
    clients: dict[str, httpx.Client], digit: bytes
) -> None:
    for user in ("anna", "bob"):
        predict(clients[user], digit, inference_id="order-17")
    items = {"items": [{"inference_id": "order-17", "label": "7"}]}

    assert errors(clients["judge"].post("/ground_truth", json=items)) == [(None, "/items/0/inference_id")]
    assert clients["anna"].post("/ground_truth", json=items).json()["predictions"] == 1


def test_a_judge_who_is_erased_leaves_no_name_in_the_records_of_others(
    clients: dict[str, httpx.Client], digit: bytes, query: Query
) -> None:
    annas = predict(clients["anna"], digit)
    put(clients["judge"], annas, label="1", source="human", source_id="judge", comment="judge says so")
    put(clients["anna"], annas, label="7", comment="mine")

    assert clients["judge"].delete("/predictions?user_id=judge").status_code == 200

    kept = query("SELECT t::text FROM ground_truths t ORDER BY created_at")
    assert ["judge" in row for [row] in kept] == [False, False]
    history = clients["anna"].get(path(annas)).json()["history"]
    assert [(one["ground_truth"], one.get("comment")) for one in history] == [("7", "mine"), ("1", None)]


def test_a_deleted_record_leaves_no_ground_truth(api: httpx.Client, digit: bytes, query: Query) -> None:
    prediction_id = predict(api, digit, user_id="anna")
    put(api, prediction_id, label="1", source_id="anna")
    put(api, prediction_id, label="7", source_id="anna")

    assert api.delete("/predictions?user_id=anna").status_code == 200

    assert query("SELECT count(*) FROM ground_truths") == [[0]]
    assert put(api, prediction_id, label="7").status_code == 404
    assert UUID(prediction_id)


def test_without_the_database_nothing_is_kept_and_it_is_safe_to_repeat(
    api: httpx.Client, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DATABASE_URL", "postgresql://ledger@127.0.0.1:1/ledger")
    items = {"items": [{"prediction_id": UNKNOWN, "label": "7"}]}
    dry_run = api.post("/ground_truth?dry_run=true", json=items)
    answers = (put(api, UNKNOWN, label="7"), api.post("/ground_truth", json=items), dry_run, api.get(path(UNKNOWN)))
    for answer in answers:
        assert answer.status_code == 503
        assert "nothing was stored" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
