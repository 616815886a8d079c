"""Time contenders against each other, and describe the results."""

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "model_artifacts" / "mnist"

Progress = Callable[[str], None]
"""Called with a line that tells the waiting user what is being measured."""


@dataclass(frozen=True)
class Row:
    """One line of the table: a ratio and its target.

    Attributes
    ----------
    what : str
        What is divided by what.
    measured : float
        The ratio, or a count.
    target : float
        The bound that `measured` must keep.
    at_most : bool
        Whether the target is an upper bound; otherwise it is a lower bound.
    parts : dict
        The figures that the ratio is made of. Each name ends with its unit.
    """

    what: str
    measured: float
    target: float
    at_most: bool = True
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Tell whether the target is reached."""
        return self.measured <= self.target if self.at_most else self.measured >= self.target

    def to_json(self) -> dict[str, Any]:
        """Return the row as it is written to the file of results."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the row that the file of results contains."""
        return cls(**value)


def interleave(seconds: float, *contenders: Callable[[], object], least: int = 30) -> list[list[float]]:
    """Call the contenders in turn, A B A B, and time every call.

    Noise of the machine that lasts longer than a call then affects all contenders alike, and the median ignores shorter
    noise.

    Parameters
    ----------
    seconds : float
        How long to go on.
    *contenders : Callable
        The functions to call.
    least : int
        The number of rounds to make even if they take longer than `seconds`.

    Returns
    -------
    list of list of float
        For each contender, the durations of its calls in milliseconds.
    """
    durations: list[list[float]] = [[] for _ in contenders]
    pairs = list(zip(contenders, durations, strict=True))
    clock = time.perf_counter
    end = clock() + seconds
    while clock() < end or len(durations[0]) < least:
        for call, own in pairs:
            began = clock()
            call()
            own.append((clock() - began) * 1000)
    return durations


def in_turn(seconds: float, *contenders: Callable[[], float], least: int = 30) -> list[list[float]]:
    """Call the contenders in turn, as `interleave` does, where each says itself how long it took.

    Parameters
    ----------
    seconds : float
        How long to go on.
    *contenders : Callable
        The functions to call. Each returns milliseconds.
    least : int
        The number of rounds to make even if they take longer than `seconds`.

    Returns
    -------
    list of list of float
        For each contender, what its calls returned.
    """
    durations: list[list[float]] = [[] for _ in contenders]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(durations[0]) < least:
        for call, own in zip(contenders, durations, strict=True):
            own.append(call())
    return durations


def medians(durations: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each contender, rounded to the microsecond."""
    return [round(median(own), 3) for own in durations]


@contextlib.contextmanager
def on_one_core(number: int) -> Iterator[None]:
    """Have all processes of a round started on the same core, and those of the next round on the next one.

    The cores of a virtual machine are not alike: what others do beside it makes one of them half as fast for a while,
    and which of them a contender lands on would be most of its ratio.
    """
    if not hasattr(os, "sched_setaffinity"):  # not Linux
        yield
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})  # what is started inherits it
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def machine() -> str:
    """Describe in one line the machine that the figures are measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open() as lines:
            cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpu}, {cores} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"
