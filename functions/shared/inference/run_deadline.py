"""End a run of the model that takes too long: the caller would be gone, or the function killed, before it is over.

ONNX Runtime looks at a flag between two nodes of a graph, also of the graph inside a loop; a single node cannot be
ended. The flag is set by one thread for all runs, which looks at them twice a second. A thread for each run would take
a tenth of a millisecond to start, which is as long as the run of a small model.
"""

import os
import threading
import time
from contextvars import ContextVar
from typing import Final

# The wheel contains a telemetry client that reads this at import. Without it, usage data could leave the deployment.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

_LOOKS_EVERY: Final = 0.5  # seconds
_LOOKS_AGAIN: Final = 20  # times, before the thread ends for want of runs


class _Limit:
    __slots__ = ("deadline", "options")

    def __init__(self) -> None:
        self.deadline = 0.0
        self.options = onnxruntime.RunOptions()


_current: Final[ContextVar[_Limit | None]] = ContextVar("run_deadline", default=None)

_spare: Final[list[_Limit]] = []
"""Limits to use again: the runtime's options take longer to make than the rest."""


class _Watch:
    """The limits of all runs in this process, and the thread that looks at them."""

    def __init__(self) -> None:
        self._limits: set[_Limit] = set()
        self._lock = threading.Lock()
        self._looks = False

    def add(self, limit: _Limit) -> None:
        with self._lock:
            self._limits.add(limit)
            if self._looks:
                return
            self._looks = True
        threading.Thread(target=self._look, name="run deadline", daemon=True).start()

    def remove(self, limit: _Limit) -> None:
        with self._lock:
            self._limits.discard(limit)

    def _look(self) -> None:
        idle = 0
        while True:
            time.sleep(_LOOKS_EVERY)
            now = time.monotonic()
            with self._lock:
                idle = 0 if self._limits else idle + 1
                if idle > _LOOKS_AGAIN:
                    self._looks = False
                    return
                for limit in self._limits:
                    if now > limit.deadline:
                        limit.options.terminate = True


_watch = _Watch()


def _forget() -> None:
    """Begin anew: a process that was forked has no other thread than the one that forked it."""
    global _watch
    _watch = _Watch()


os.register_at_fork(after_in_child=_forget)


class limited:  # noqa: N801 - it is used as a function is
    """End the runs of the block, all of them together, after so many seconds, give or take half a second.

    A class, because every prediction enters it, and a generator takes twice as long.
    """

    __slots__ = ("_before", "_limit", "_seconds", "_watch")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        """Begin to count."""
        self._watch = _watch
        try:
            limit = _spare.pop()
        except IndexError:
            limit = _Limit()
        limit.deadline = time.monotonic() + self._seconds
        self._limit = limit
        self._watch.add(limit)
        self._before = _current.set(limit)

    def __exit__(self, *_: object) -> None:
        """Forget the limit."""
        _current.reset(self._before)
        self._watch.remove(self._limit)
        if not self._limit.options.terminate:
            _spare.append(self._limit)


def options() -> "onnxruntime.RunOptions | None":
    """Return what a run must be given to be ended in time; None outside such a block."""
    limit = _current.get()
    return None if limit is None else limit.options


def passed() -> bool:
    """Tell whether a run was ended, or would be."""
    limit = _current.get()
    return limit is not None and bool(limit.options.terminate)
