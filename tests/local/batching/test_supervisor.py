"""The process that keeps the server's processes running."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.repository import ROOT

_PATIENCE = 30.0  # seconds: half of those in which a process has to say that it is alive


@pytest.fixture
def supervisor(database_url: str) -> Iterator[psutil.Popen]:
    """The server, with two processes."""
    environment = os.environ | {"DATABASE_URL": database_url, "PORT": "0", "WORKERS": "2"}
    process = psutil.Popen(
        [sys.executable, "-m", "local.batching"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    yield process
    for one in [*(process.children(recursive=True) if process.is_running() else []), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def _workers(supervisor: psutil.Popen) -> list[psutil.Process]:
    found = []
    for one in supervisor.children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any("spawn_main" in part for part in one.cmdline()):
                found.append(one)
    return found


def _wait_until(happens: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_process_that_dies_while_it_is_asked_whether_it_is_alive_is_replaced(supervisor: psutil.Popen) -> None:
    _wait_until(lambda: len(_workers(supervisor)) == 2)
    time.sleep(2)  # so that both were asked before
    killed, other = _workers(supervisor)
    killed.send_signal(signal.SIGSTOP)  # it no longer answers
    time.sleep(2)
    killed.kill()
    _wait_until(lambda: len(_workers(supervisor)) == 2 and killed not in _workers(supervisor))
    assert other in _workers(supervisor)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(_PATIENCE) == 0
