"""The packages of `sam build`, an emulator to run them under, and a ledger with the record that the samples ask for."""

import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from infra.build import PYTHON, find_lambda_python, install
from local.template import Function
from tests.support.emulator import Emulator, Start
from tests.support.repository import ROOT
from tests.support.sample_events import Timing, store_sample

BUILD = ROOT / ".aws-sam" / "build"


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
