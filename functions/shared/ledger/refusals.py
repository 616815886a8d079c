"""Count refused requests, without their content: in memory first, then from time to time in the ledger.

docs/decisions/refused-requests.md says what this costs, and what can be lost.
"""

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Final, NamedTuple

from functions.shared.ledger import arrays, refused_statements
from functions.shared.ledger.arrays import Array
from functions.shared.ledger.errors import LedgerError
from functions.shared.ledger.pool import Pool

WRITE_EVERY: Final = 1.0
"""The least seconds between two writes of an execution environment."""

WAIT_AFTER_FAILURE: Final = 30.0
"""Seconds until the next try after a write that failed."""

LONGEST_WRITE: Final = 0.5
"""Seconds that a write may take: the caller whose request was refused waits for it."""

MOST_KINDS: Final = 1000
"""The most kinds of refusals that wait in memory. An API has far fewer routes and statuses."""


class Refused(NamedTuple):
    """A kind of refusal.

    Attributes
    ----------
    day : str
        In UTC, as ``2026-01-31``.
    route : str
        Method and path of the route, such as ``GET /prediction/{prediction_id}``. It never has what a caller wrote.
    status : int
        The HTTP status, 400 to 499.
    """

    day: str
    route: str
    status: int


class Refusals:
    """Counts what was refused, and adds it to the ledger. Safe to share between threads.

    A write uses a connection that is open and idle. It never opens one: otherwise any stranger could wake a sleeping
    database with requests that are refused.

    Parameters
    ----------
    pool : Pool
        The ledger's connections.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: Counter[Refused] = Counter()
        self._next_write = 0.0

    def add(self, route: str, status: int) -> bool:
        """Count one refusal. Return whether it is time to `write`.

        Parameters
        ----------
        route, status
            As in `Refused`.
        """
        kind = Refused(datetime.now(UTC).date().isoformat(), route, status)
        with self._lock:
            if kind in self._waiting or len(self._waiting) < MOST_KINDS:
                self._waiting[kind] += 1
            return time.monotonic() >= self._next_write

    def write(self) -> bool:
        """Add to the ledger what waits in memory. What cannot be written keeps waiting.

        Returns
        -------
        bool
            Whether nothing waits any more. It raises nothing: a count must not fail a request.
        """
        with self._writing:  # the last write, before the connections are closed, waits for one that is under way
            return self._write()

    def _write(self) -> bool:
        with self._lock:
            taken, self._waiting = self._waiting, Counter()
            self._next_write = time.monotonic() + WRITE_EVERY
        if not taken:
            return True
        kinds = sorted(taken)  # all lock the rows in one order: otherwise two environments could deadlock
        parameters = {
            "day": Array(arrays.TEXT, [kind.day for kind in kinds]),
            "route": Array(arrays.TEXT, [kind.route for kind in kinds]),
            "status": Array(arrays.BIGINT, [kind.status for kind in kinds]),
            "requests": Array(arrays.BIGINT, [taken[kind] for kind in kinds]),
        }
        try:
            if self._pool.run_if_open(refused_statements.ADD_REFUSED, parameters, seconds=LONGEST_WRITE):
                return True
            postponed = WRITE_EVERY
        except LedgerError as error:
            if getattr(error, "in_doubt", False):
                taken.clear()  # they may be written: too small a count is better than too large a one
            postponed = WAIT_AFTER_FAILURE
        with self._lock:
            self._waiting.update(taken)
            self._next_write = time.monotonic() + postponed
        return not taken
