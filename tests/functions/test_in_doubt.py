"""A database that goes away between the commit and the answer: what the client is told, and what a repetition does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from functions.shared.ledger import login
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import LedgerUnavailableError
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy

Send = Callable[[], httpx.Response]

WRITTEN = "SELECT value #>> '{}' FROM ground_truths ORDER BY created_at"


@pytest.fixture
def proxy(database_url: str, environment: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What is between the functions and the database."""
    with TemporaryDirectory() as folder, Proxy(parse_database_url(database_url), Path(folder)) as running:
        environment.setenv("DATABASE_URL", running.url)
        yield running


@pytest.fixture
def prediction_id(proxy: Proxy, api: httpx.Client, digit: bytes) -> str:
    """A prediction, with an inference id of the same text."""
    assert proxy.sessions == 0
    headers = {"content-type": "image/png"}
    answer = api.post("/prediction?inference_id=order-17", content=digit, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["prediction_id"])


def ways(api: httpx.Client, prediction_id: str, label: str) -> dict[str, Send]:
    """Return the requests that say what the prediction should have been."""
    path = f"/prediction/{prediction_id}/ground_truth"
    lines = f"inference_id,label\norder-17,{label}\n"
    return {
        "one": lambda: api.put(path, json={"label": label}),
        "one, with a slash": lambda: api.put(f"{path}/", json={"label": label}),
        "many": lambda: api.post("/ground_truth", json={"items": [{"prediction_id": prediction_id, "label": label}]}),
        "many, with a slash": lambda: api.post("/ground_truth/", content=lines, headers={"content-type": "text/csv"}),
    }


def lose(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Let the next statement be lost: its answers twice, itself twice, or its answer and then the database."""
    if how == "answers":
        proxy.next_flights(Fate.REPLY_LOST, None, Fate.REPLY_LOST)
    elif how == "requests":
        proxy.next_flights(Fate.REQUEST_LOST, None, Fate.REQUEST_LOST)
    else:

        def refuse(*_: object) -> None:
            raise LedgerUnavailableError("gone")

        proxy.next_flights(Fate.REPLY_LOST)
        monkeypatch.setattr(login, "open_socket", refuse)


def history(api: httpx.Client, prediction_id: str) -> list[Any]:
    """Return what was said of the prediction, the newest first; None where it was withdrawn."""
    answer = api.get(f"/prediction/{prediction_id}/ground_truth")
    return [entry.get("ground_truth") for entry in answer.json()["history"]]


@pytest.mark.parametrize("way", ["one", "one, with a slash", "many", "many, with a slash"])
@pytest.mark.parametrize(("how", "written"), [("answers", ["1", "7"]), ("requests", ["1"]), ("database", ["1", "7"])])
def test_who_says_what_was_right_is_told_that_it_may_be_stored_and_says_it_again_without_harm(
    proxy: Proxy, api: httpx.Client, query: Query, prediction_id: str, way: str, how: str, written: list[str]
) -> None:
    assert ways(api, prediction_id, "1")[way]().status_code == 200
    send = ways(api, prediction_id, "7")[way]

    with pytest.MonkeyPatch.context() as monkeypatch:
        lose(proxy, monkeypatch, how)
        answer = send()

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"]
    detail = answer.json()["detail"]
    assert "what this request says may or may not be stored" in detail
    assert "It is safe to repeat it: the same again changes nothing." in detail
    assert query(WRITTEN) == [[label] for label in written]

    first, second = send(), send()
    assert first.status_code == second.status_code == 200
    if way.startswith("one"):
        assert first.content == second.content
    assert query(WRITTEN) == [["1"], ["7"]], "neither twice nor lost"
    assert history(api, prediction_id) == ["7", "1"]
    record = api.get(f"/prediction/{prediction_id}").json()
    assert (record["ground_truth"], record["correct"]) == ("7", True)


@pytest.mark.parametrize(("how", "is_withdrawn"), [("answers", True), ("requests", False), ("database", True)])
def test_who_withdraws_it_is_told_that_it_is_safe_to_repeat(
    proxy: Proxy, api: httpx.Client, query: Query, prediction_id: str, how: str, is_withdrawn: bool
) -> None:
    assert ways(api, prediction_id, "1")["one"]().status_code == 200
    path = f"/prediction/{prediction_id}/ground_truth"

    with pytest.MonkeyPatch.context() as monkeypatch:
        lose(proxy, monkeypatch, how)
        answer = api.delete(path)

    assert answer.status_code == 503
    assert "It is safe to repeat the request" in answer.json()["detail"]
    assert "nothing was stored" not in answer.json()["detail"]
    assert query(WRITTEN) == ([["1"], [None]] if is_withdrawn else [["1"]])

    assert [api.delete(path).status_code for _ in range(2)] == [204, 204]
    assert history(api, prediction_id) == [None, "1"]
    assert query(WRITTEN) == [["1"], [None]]


def test_where_the_database_was_never_reached_nothing_is_in_doubt(
    proxy: Proxy, api: httpx.Client, query: Query, prediction_id: str
) -> None:
    assert proxy.sessions > 0
    with pytest.MonkeyPatch.context() as monkeypatch:

        def refuse(*_: object) -> None:
            raise LedgerUnavailableError("gone")

        monkeypatch.setattr(login, "open_socket", refuse)
        answer = ways(api, prediction_id, "7")["one"]()  # its function has no connection yet

    assert answer.status_code == 503
    assert "nothing was stored" in answer.json()["detail"]
    assert query(WRITTEN) == []
