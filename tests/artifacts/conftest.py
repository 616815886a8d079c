"""The packages of `sam build`, an emulator to run them under, and a ledger with the record that the samples ask for."""

import json
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import ModelIdentity, NewInput, NewPrediction, QueuedPrediction
from infra.build import PYTHON, find_lambda_python, install
from local.gateway.integration import Response, read_result
from local.sample_events import FOLDER, PREDICTION_ID, QUEUED_ID, USER
from local.template import Function, read_template
from tests.infra.conftest import cloudformation, owner_url  # noqa: F401 - fixtures
from tests.support.emulator import Emulator

ROOT = Path(__file__).parents[2]
BUILD = ROOT / ".aws-sam" / "build"
DIGIT = ROOT / "local" / "samples" / "mnist_sample.png"
FUNCTIONS = {function.logical_id: function for function in read_template(ROOT / "template.yaml")}
EVENTS = {path.stem: json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}
VARIABLES = {
    "predict_features": {"MODEL": "model_artifacts/diabetes"},
    "upload": {"UPLOADS_BUCKET": "uploads", "AWS_ACCESS_KEY_ID": "sample", "AWS_SECRET_ACCESS_KEY": "sample"},
    "sweep": {"QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/predictions"},  # nothing is sent there
}
"""What a function needs to be told for a sample event, besides where the ledger is."""

Start = Callable[..., Emulator]


def function_of(name: str) -> Function:
    """Return the function that a sample event is for."""
    key = EVENTS[name].get("routeKey")
    if key is None:
        return FUNCTIONS[f"{name.title()}Function"]
    [function] = [one for one in FUNCTIONS.values() if any(route.key == key for route in one.routes)]
    return function


NO_REQUESTS = {"worker": {"batchItemFailures": []}, "sweep": {"sent": 0, "failed": 0}}
"""What functions return for the events that are no requests, where there is nothing to sweep."""


def check_result(name: str, result: dict[str, Any]) -> Response | None:
    """Check that a sample event went well; return the response where it was a request."""
    event = EVENTS[name]
    if "routeKey" not in event:
        assert result == NO_REQUESTS[name]
        return None
    response = read_result(result)
    assert response.status == (201 if event["requestContext"]["http"]["method"] == "POST" else 200), response.body
    return response


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder with the built packages, each under its function's logical id."""
    if not (BUILD / "template.yaml").exists():
        pytest.exit(f"there is nothing in {BUILD.relative_to(ROOT)}: run `make build` first", returncode=1)
    return BUILD


@pytest.fixture(scope="session")
def lambda_python() -> Path:
    """A CPython of Lambda's version."""
    python = find_lambda_python()
    if python is None:
        pytest.exit(f"the packages are for Python {PYTHON}, and none was found: set LAMBDA_PYTHON", returncode=1)
    return python


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda's Python runtime brings: the runtime interface client, and boto3."""
    folder = tmp_path_factory.mktemp("runtime")
    architecture = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    install(ROOT / "requirements" / "runtime.txt", folder, architecture)
    return folder


@pytest.fixture(scope="session")
def task_root(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Function], Path]]:
    """Copies a package to where nothing of the repository is near, as Lambda unpacks it."""
    folder = tmp_path_factory.mktemp("var")

    def copy(function: Function) -> Path:
        target = folder / function.logical_id
        if not target.exists():
            shutil.copytree(packages / function.logical_id, target)
        return target

    yield copy
    shutil.rmtree(folder)


@pytest.fixture
def start(
    task_root: Callable[[Function], Path], lambda_python: Path, runtime: Path, sampled_ledger: str, tmp_path: Path
) -> Start:
    """Starts an execution environment behind an authorizer, with a ledger that holds the sample record."""

    def start(function: Function, **variables: str) -> Emulator:
        return Emulator(
            function,
            task_root(function),
            python=lambda_python,
            runtime=runtime,
            variables={"DATABASE_URL": sampled_ledger, "AUTH": "on", **variables},
            log=tmp_path / f"{function.logical_id}.log",
        )

    return start


@pytest.fixture
def sampled_ledger(database_url: str) -> str:
    """DATABASE_URL of a ledger with the one record that the sample events ask for."""
    store_sample(database_url)
    return database_url


def store_sample(database_url: str) -> None:
    """Store the record that the sample events ask for."""
    ledger = Ledger.at(database_url)
    model = ModelIdentity("sample", "1", "0" * 64, ("no", "yes"), "classification", "CPUExecutionProvider")
    sample = NewPrediction(
        prediction_id=UUID(PREDICTION_ID),
        input=NewInput(DIGIT.read_bytes(), "image/png", DIGIT.name),
        output=[0.25, 0.75],
        likely_class=1,
        label="yes",
        confidence=0.75,
        predicted_value="yes",
        duration_ms=0.1,
        user_id=USER,
    )
    ledger.store(model, [sample])
    ledger.close()


def queue_sample(database_url: str) -> None:
    """Queue the prediction that the sample event of `worker` is to make."""
    ledger = Ledger.at(database_url)
    digit = NewInput(DIGIT.read_bytes(), "image/png", DIGIT.name)
    ledger.enqueue(QueuedPrediction(prediction_id=UUID(QUEUED_ID), input=digit, user_id=USER))
    ledger.close()


@dataclass(frozen=True)
class Timing:
    """How long a sample event took, in seconds."""

    event: str
    function: str
    cold: float
    warm: list[float]


TIMINGS = pytest.StashKey[list[Timing]]()


@pytest.fixture
def report_timing(pytestconfig: pytest.Config) -> Callable[[Timing], None]:
    """Adds a line to the table that is printed at the end."""
    return pytestconfig.stash.setdefault(TIMINGS, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how long the sample events took."""
    timings = config.stash.get(TIMINGS, [])
    if not timings:
        return
    terminalreporter.section("from the start of the runtime to the answer, and the median once it is warm")
    terminalreporter.write_line(f"{'event':<18}{'function':<26}{'cold ms':>8}{'warm ms':>9}")
    for one in timings:
        cold, warm = one.cold * 1000, median(one.warm) * 1000
        terminalreporter.write_line(f"{one.event:<18}{one.function:<26}{cold:>8.0f}{warm:>9.1f}")
