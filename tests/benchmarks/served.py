"""Compare the local server under load with the plain Keras app on the same machine."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from local.services.postgres import EmbeddedPostgres
from tests.benchmarks.child import ChildError, plain_environment
from tests.benchmarks.digits import write_digits
from tests.benchmarks.measure import MODEL, ROOT, Progress, Row

ROUNDS = 6
SECONDS = 4
CONNECTIONS = 8
START_TIMEOUT = 180.0  # seconds; TensorFlow alone takes ten or more to import
PLAIN_PYTHON = Path(os.environ.get("PLAIN_PYTHON", ROOT / ".venv-plain" / "bin" / "python"))
"""The Python with the plain app's libraries (`requirements/plain_app.txt`)."""

SAVE_MODEL = "import sys; from model_artifacts.train_mnist import build_model; build_model().save(sys.argv[1])"


def rows(progress: Progress) -> list[Row]:
    """Load both servers in turn, and count what each has stored."""
    if not PLAIN_PYTHON.exists():
        raise ChildError(f"{PLAIN_PYTHON} is missing: the plain app needs requirements/plain_app.txt installed there")
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-")))
        (folder / "digits").mkdir()
        write_digits(folder / "digits")
        progress("starting the plain app and the local server")
        addresses, urls = {}, {}
        for name, start in (("plain", _plain_app), ("ours", local_server)):
            server = EmbeddedPostgres(folder / name)
            running.callback(server.stop)
            urls[name] = server.start()
            addresses[name] = running.enter_context(start(folder, urls[name]))
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in addresses}
        for name, address in addresses.items():
            load(address, folder / "digits", 2)  # warm: TensorFlow traces, environments start
            progress(f"{name} is warm")
        stored = {name: _count(url) for name, url in urls.items()}
        for number in range(1, ROUNDS + 1):
            for name, address in addresses.items():
                progress(f"round {number} of {ROUNDS}: {name}, {SECONDS} s")
                measured[name].append(load(address, folder / "digits", SECONDS))
        for name, url in urls.items():
            new = _count(url) - stored[name]
            answered = sum(one["stored"] for one in measured[name])
            if new != answered or any(one["refused"] for one in measured[name]):
                raise ChildError(f"{name}: {answered} answered 201, {new} stored, {measured[name]}")
    return [_row(measured["plain"], measured["ours"])]


def _row(plain: list[dict[str, float]], ours: list[dict[str, float]]) -> Row:
    """Compare only loads of the same round, which follow each other closely: a machine's speed changes in seconds."""
    ratio = median(
        (one["stored"] / one["seconds"]) / (other["stored"] / other["seconds"])
        for one, other in zip(ours, plain, strict=True)
    )
    rates = {
        name: sum(one["stored"] for one in own) / sum(one["seconds"] for one in own)
        for name, own in (("plain", plain), ("ours", ours))
    }
    parts = {
        "ours_per_s": round(rates["ours"], 1),
        "plain_per_s": round(rates["plain"], 1),
        "ours_p50_ms": round(min(one["p50_ms"] for one in ours), 2),
        "plain_p50_ms": round(min(one["p50_ms"] for one in plain), 2),
        "generator_share_of_a_core": round(
            sum(one["own_seconds"] for one in ours) / sum(o["seconds"] for o in ours), 3
        ),
    }
    what = f"the local server, {CONNECTIONS} connections, each digit stored: requests/s over the plain Keras app"
    return Row(what, ratio, 60, at_most=False, parts=parts)


def load(address: str, digits: Path, seconds: float) -> dict[str, float]:
    """Load a server, and return what the generator has counted."""
    command = [sys.executable, "-m", "tests.benchmarks.load", address, str(digits)]
    command += ["--connections", str(CONNECTIONS), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, env=plain_environment(), stdout=subprocess.PIPE, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _count(url: str) -> int:
    connection = Connection(parse_database_url(url))
    [[count]] = connection.run("SELECT count(*) FROM predictions", {})
    connection.close()
    return int(count)


@contextlib.contextmanager
def _plain_app(folder: Path, url: str) -> Iterator[str]:
    model = folder / "mnist.keras"
    environment = plain_environment() | {
        "DATABASE_URL": url,
        "MODEL": str(model),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    subprocess.run(
        [PLAIN_PYTHON, "-c", SAVE_MODEL, str(model)], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    port = _free_port()
    command = [str(PLAIN_PYTHON), "-m", "uvicorn", "tests.benchmarks.plain_app:app", "--port", str(port)]
    with _running(command, environment, port, folder / "plain.log") as address:
        yield address


@contextlib.contextmanager
def local_server(folder: Path, url: str, command: Sequence[str] = (sys.executable, "-m", "local")) -> Iterator[str]:
    """Run the local server until the block ends, and give its address."""
    port = _free_port()
    environment = plain_environment() | {
        "DATABASE_URL": url,
        "LEDGER_HOME": str(folder / "home"),
        "MODEL": str(MODEL),
        "PORT": str(port),
    }
    with _running(command, environment, port, folder / "local.log") as address:
        yield address


@contextlib.contextmanager
def _running(command: Sequence[str], environment: dict[str, str], port: int, log: Path) -> Iterator[str]:
    """Run a server until the block ends, and wait until it takes connections."""
    with log.open("wb") as output:
        process: subprocess.Popen[Any] = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline and not _answers(port):
            time.sleep(0.2)
        if not _answers(port):
            raise ChildError(f"{' '.join(command)} does not start:\n{log.read_text(errors='replace')[-2000:]}")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
