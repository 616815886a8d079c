"""`python -m local sam`: what it makes before it calls sam. That containers reach it all, tests/artifacts shows."""

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from functions.shared.ledger.ledger import Ledger
from local.account import ACCOUNT
from local.commands.sam import make_samples
from local.sample_events import AWS_PORT, FOLDER, PREDICTION_ID, QUEUED_ID, SAMPLE, THIS_MACHINE, USER
from local.services.aws import UPLOADS_BUCKET, LocalAws
from local.template import read_queues, read_template
from tests.support.repository import ROOT

pytestmark = pytest.mark.server

VARIABLES = json.loads((ROOT / "local" / "sam.json").read_bytes())["Parameters"]


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    ledger = Ledger.at(database_url)
    yield ledger
    ledger.close()


def event(name: str) -> dict[str, object]:
    read: dict[str, object] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return read


@pytest.mark.parametrize("name", ["get_prediction", "get_input", "get_output"])
def test_the_record_that_an_event_reads_is_a_prediction_of_the_sample_image(
    ledger: Ledger, database_url: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        make_samples(database_url, event(name))
    assert capsys.readouterr().out == "", "the output is the function's answer"
    record, stored = ledger.get(UUID(PREDICTION_ID), user_id=USER)
    assert (record.status, record.label, record.model_name) == ("succeeded", "7", "mnist")
    assert stored.content == SAMPLE.read_bytes()


def test_the_prediction_that_an_event_delivers_is_queued_each_time(ledger: Ledger, database_url: str) -> None:
    for _ in range(2):
        make_samples(database_url, event("worker"))
        claim = ledger.claim([UUID(QUEUED_ID)], lease_seconds=60)
        assert [one.prediction_id for one in claim.claimed] == [UUID(QUEUED_ID)]


def test_a_scheduled_event_finds_a_prediction_whose_message_was_lost(ledger: Ledger, database_url: str) -> None:
    make_samples(database_url, event("sweep"))
    assert ledger.sweep(queued_seconds=900, processing_seconds=900).requeue == (UUID(QUEUED_ID),)


ASKING = {
    *("get_prediction", "get_input", "get_output", "delete_prediction", "worker", "sweep"),
    *("put_ground_truth", "get_ground_truth", "delete_ground_truth", "post_ground_truth"),
    *("performance", "drift"),
}
"""The events that ask for something that must be there."""


def test_no_other_event_has_anything_made_for_it(ledger: Ledger, database_url: str) -> None:
    for path in FOLDER.glob("*.json"):
        if path.stem not in ASKING:
            make_samples(database_url, event(path.stem))
    make_samples(database_url, {"Records": [{"body": "of my own"}], "pathParameters": {"prediction_id": QUEUED_ID}})
    assert ledger.known_objects([]) == set()
    assert ledger.count_inputs_in_database() == (0, 0)


def test_containers_find_aws_where_sam_is_told(tmp_path: Path) -> None:
    with socket.socket() as listener:
        queue = LocalAws(read_queues(ROOT / "template.yaml"), tmp_path / "log", listener).work_queue
    endpoint = f"http://{THIS_MACHINE}:{AWS_PORT}"
    assert VARIABLES["AWS_ENDPOINT_URL"] == endpoint
    assert VARIABLES["QUEUE_URL"] == f"{endpoint}/{ACCOUNT}/{queue}"
    assert VARIABLES["UPLOADS_BUCKET"] == UPLOADS_BUCKET
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))["default"]
    for command in ("local_invoke", "local_start_api"):
        hosts = [one.removesuffix(":host-gateway") for one in settings[command]["parameters"]["add_host"]]
        assert hosts == [THIS_MACHINE, f"{UPLOADS_BUCKET}.{THIS_MACHINE}"]
        assert settings[command]["parameters"]["env_vars"] == "local/sam.json"


def test_the_template_declares_what_sam_is_told_since_it_passes_on_nothing_else() -> None:
    declared = {name for function in read_template(ROOT / "template.yaml") for name in function.environment}
    assert VARIABLES.keys() <= declared


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"DATABASE_URL": "postgresql://anna@localhost/ledger"}, "DATABASE_URL is set"),
        ({"PATH": "/nowhere"}, "needs Docker, and there is no command `docker`"),
        ({"PATH": "/usr/bin:/bin", "DOCKER_HOST": "unix:///nowhere"}, "needs Docker"),
    ],
)
def test_what_is_missing_is_said_in_a_line(tmp_path: Path, environment: dict[str, str], line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local", "sam", "invoke", "PredictFunction"],
        cwd=ROOT,
        env={"LEDGER_HOME": str(tmp_path / "home"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert line in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
