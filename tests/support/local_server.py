"""`python -m local` as a separate process, for tests that need the whole server."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.support.repository import ROOT

PROJECT = ROOT / "tests" / "local" / "project"

_READY = re.compile(r"ready on (http://\S+)")
_PATIENCE = 120.0  # seconds; a first start makes a database, and a machine may be busy


class LocalServer:
    """A local server, with all processes that it starts.

    Parameters
    ----------
    home
        Its `LEDGER_HOME`. A file beside it receives what the server prints.
    **environment
        Environment variables that override the test's own. The default for `TEMPLATE` is the project's template, and
        for `PORT` any free port.

    Attributes
    ----------
    process
        The process, after `launch`.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self._mark = str(uuid4())
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "MODEL", "SERVER"}},
            "PORT": "0",
            "LEDGER_HOME": str(home),
            **environment,
            "LOCAL_SERVER_MARK": self._mark,
        }
        self._out = home.with_name(f"{home.name}.{self._mark}.out")

    def launch(self, *arguments: str, under_nohup: bool = False) -> "LocalServer":
        """Start the process and return at once.

        A child inherits an ignored SIGHUP. Say here whether it is ignored, so that a test passes under `nohup` too.
        """
        inherited = signal.signal(signal.SIGHUP, signal.SIG_IGN if under_nohup else signal.SIG_DFL)
        with contextlib.ExitStack() as after, self._out.open("w") as out:
            after.callback(signal.signal, signal.SIGHUP, inherited)
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
            )
        return self

    def start(self) -> "LocalServer":
        """Start the process and wait until it serves."""
        self.launch()
        self.wait_for(_READY.pattern)
        return self

    @property
    def address(self) -> str:
        """The address of the server, such as `http://127.0.0.1:40001`."""
        found = _READY.search(self.output)
        assert found, self.output
        return found[1]

    @property
    def output(self) -> str:
        """What it has printed so far, on standard output and standard error."""
        return self._out.read_text()

    @property
    def functions_log(self) -> str:
        """What its functions have logged so far."""
        return (self.home / "logs" / "functions.log").read_text()

    def wait_for(self, pattern: str) -> None:
        """Wait until it has printed something that matches a pattern."""
        until = time.monotonic() + _PATIENCE
        while not re.search(pattern, self.output):
            assert self.process.poll() is None, self.output
            assert time.monotonic() < until, self.output
            time.sleep(0.02)

    def wait(self) -> int:
        """Wait until the process ends, and return its exit status."""
        return self.process.wait(_PATIENCE)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ask it to stop, and return its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def processes(self) -> list[psutil.Process]:
        """Return the processes that still run: the server, its functions and its database."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_until_gone(self, seconds: float) -> list[psutil.Process]:
        """Wait until none of its processes runs, and return those that still run after some seconds."""
        until = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.02)
        return left

    def kill_everything(self) -> None:
        """Kill the server, its functions and PostgreSQL, so that none of them can clean up."""
        processes = self.processes()
        assert any(process.name().startswith("postgres") for process in processes)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended with one that was killed before
                process.kill()
        psutil.wait_procs(processes, timeout=30)

    def clean_up(self) -> None:
        """Kill the processes that still run."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended with one that was killed before
                process.kill()
        if hasattr(self, "process"):
            self.process.wait()

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return (
                process.status() != psutil.STATUS_ZOMBIE and process.environ().get("LOCAL_SERVER_MARK") == self._mark
            ) or str(self.home) in " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


Serve = Callable[..., LocalServer]
"""Makes a server with the given environment variables."""

both_servers = pytest.mark.parametrize("server", ["lambda", "batching"], indirect=True)
"""Runs a test with the look-alikes of AWS, and with the server that batches."""


def exchange(server: LocalServer, request: bytes) -> bytes:
    """Send bytes to a server, and return the bytes of its answer."""
    url = httpx.URL(server.address)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(request)
        received = b""
        while not re.search(rb"\r\n\r\n.*\}\Z", received, re.DOTALL) and (chunk := connection.recv(65536)):
            received += chunk
    return received
