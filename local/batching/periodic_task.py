"""What one of all servers does from time to time: on Lambda, EventBridge starts it."""

import threading
import time
from collections.abc import Callable
from typing import Final

from functions.shared.ledger.errors import LedgerError
from functions.shared.ledger.ledger import Ledger
from functions.shared.log import logger
from functions.shared.object_storage.errors import ObjectStoreError

LONGEST: Final = 600.0
"""Seconds that a task may take, as on Lambda. The next carries on."""

_LOOK_AGAIN: Final = 60.0  # seconds between two looks whether a task is due, if its period is not shorter


class PeriodicTask:
    """A task that runs in a thread of its own: a long one holds nobody's prediction up.

    Parameters
    ----------
    name
        Under which the ledger keeps when it began last.
    ledger
        Its own. It is closed in the end.
    run
        Runs it. Its argument returns the milliseconds that are left.
    stopping
        Set when it is to end soon.
    period
        Seconds from one beginning to the next, of all servers together.
    """

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        run: Callable[[Callable[[], int]], object],
        stopping: threading.Event,
        *,
        period: float,
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._run = run
        self._period = period
        self._look_at = 0.0
        self._thread: threading.Thread | None = None
        self._stopping = stopping

    def begin_if_due(self, ledger: Ledger) -> None:
        """Begin unless it runs, or some server has begun it lately, which this ledger knows.

        Raises
        ------
        LedgerError
            If the database cannot be reached.
        """
        if time.monotonic() < self._look_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._look_at = time.monotonic() + min(self._period, _LOOK_AGAIN)
        if ledger.begin_task(self._name, period=self._period):
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def join(self, until: float) -> None:
        """Wait for its end, but not longer than this moment on the monotonic clock."""
        if self._thread is not None:
            self._thread.join(max(0.0, until - time.monotonic()))
        self._ledger.close()

    def _work(self) -> None:
        until = time.monotonic() + LONGEST
        try:
            self._run(lambda: 0 if self._stopping.is_set() else int((until - time.monotonic()) * 1000))
        except (LedgerError, ObjectStoreError) as error:
            logger.error("a task has not come to its end; the next carries on", task=self._name, reason=str(error))
