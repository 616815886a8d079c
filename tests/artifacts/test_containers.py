"""The packages in containers: `make sam-invoke` and `make sam-api` as docs/running.md has them, the images of `local/`.

Needs Docker (`DOCKER_HOST`); `make test-sam` runs this alone.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import PredictionFilter
from local.gateway.integration import read_result
from local.sample_events import QUEUED_ID, USER
from local.services.postgres import EmbeddedPostgres
from local.services.process_guard import GuardedProcess
from tests.support.ports import free_port
from tests.support.readme import commands, run
from tests.support.repository import ROOT
from tests.support.sample_events import EVENTS, FUNCTIONS, OTHER_STATUSES, function_of

# What an event asks for that is not there by itself.
_VARIABLES = {"predict_features": {"MODEL": "model_artifacts/diabetes"}}
_STATUS = {"predict_async": 202, **OTHER_STATUSES}
_OF_A_VERSION = ("performance", "drift")  # 404 unless it has predicted here
_NEW_RECORDS = {"predict": 1, "predict_raw": 1, "predict_data_uri": 1, "predict_features": 1, "predict_many": 2}
_START_TIMEOUT = 60.0  # seconds

pytestmark = pytest.mark.usefixtures("packages")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A LEDGER_HOME for all tests. Not below pytest's own folder, which lets PostgreSQL's user in no more later on."""
    with TemporaryDirectory(prefix="onnx-ledger-") as folder:
        yield Path(folder) / "home"


def _environment(home: Path, **variables: str) -> dict[str, str]:
    return {**os.environ, "LEDGER_HOME": str(home), **variables}


@contextlib.contextmanager
def _ledger(home: Path) -> Iterator[Ledger]:
    """The ledger as it is left behind in the home."""
    with EmbeddedPostgres(home / "postgres") as postgres, contextlib.closing(Ledger.at(postgres.url)) as ledger:
        yield ledger


def _succeeded(home: Path) -> int:
    if not (home / "postgres").exists():
        return 0
    with _ledger(home) as ledger:
        page = ledger.list(PredictionFilter(), limit=100)
        return len([record for record in page.records if record.status == "succeeded"])


