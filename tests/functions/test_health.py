"""`GET /health`: whether the model's files can be served and, if asked, whether the database answers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.repository import ROOT

NOWHERE = "postgresql://ledger@127.0.0.1:1/ledger"


@pytest.fixture
def folder(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the digit model, which is served."""
    shutil.copytree(ROOT / "model_artifacts" / "mnist", tmp_path / "mnist")
    environment.setenv("MODEL", str(tmp_path / "mnist"))
    return tmp_path / "mnist"


def test_it_does_not_wake_the_database_unless_asked(api: httpx.Client, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", NOWHERE)

    for path in ("/health", "/health/", "/health?deep=0"):
        answer = api.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "model": "ok"})
    deep = api.get("/health?deep=1")
    assert deep.status_code == 503
    assert deep.json()["errors"] == [{"pointer": "/database", "detail": "the database does not answer"}]


def test_asked_for_it_it_says_that_the_database_answers(api: httpx.Client) -> None:
    assert api.get("/health?deep=1").json() == {"status": "ok", "model": "ok", "database": "ok"}
    refused = api.get("/health?deep=perhaps&at=1764322800")
    assert refused.status_code == 422
    assert "as in deep=1" in refused.json()["detail"]


@pytest.mark.of_lambda
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("is_read", [True, False])
def test_a_model_that_was_cut_off_is_not_ok(
    api: httpx.Client, folder: Path, forget: Callable[[], None], share: float, *, is_read: bool
) -> None:
    model = folder / "model.onnx"
    whole = model.read_bytes()
    if is_read:
        assert api.get("/health").status_code == 200
    model.write_bytes(whole[: int(share * len(whole))])

    for _ in range(2):
        answer = api.get("/health")
        assert answer.status_code == 503
        assert answer.json()["errors"] == [{"pointer": "/model", "detail": "the model cannot be read"}]
        assert str(folder) not in answer.text

    model.write_bytes(whole)
    assert api.get("/health").status_code == 200
    forget()
    assert api.get("/health").status_code == 200


def test_a_model_that_was_removed_is_not_ok_and_with_the_database_both_are_named(
    api: httpx.Client, folder: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DATABASE_URL", NOWHERE)
    assert api.get("/health").status_code == 200
    (folder / "model.onnx").unlink()

    answer = api.get("/health?deep=1")

    assert answer.status_code == 503
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/model", "/database"]
    assert int(answer.headers["retry-after"]) > 0
