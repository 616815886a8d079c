"""The clients that others wrote, each run by a Python of its own against the local server."""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.local_server import LocalServer
from tests.support.repository import ROOT

ENVIRONMENTS = ROOT / ".venv-clients"
REQUIREMENTS = ROOT / "tests" / "clients" / "requirements"

ServeModel = Callable[..., LocalServer]
"""Returns the server of a model folder: `serve_model(folder, SETTING="value")`. The same call gets the same server."""

ClientPython = Callable[[str], Path]
"""Returns the Python that has a client library: `client_python("generators")`."""


def python_with(client: str) -> Path:
    """Return the Python that has a client library, in an environment that is made if there is none."""
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
