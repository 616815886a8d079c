"""Run a benchmark in its own process, so that nothing else's imports, logs or memory distort its figures.

A child is a module with `measure() -> dict`, and is run as `python -m tests.benchmarks.child module`. Its standard
output is a pipe that the parent reads, because on Lambda every line of the log goes through a pipe too.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.migrations import upgrade
from local.services.postgres import EmbeddedPostgres
from tests.benchmarks.measure import MODEL, ROOT

RESULT = "BENCHMARK_RESULT"


class ChildError(Exception):
    """A child process has failed; its standard error says why."""


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Run an empty ledger that is as durable as in production, and yield its DATABASE_URL."""
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-") as folder, EmbeddedPostgres(Path(folder)) as server:
        upgrade(server.url)
        yield server.url


def function_environment(database_url: str, name: str = "predict") -> dict[str, str]:
    """Return the environment variables of an execution environment."""
    return {
        **plain_environment(),
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "DATABASE_URL": database_url,
        "MODEL": str(MODEL),
        "PYTHONPATH": str(ROOT),
        "LOG_LEVEL": "INFO",
    }


def plain_environment() -> dict[str, str]:
    """Return this process's environment without the `PYTHON...` variables, which could turn off bytecode, say."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run_child(module: str, database_url: str) -> dict[str, Any]:
    """Run a module's `measure` in its own process and return the result.

    Raises
    ------
    ChildError
        If the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", __name__, module]
        environment = function_environment(database_url) | {RESULT: str(result)}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while os.read(process.stdout.fileno(), 65536):
                pass  # read the log as fast as it comes, or a full pipe would slow the child down
        if process.returncode != 0:
            raise ChildError(f"{module}: exit status {process.returncode}")
        measured: dict[str, Any] = json.loads(result.read_text())
        return measured


if __name__ == "__main__":
    Path(os.environ[RESULT]).write_text(json.dumps(importlib.import_module(sys.argv[1]).measure()))
