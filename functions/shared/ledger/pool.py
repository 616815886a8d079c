"""The connection pool of an execution environment: small, opened on demand, with dead connections replaced.

DBUtils, the usual pool, wraps DB-API 2 connections. These are not DB-API 2 connections (`connection` says why), and a
pool for them is small.
"""

import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from functions.shared import wait_budget
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError, StatementInterruptedError
from functions.shared.ledger.login import LONGEST_WAIT

SIZE = 4
ACQUIRE_TIMEOUT = 1.5  # seconds
# Seconds. AWS's NAT gateways and load balancers drop an idle connection after 350 seconds without telling either end.
# Using it then costs UNACKNOWLEDGED_TIMEOUT, while opening a new connection costs a few milliseconds.
MAX_IDLE = 300.0


class Pool:
    """A bounded pool of connections, safe to share between threads.

    Parameters
    ----------
    connect : Callable
        Opens a connection; raises `LedgerUnavailableError`. Its argument says when to give up, on the monotonic clock.
    size : int
        The maximum number of open connections.
    acquire_timeout : float
        Seconds to wait for a free connection.
    max_idle : float
        Seconds after which an idle connection is replaced instead of reused.
    longest : float
        Seconds that `run` may take, all its attempts together. A request's `wait_budget` may end it earlier.
    """

    def __init__(
        self,
        connect: Callable[[float], Connection],
        *,
        size: int = SIZE,
        acquire_timeout: float = ACQUIRE_TIMEOUT,
        max_idle: float = MAX_IDLE,
        longest: float = LONGEST_WAIT,
    ) -> None:
        self._connect = connect
        self._size = size
        self._acquire_timeout = acquire_timeout
        self._max_idle = max_idle
        self._longest = longest
        # A semaphore with one entry per connection that may still be lent. SimpleQueue is written in C and thus faster.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(size):
            self._free.put(None)
        # Idle connections with the time of their return, the last used at the right end. The time is wall-clock time:
        # the monotonic clock may stop while the environment is frozen.
        self._idle: deque[tuple[Connection, float]] = deque()

    @contextlib.contextmanager
    def connection(self, *, new: bool = False, until: float | None = None) -> Iterator[Connection]:
        """Lend a usable connection outside any transaction, and keep it afterwards if it is still usable.

        Parameters
        ----------
        new : bool
            Close all idle connections and open a new one, instead of reusing one.
        until : float or None
            When to stop waiting for it, on the monotonic clock; None for as long as `run` may take.

        Raises
        ------
        LedgerUnavailableError
            If no connection becomes free in time or none can be opened.
        """
        connection = self._lend(time.monotonic() + self._longest if until is None else until, new=new)
        try:
            yield connection
        finally:
            self._take_back(connection)

    def open(self) -> Connection:
        """Open a connection that the pool neither counts nor keeps; whoever asked for it closes it.

        Raises
        ------
        LedgerUnavailableError
            If there is no way in.
        """
        return self._connect(time.monotonic() + self._longest)

    def run(self, sql: str, parameters: Mapping[str, object], *, keep: bool = True) -> list[list[Any]]:
        """Run one statement, and repeat it on a new connection if it is interrupted and time is left.

        The first attempt may have been committed although its acknowledgement was lost: a statement that is not safe to
        repeat would store its rows twice. All statements of the ledger are safe, because the caller generates the ids.

        Parameters
        ----------
        sql, parameters, keep
            As in `Connection.run`.

        Returns
        -------
        list of list
            The rows.

        Raises
        ------
        LedgerError
            As in `Connection.run` and `connection`.
        """
        began = time.monotonic()
        try:
            return self._run(sql, parameters, keep=keep, until=began + wait_budget.left(self._longest))
        except LedgerError:
            wait_budget.spend(time.monotonic() - began)
            raise

    def _run(self, sql: str, parameters: Mapping[str, object], *, keep: bool, until: float) -> list[list[Any]]:
        connection = self._lend(until)
        try:
            return connection.run(sql, parameters, keep=keep, until=until)
        except StatementInterruptedError as error:
            in_doubt = error.in_doubt
        finally:
            self._take_back(connection)
        # What ended this connection (a failover, a frozen environment) has most likely ended the other ones too.
        try:
            with self.connection(new=True, until=until) as another:
                return another.run(sql, parameters, keep=keep, until=until)
        except LedgerUnavailableError as error:
            error.in_doubt = error.in_doubt or in_doubt  # the first attempt may have been committed
            raise

    def run_if_open(self, sql: str, parameters: Mapping[str, object], *, seconds: float) -> bool:
        """Run one statement on a connection that is open and idle, once, and open none.

        The connection is closed no later for it: a database that nobody else uses can go to sleep.

        Parameters
        ----------
        sql, parameters
            As in `Connection.run`. The statement need not be safe to repeat.
        seconds : float
            How long it may take.

        Returns
        -------
        bool
            False if there is no such connection, and nothing was done.

        Raises
        ------
        LedgerError
            As in `Connection.run`.
        """
        try:
            self._free.get_nowait()
        except queue.Empty:
            return False
        try:
            found = self._take_idle()
        except BaseException:
            self._free.put(None)
            raise
        if found is None:
            self._free.put(None)
            return False
        connection, since = found
        try:
            connection.run(sql, parameters, until=time.monotonic() + wait_budget.left(seconds))
        finally:
            self._take_back(connection, since)
        return True

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are open and idle, and how many are in use, about now."""
        return len(self._idle), self._size - self._free.qsize()

    def close(self) -> None:
        """Close the idle connections. The pool stays usable and opens new ones."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread took it first
                self._idle.pop()[0].close()

    def _lend(self, until: float, *, new: bool = False) -> Connection:
        seconds = min(self._acquire_timeout, max(until - time.monotonic(), 0))
        try:
            self._free.get(timeout=seconds)
        except queue.Empty:
            busy = f"all {self._size} connections have been busy for {seconds:.2g} s"
            raise LedgerUnavailableError(busy) from None
        try:
            if new:
                self.close()
                return self._connect(until)
            found = self._take_idle()
            return self._connect(until) if found is None else found[0]
        except BaseException:
            self._free.put(None)
            raise

    def _take_back(self, connection: Connection, since: float | None = None) -> None:
        if connection.is_idle():
            self._idle.append((connection, time.time() if since is None else since))
        else:
            connection.close()
        self._free.put(None)

    def _take_idle(self) -> tuple[Connection, float] | None:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.time() - since < self._max_idle and connection.is_usable():
                return connection, since
            connection.close()
