"""The local server as its user runs it, and a Python for each client library."""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.local_server import LocalServer
from tests.support.repository import ROOT

ENVIRONMENTS = ROOT / ".venv-clients"
REQUIREMENTS = Path(__file__).parent / "requirements"

ServeModel = Callable[..., LocalServer]
"""Returns the server of a model folder: `serve_model(folder, SETTING="value")`. The same call gets the same server."""

ClientPython = Callable[[str], Path]
"""Returns the Python that has a client library: `client_python("generators")`."""


@pytest.fixture(scope="module")
def serve_model() -> Iterator[ServeModel]:
    """Return a function that starts the local server for a model, once a module. Each has a database of its own.

    The folder is not in pytest's temporary folder, which PostgreSQL's system user cannot read if we are root.
    """
    servers: list[LocalServer] = []
    with TemporaryDirectory(prefix="onnx-ledger-") as folder:

        @cache
        def serve(model: Path, **settings: str) -> LocalServer:
            servers.append(LocalServer(Path(folder) / f"home-{len(servers)}", MODEL=str(model), **settings))
            return servers[-1].start()

        yield serve
        for server in servers:
            server.clean_up()


@pytest.fixture(scope="session")
def client_python() -> ClientPython:
    """Return a function that returns the Python of a virtual environment with a client library and nothing of ours.

    The environment is kept in a folder that git ignores, and made again when its requirements or our Python change.
    """
    return cache(_python_with)


def _python_with(client: str) -> Path:
    requirements = REQUIREMENTS / f"{client}.txt"
    environment = ENVIRONMENTS / client
    python, stamp = environment / "bin" / "python", environment / "installed"
    wanted = f"{sys.version}\n{hashlib.sha256(requirements.read_bytes()).hexdigest()}"
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{client}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker of pytest may want the same
        if not (python.exists() and stamp.is_file() and stamp.read_text("utf-8") == wanted):
            stamp.unlink(missing_ok=True)
            command = ["sh", "infra/virtualenv.sh", "install", str(environment), sys.executable, str(requirements)]
            # pip 23, which Python 3.11 brings, holds pandas[parquet] to the version of pandas if that is a constraint.
            command += ["--constraint", str(requirements)]
            # ASKED makes an environment of another Python anew.
            subprocess.run(command, cwd=ROOT, env={**os.environ, "ASKED": sys.executable}, check=True)
            stamp.write_text(wanted, "utf-8")
    return python


def run(program: Path, *arguments: str, cwd: Path, **environment: str) -> str:
    """Run a client to its end, which must be a good one, and return what it printed. It finds none of our modules."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [program, *arguments], cwd=cwd, env={**alone, **environment}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def token_of(server: LocalServer, user: str) -> str:
    """Return a token of a user, for a server with `AUTH=on`."""
    command = [sys.executable, "-m", "local", "token", user]
    environment = {**os.environ, "LEDGER_HOME": str(server.home)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()
