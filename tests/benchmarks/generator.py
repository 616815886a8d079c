"""Load a server with wrk where it is installed, otherwise with `load.py`: the same for every system in one run."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.benchmarks.child import ChildError, plain_environment
from tests.benchmarks.measure import ROOT
from tests.benchmarks.requests import first_number

WRK: Final = shutil.which("wrk")
_SCRIPT: Final = Path(__file__).with_name("load.lua")
_PATIENCE: Final = 60  # seconds for one answer


class Load(NamedTuple):
    """What a generator has counted.

    Attributes
    ----------
    stored, refused, cut : int
        Requests that were answered with 2xx, with anything else, and not at all.
    seconds : float
        How long it took.
    p50_ms, p99_ms : float
        Latency of all answers.
    own_seconds : float
        The generator's own processor time.
    server_seconds : float
        That of the server and its database, where whoever measures has looked.
    """

    stored: int
    refused: int
    cut: int
    seconds: float
    p50_ms: float
    p99_ms: float
    own_seconds: float
    server_seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests a second that were answered with 2xx."""
        return self.stored / self.seconds


def name() -> str:
    """Return the generator's name."""
    return "wrk" if WRK else "tests/benchmarks/load.py"


def load(address: str, requests: Path, *, connections: int, seconds: float) -> Load:
    """Send the requests of a folder over a number of connections.

    wrk leaves the last answers, one a connection, unread: a server may store that many more than are counted.

    Raises
    ------
    ChildError
        If the generator fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = _wrk(address, requests, connections, seconds) if WRK else own(address, requests, connections, seconds)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Load(
        stored=measured["stored"],
        refused=measured["refused"],
        cut=measured["cut"],
        seconds=measured["seconds"],
        p50_ms=measured["p50_ms"],
        p99_ms=measured["p99_ms"],
        own_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def own(address: str, requests: Path, connections: int, seconds: float, *, pause: float = 0.0) -> dict[str, Any]:
    """Send requests with `load.py`, which counts each status: see its `load`.

    Raises
    ------
    ChildError
        If it fails.
    """
    command = [sys.executable, "-m", "tests.benchmarks.load", address, str(requests)]
    command += ["--connections", str(connections), "--seconds", str(seconds), "--pause", str(pause)]
    return _output(command, seconds)


def _wrk(address: str, requests: Path, connections: int, seconds: float) -> dict[str, Any]:
    assert WRK is not None
    command = [WRK, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s"]
    command += ["--timeout", f"{_PATIENCE}s", "--script", str(_SCRIPT), f"http://{address}/", "--", str(first_number())]
    command += [str(file) for file in sorted(requests.glob("*.http"))]
    measured = _output(command, seconds)
    measured["stored"] = measured.pop("answers") - measured["refused"]
    return measured


def _output(command: list[str], seconds: float) -> dict[str, Any]:
    done = subprocess.run(
        command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True, timeout=seconds + 2 * _PATIENCE
    )
    if done.returncode:
        raise ChildError(f"{command[0]}: exit status {done.returncode}: {done.stderr[-1000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured
