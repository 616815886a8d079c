"""Start the servers that the benchmarks load, each in processes of its own."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from infra.migrations import upgrade
from tests.benchmarks.child import ChildError, plain_environment
from tests.benchmarks.measure import MODEL, ROOT

_START_TIMEOUT: Final = 180.0  # seconds; TensorFlow alone takes ten or more to import
_STOP_TIMEOUT: Final = 30.0
_SAVE_MODEL: Final = "import sys; from model_artifacts.train_mnist import build_model; build_model().save(sys.argv[1])"
WORKERS: Final = 2
"""Processes of each server that can have several."""


class Server:
    """A running server.

    Attributes
    ----------
    address
        Host and port.
    process
        The process that was started, whatever others it has started since.
    """

    def __init__(self, address: str, process: "subprocess.Popen[Any]") -> None:
        self.address = address
        self.process = process

    def memory(self) -> int:
        """Return the resident memory of all its processes, in bytes."""
        return sum(one.memory_info().rss for one in family(self.process.pid))

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop all its processes meanwhile, so that it takes no processor time from others."""
        stopped = family(self.process.pid)
        for one in stopped:
            one.suspend()
        try:
            yield
        finally:
            for one in stopped:
                one.resume()


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it has started, as far as they still run."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def processor_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that processes and all that they have started have used."""
    seconds = 0.0
    for pid in pids:
        for one in family(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                seconds += times.user + times.system
    return seconds


def python(app: str) -> Path:
    """Return the Python of an app's virtual environment, such as `.venv-plain`."""
    return Path(os.environ.get(f"{app.upper().replace('-', '_')}_PYTHON", ROOT / f".venv-{app}" / "bin" / "python"))


def lacks(app: str, module: str) -> str | None:
    """Return in words what keeps an app from running, or None if nothing does."""
    own = python(app)
    if not own.exists():
        return f"{own} is missing: `make bench` makes it"
    done = subprocess.run([own, "-c", f"import {module}"], env=plain_environment(), capture_output=True, check=False)
    return None if done.returncode == 0 else f"{module} is not in {own.parents[1].name}: it may not be for this Python"


def stored_predictions(url: str) -> int:
    """Return how many predictions a database holds."""
    connection = Connection(parse_database_url(url), longest=60)
    [[count]] = connection.run("SELECT count(*) FROM predictions", {})
    connection.close()
    return int(count)


@contextlib.contextmanager
def plain_app(folder: Path, url: str) -> Iterator[Server]:
    """Run the plain Keras app."""
    own, model = str(python("plain")), folder / "mnist.keras"
    environment = {"DATABASE_URL": url, "MODEL": str(model), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [own, "-c", _SAVE_MODEL, str(model)],
        cwd=ROOT,
        env=plain_environment() | environment,
        check=True,
        capture_output=True,
    )
    port = free_port()
    command = [own, "-m", "uvicorn", "tests.benchmarks.plain_app:app", "--port", str(port)]
    with running(command, environment, port, folder / "plain.log") as server:
        yield server


@contextlib.contextmanager
def by_hand_app(folder: Path, url: str) -> Iterator[Server]:
    """Run the app that one writes by hand."""
    own, port = str(python("by-hand")), free_port()
    environment = {"DATABASE_URL": url, "MODEL": str(MODEL / "model.onnx")}
    subprocess.run(
        [own, "-m", "tests.benchmarks.by_hand_app"], cwd=ROOT, env=plain_environment() | environment, check=True
    )
    command = [own, "-m", "uvicorn", "tests.benchmarks.by_hand_app:app", "--port", str(port), "--no-access-log"]
    with running([*command, "--workers", str(WORKERS)], environment, port, folder / "by_hand.log") as server:
        yield server


@contextlib.contextmanager
def litserve_app(folder: Path) -> Iterator[Server]:
    """Run LitServe, which stores nothing."""
    port = free_port()
    command = [str(python("litserve")), "-m", "tests.benchmarks.litserve_app", str(port)]
    environment = {"MODEL": str(MODEL / "model.onnx"), "WORKERS": str(WORKERS)}
    with running(command, environment, port, folder / "litserve.log") as server:
        yield server


@contextlib.contextmanager
def bentoml_app(folder: Path) -> Iterator[Server]:
    """Run BentoML, which stores nothing."""
    port = free_port()
    own = python("bentoml")
    command = [str(own), "-m", "bentoml", "serve", "tests.benchmarks.bentoml_app:Digits", "--port", str(port)]
    environment = {
        "MODEL": str(MODEL / "model.onnx"),
        "WORKERS": str(WORKERS),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PATH": f"{own.parent}:{os.environ['PATH']}",
    }
    with running(command, environment, port, folder / "bentoml.log") as server:
        yield server


@contextlib.contextmanager
def local_server(folder: Path, url: str, command: Sequence[str] = (sys.executable, "-m", "local")) -> Iterator[Server]:
    """Run the local server until the block ends."""
    port = free_port()
    environment = {
        "DATABASE_URL": url,
        "LEDGER_HOME": str(folder / "home"),
        "MODEL": str(MODEL),
        "PORT": str(port),
    }
    with running(command, environment, port, folder / "local.log") as server:
        yield server


@contextlib.contextmanager
def batching_server(folder: Path, url: str, **settings: str) -> Iterator[Server]:
    """Run the batching server, with settings of its own."""
    upgrade(url)
    port = free_port()
    environment = {
        "DATABASE_URL": url,
        "MODEL": str(MODEL),
        "PORT": str(port),
        "WORKERS": str(WORKERS),
        "AUTH": "off",
        **settings,
    }
    log = folder / f"batching-{port}.log"
    with running([sys.executable, "-m", "local.batching"], environment, port, log) as server:
        yield server


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> Iterator[Server]:
    """Run a server until the block ends, and wait until it takes connections.

    Raises
    ------
    ChildError
        If it does not start.
    """
    with log.open("wb") as output:
        process: subprocess.Popen[Any] = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**plain_environment(), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline and not _answers(port):
            time.sleep(0.2)
        if not _answers(port):
            raise ChildError(f"{' '.join(command)} does not start:\n{log.read_text(errors='replace')[-2000:]}")
        yield Server(f"127.0.0.1:{port}", process)
    finally:
        stop(process)


def stop(process: "subprocess.Popen[Any]") -> None:
    """End a server, and kill what outlives it."""
    left = family(process.pid)[1:] if process.poll() is None else []
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.kill()
    process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