def _invoke(home: Path, function: str, event: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "sam-invoke", f"FUNCTION={function}", f"EVENT={event}"]
    return subprocess.run(
        [*command, *(f"{name}={value}" for name, value in variables.items())],
        cwd=ROOT,
        env=_environment(home),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", EVENTS)
def test_a_sample_event_is_answered_and_stored(home: Path, name: str) -> None:
    before = _succeeded(home) if name in _NEW_RECORDS else 0
    done = _invoke(home, function_of(name).logical_id, name, **_VARIABLES.get(name, {}))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    if name == "worker":
        assert result == {"batchItemFailures": []}
        with _ledger(home) as ledger:
            record, _ = ledger.get(UUID(QUEUED_ID), user_id=USER)
        assert (record.status, record.label) == ("succeeded", "7")
    elif name == "sweep":
        assert result["sent"] >= 1, "the queue was reached"
    elif name == "rollup":
        assert result["left"] is False
    elif name == "migrate":
        assert result is None
        assert "to answer CloudFormation failed" not in done.stderr
    else:
        response = read_result(result)
        method = EVENTS[name]["requestContext"]["http"]["method"]
        expected = _STATUS.get(name, 201 if method == "POST" else 200)
        if name in _OF_A_VERSION and _succeeded(home):
            expected = 200
        assert response.status == expected, response.body
    if name in _NEW_RECORDS:
        assert _succeeded(home) - before == _NEW_RECORDS[name]
        answer = json.loads(read_result(result).body)
        with _ledger(home) as ledger:
            for prediction in answer.get("predictions", [answer]):
                record, _ = ledger.get(UUID(prediction["prediction_id"]), user_id=USER)
                assert record.output == prediction["prediction"]


def test_every_function_of_the_template_has_an_event() -> None:
    assert {function_of(name).logical_id for name in EVENTS} == FUNCTIONS.keys()


def test_a_wrong_name_is_answered_with_the_right_ones(home: Path) -> None:
    done = _invoke(home, "PredictFunction", "nothing")
    assert done.returncode != 0
    assert "make sam-invoke FUNCTION=PredictFunction EVENT=predict" in done.stderr
    assert all(name in done.stderr for name in [*FUNCTIONS, *EVENTS])


@pytest.fixture(scope="module")
def api(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a `make sam-api`."""
    port = free_port()
    log = tmp_path_factory.mktemp("api") / "log"
    # sam removes its containers when it is interrupted, and takes a while.
    with (
        log.open("wb") as output,
        GuardedProcess(
            ["make", "--silent", "sam-api", f"PORT={port}"],
            stop=((signal.SIGTERM, 30.0),),
            cwd=ROOT,
            env=_environment(home),
            stdout=output,
            stderr=output,
        ) as sam,
    ):
        until = time.monotonic() + _START_TIMEOUT
        while not _listens(port):
            assert sam.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def _call(port: int, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_the_readmes_lines_are_those_that_are_tried_here() -> None:
    invoke, serve, _ = commands("Run it in containers")
    assert invoke.split() == ["make", "sam-invoke", "FUNCTION=PredictFunction", "EVENT=predict"]
    assert serve.split() == ["make", "sam-api"]


def test_start_api_takes_an_image_as_the_readme_sends_it(api: int) -> None:
    *_, send = commands("Run it in containers")
    assert json.loads(run(send, f"http://127.0.0.1:{api}"))["label"] == "7"


def test_start_api_stores_an_image_that_comes_as_a_data_uri_and_gives_it_back(api: int) -> None:
    event = EVENTS["predict_data_uri"]
    status, answer = _call(api, "POST", "/prediction", event["body"])
    assert (status, answer["label"]) == (201, "7")
    status, record = _call(api, "GET", f"/prediction/{answer['prediction_id']}")
    assert status == 200
    assert record["image"] == json.loads(event["body"])["image"]
    status, page = _call(api, "GET", "/predictions?limit=1")
    assert [one["prediction_id"] for one in page["predictions"]] == [answer["prediction_id"]]


@pytest.mark.parametrize("path", ["/", "/model", "/health", "/openapi.json"])
def test_start_api_answers_a_route_that_gives_json(api: int, path: str) -> None:
    status, _ = _call(api, "GET", path)
    assert status == 200


_COMPOSE = ["docker", "compose", "-f", "local/compose.yaml", "-p", "onnx-ledger-test"]


def test_compose_starts_the_functions_and_a_database_that_they_store_in() -> None:
    try:
        up = [*_COMPOSE, "up", "--build", "--detach"]
        done = subprocess.run(up, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        answer = _emulated(9001, "predict")
        record = _emulated(9003, "get_prediction", answer["prediction_id"])
        assert record["label"] == answer["label"] == "7"
        assert [one["prediction_id"] for one in _emulated(9002, "list_predictions")["predictions"]] == [
            answer["prediction_id"]
        ]
        assert _emulated(9004, "model")["name"] == "mnist"
    finally:
        subprocess.run([*_COMPOSE, "down", "--volumes"], cwd=ROOT, capture_output=True, check=False)


def _emulated(port: int, name: str, prediction_id: str | None = None) -> Any:
    """Invoke a function of compose.yaml, as its head says, and return the body of its answer."""
    event = json.loads(json.dumps(EVENTS[name]))
    if prediction_id is not None:
        event["rawPath"] = event["requestContext"]["http"]["path"] = f"/prediction/{prediction_id}"
        event["pathParameters"]["prediction_id"] = prediction_id
    until = time.monotonic() + _START_TIMEOUT
    while True:
        # Docker answers in place of an emulator that does not listen yet, and hangs up.
        with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            try:
                connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event))
                response = read_result(json.loads(connection.getresponse().read()))
                break
            except ConnectionError:
                assert time.monotonic() < until, f"nothing listens on port {port}"
        time.sleep(0.2)
    assert response.status in {200, 201}, response.body
    return json.loads(response.body)
