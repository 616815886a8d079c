"""The packages in containers, as `sam local` runs them. Needs Docker (`DOCKER_HOST`); `make test-sam` runs this alone.

Containers reach PostgreSQL through its unix socket: the ledger talks to no other machine without TLS, which the
embedded PostgreSQL does not have. `sam local` mounts nothing but the package, so the socket is put into a copy of each.
"""

import base64
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest

from functions.shared.ledger.ledger import Ledger
from infra.migrations import upgrade
from local.sample_events import USER
from local.services.postgres import EmbeddedPostgres
from local.services.process_guard import GuardedProcess
from tests.support.repository import DIGIT, ROOT
from tests.support.sample_events import (
    EVENTS,
    FUNCTIONS,
    VARIABLES,
    check_result,
    function_of,
    queue_sample,
    store_sample,
)

SAM = ROOT / ".venv-deploy" / "bin" / "sam"
FLAGS = shlex.split(os.environ.get("SAM_FLAGS", ""))
ENVIRONMENT = {**os.environ, "SAM_CLI_TELEMETRY": "0"}

_SOCKET = ".s.PGSQL.5432"
_IN_CONTAINER = "postgresql://ledger@/ledger?host=/var/task/postgres"
_START_TIMEOUT = 60.0  # seconds

# `sam local start-api` hands a binary body over as text: what it can call are the routes that take and give JSON.
_JSON_EVENTS = ("predict_data_uri", "list_predictions", "get_prediction", "describe", "model", "health", "openapi")


@pytest.fixture(scope="module")
def ledger_url() -> Iterator[str]:
    """A migrated ledger with the sample record, for this machine's side."""
    with TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder), durable=False) as postgres:
        upgrade(postgres.url)
        store_sample(postgres.url)
        yield postgres.url


@pytest.fixture(scope="module")
def template(packages: Path, ledger_url: str) -> Iterator[Path]:
    """The template of a copy of what was built, with PostgreSQL's socket in each package."""
    there = Path(ledger_url.partition("?host=")[2]) / _SOCKET
    there.chmod(0o777)  # the folder that it lies in lets nobody in; its second name below is for the container's user
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(packages, folder, dirs_exist_ok=True)
        for function in FUNCTIONS:
            (folder / function / "postgres").mkdir()
            os.link(there, folder / function / "postgres" / _SOCKET)
        yield folder / "template.yaml"


def _settings(template: Path, **variables: str) -> list[str]:
    """Return the options of `sam local` that set functions' environment variables, and those of SAM_FLAGS."""
    file = template.parent / "variables.json"
    file.write_text(json.dumps({"Parameters": {"DATABASE_URL": _IN_CONTAINER, "AUTH": "on", **variables}}))
    return ["--template", str(template), "--env-vars", str(file), *FLAGS]


@pytest.mark.parametrize("name", EVENTS)
def test_sam_local_invoke_answers_a_sample_event(template: Path, ledger_url: str, name: str) -> None:
    if name == "worker":
        queue_sample(ledger_url)
    command: list[str | Path] = [SAM, "local", "invoke", function_of(name).logical_id]
    command += ["--event", ROOT / "local" / "events" / f"{name}.json"]
    command += _settings(template, **VARIABLES.get(name, {}))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=template.parent)
    assert done.returncode == 0, done.stderr
    response = check_result(name, json.loads(done.stdout))
    if response is None or not name.startswith("predict"):
        return
    answer = json.loads(response.body)
    ledger = Ledger.at(ledger_url)
    for prediction in answer.get("predictions", [answer]):
        record, _ = ledger.get(UUID(prediction["prediction_id"]), user_id=USER)
        assert record.output == prediction["prediction"]
    ledger.close()


@pytest.fixture(scope="module")
def api(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a `sam local start-api`. It knows no JWT authorizer, and starts a container for each request."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("api") / "log"
    # Not --warm-containers: sam then watches the packages for changes, and fails over the socket.
    command: list[str | Path] = [SAM, "local", "start-api", "--port", str(port), *_settings(template, AUTH="off")]
    # sam removes its containers when it is interrupted, and takes a while.
    with (
        log.open("wb") as output,
        GuardedProcess(
            command, stop=((signal.SIGINT, 30.0),), cwd=template.parent, env=ENVIRONMENT, stdout=output, stderr=output
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


@pytest.mark.parametrize("name", _JSON_EVENTS)
def test_sam_local_start_api_answers_a_json_route(api: int, name: str) -> None:
    event = EVENTS[name]
    request = event["requestContext"]["http"]
    target = event["rawPath"] + (f"?{event['rawQueryString']}" if event["rawQueryString"] else "")
    connection = HTTPConnection("127.0.0.1", api, timeout=120)
    connection.request(request["method"], target, event.get("body"), {"content-type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == (201 if request["method"] == "POST" else 200), answer
    if name == "get_prediction":
        assert answer["image"] == f"data:image/png;base64,{base64.b64encode(DIGIT.read_bytes()).decode()}"
