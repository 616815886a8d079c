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

_SERVE = """
import os, runpy, sys
if cores := {int(core) for core in sys.argv[1:]}:
    os.sched_setaffinity(0, cores)
sys.argv[1:] = []
runpy.run_module("local.batching", run_name="__main__", alter_sys=True)
"""
_PATIENCE = 30.0  # seconds: half of those in which a process has to say that it is alive


_TWO_CORES = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []


@pytest.fixture
def supervisor(database_url: str) -> Iterator[psutil.Popen]:
    """The server, with two processes, on two cores if there are as many."""
    environment = os.environ | {"DATABASE_URL": database_url, "PORT": "0", "WORKERS": "2", "BATCH_THREADS": "1"}
    process = psutil.Popen(
        [sys.executable, "-c", _SERVE, *map(str, _TWO_CORES)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
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


def _have_a_core_each(supervisor: psutil.Popen) -> bool:
    """Tell whether there are two processes, and all threads of each are on a core of its own."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        cores = [
            {core for thread in one.threads() for core in os.sched_getaffinity(thread.id)}
            for one in _workers(supervisor)
        ]
        return sorted(map(sorted, cores)) == [[core] for core in _TWO_CORES]
    return False


@pytest.mark.skipif(len(_TWO_CORES) < 2, reason="there are no two cores to choose from")
def test_each_process_stays_on_a_core_of_its_own_and_so_does_the_one_that_replaces_it(supervisor: psutil.Popen) -> None:
    _wait_until(lambda: _have_a_core_each(supervisor))
    killed, other = _workers(supervisor)
    kept = other.cpu_affinity()
    time.sleep(2)  # it has to have started before it can be missed
    killed.kill()
    _wait_until(lambda: killed not in _workers(supervisor) and _have_a_core_each(supervisor))
    assert other.cpu_affinity() == kept


@pytest.mark.skipif(len(_TWO_CORES) < 2, reason="there are no two cores to choose from")
def test_processes_that_replace_others_before_those_end_have_their_cores(supervisor: psutil.Popen) -> None:
    _wait_until(lambda: len(_workers(supervisor)) == 2)
    first = _workers(supervisor)
    supervisor.send_signal(signal.SIGHUP)
    _wait_until(lambda: not set(first) & set(_workers(supervisor)) and _have_a_core_each(supervisor))
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(_PATIENCE) == 0
