"""The image of the server that batches, as docker runs it: from the first prediction over a stop to the next start.

Needs Docker (`DOCKER_HOST`); `make test-sam` runs this.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from uuid import UUID

import pytest
import yaml

from functions.shared.ledger.ledger import Ledger
from local.services.postgres import EmbeddedPostgres
from tests.support.ports import free_port
from tests.support.readme import commands
from tests.support.repository import DIGIT, ROOT

KINDS = {"cpu": "onnx-ledger-test", "gpu": "onnx-ledger-gpu-test"}
COMPOSE_FILE = "local/server/compose.yaml"
COMPOSE = yaml.safe_load((ROOT / COMPOSE_FILE).read_text("utf-8"))
MIGRATE = COMPOSE["services"]["migrate"]["command"]
_START_TIMEOUT = 120.0  # seconds
_STOP_SECONDS = 10


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def build(kind: str) -> str:
    docker("build", "--network", "host", "-f", f"local/Dockerfile.{kind}", "-t", KINDS[kind], ".")
    return KINDS[kind]


@pytest.fixture(scope="module")
def image() -> str:
    """The image for CPUs, built of this commit."""
    return build("cpu")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """DATABASE_URL of an empty database, which a container reaches through the network of this machine."""
    with (
        TemporaryDirectory(prefix="onnx-ledger-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", listen="127.0.0.1", port=free_port()) as postgres,
    ):
        yield postgres.tcp_url


class Server:
    """A container of the server."""

    def __init__(self, image: str, database: str, **variables: str) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        settings = {
            "DATABASE_URL": database,
            "PORT": str(self.port),
            "METRICS_PORT": str(self.metrics_port),
            "WORKERS": "2",
            "STOP_SECONDS": str(_STOP_SECONDS),
            **variables,
        }
        options = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
        # As compose.yaml and kubernetes.yaml confine it.
        confined = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        self.name = docker("run", "--detach", "--network", "host", *confined, *options, image).strip()

    def wait_until_ready(self) -> None:
        until = time.monotonic() + _START_TIMEOUT
        while True:
            with contextlib.suppress(OSError, HTTPException):
                if self.call("GET", "/v2/health/ready")[0] == 200:
                    return
            assert time.monotonic() < until, self.log()
            assert docker("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true", self.log()
            time.sleep(0.5)

    def call(self, method: str, path: str, body: bytes | None = None, port: int | None = None) -> tuple[int, bytes]:
        with contextlib.closing(HTTPConnection("127.0.0.1", port or self.port, timeout=60)) as connection:
            connection.request(method, path, body, {"content-type": "image/png"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def predict(self) -> UUID:
        prediction_id = self.try_to_predict()
        assert prediction_id is not None, self.log()
        return prediction_id

    def try_to_predict(self) -> UUID | None:
        """Predict, and return the id; None if the server takes no requests."""
        try:
            status, body = self.call("POST", "/prediction", DIGIT.read_bytes())
        except (ConnectionError, RemoteDisconnected):
            return None
        assert status in {201, 503}, body
        return UUID(json.loads(body)["prediction_id"]) if status == 201 else None

    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name)


@contextlib.contextmanager
def started(image: str, database: str) -> Iterator[Server]:
    docker("run", "--rm", "--network", "host", "--env", f"DATABASE_URL={database}", image, *MIGRATE)
    server = Server(image, database)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.remove()


@pytest.fixture
def server(image: str, database: str) -> Iterator[Server]:
    with started(image, database) as server:
        yield server


def test_a_stop_finishes_what_was_taken_and_nothing_is_lost(server: Server, database: str) -> None:
    answered: list[UUID] = [server.predict()]
    stopping = Event()

    def client() -> list[UUID]:
        mine: list[UUID] = []
        while not stopping.is_set() and (prediction_id := server.try_to_predict()) is not None:
            mine.append(prediction_id)
        return mine

    with ThreadPoolExecutor(4) as clients:
        running = [clients.submit(client) for _ in range(4)]
        time.sleep(2)
        docker("stop", "--time", str(_STOP_SECONDS + 10), server.name)  # SIGTERM, then SIGKILL
        stopping.set()
        answered += [one for future in running for one in future.result()]
    state = json.loads(docker("inspect", "--format", "{{json .State}}", server.name))
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False), server.log()

    docker("start", server.name)
    server.wait_until_ready()
    answered.append(server.predict())

    assert len(answered) == len(set(answered)) > 2
    with contextlib.closing(Ledger.at(database)) as ledger:
        for prediction_id in answered:
            record, stored = ledger.get(prediction_id, user_id=None)
            assert (record.label, stored.content) == ("7", DIGIT.read_bytes())


def test_it_runs_as_nobody_and_writes_nowhere_but_below_tmp(server: Server) -> None:
    assert docker("exec", server.name, "id", "-u").strip() == "10001"
    assert docker("diff", server.name).strip() == ""


def test_dockers_health_check_and_the_metrics_answer(server: Server, image: str) -> None:
    server.predict()
    [check] = json.loads(docker("inspect", "--format", "[{{json .Config.Healthcheck.Test}}]", image))
    assert docker("exec", server.name, *check[1:]) == ""
    status, text = server.call("GET", "/metrics", port=server.metrics_port)
    assert status == 200
    assert b"onnx_ledger_predictions_total 1.0" in text


def test_the_image_for_gpus_serves_on_the_cpu_as_well(database: str) -> None:
    with started(build("gpu"), database) as server:
        server.predict()


def test_the_readmes_lines_are_those_that_are_tried_here() -> None:
    _, images, compose, *_ = commands("Serve it from a container or a GPU")
    build_line, migrate_line, run_line = (line.split() for line in images.splitlines())
    assert build_line == ["docker", "build", "-f", "local/Dockerfile.cpu", "-t", "onnx-ledger", "."]
    migrate = MIGRATE[: MIGRATE.index("--or-newer")]
    assert migrate_line == ["docker", "run", "--rm", "--env", "DATABASE_URL", "onnx-ledger", *migrate]
    assert run_line == ["docker", "run", "--env", "DATABASE_URL", "--publish", "3000:3000", "onnx-ledger"]
    assert compose.split() == ["docker", "compose", "-f", COMPOSE_FILE, "up", "--build"]
    docker("compose", "-f", COMPOSE_FILE, "config", "--quiet")
