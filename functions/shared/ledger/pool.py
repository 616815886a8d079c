"""The connections of one execution environment: few, opened when needed, replaced when dead.

DBUtils, the usual choice, wraps DB-API 2 connections; ours are not (`connection` says why), and what is left of a pool
for them is small.
"""

import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.errors import LedgerUnavailableError, StatementInterruptedError

SIZE = 4
ACQUIRE_TIMEOUT = 5.0  # seconds
# Seconds. AWS's NAT gateways and load balancers forget a silent connection after 350, without telling either end; one
# used after that costs UNACKNOWLEDGED_TIMEOUT to find out, a new one some milliseconds.
MAX_IDLE = 300.0


class Pool:
    """A bounded pool of connections, safe to share between threads.

    Parameters
    ----------
    connect : Callable
        Opens a connection; raises `LedgerUnavailableError`.
    size : int
        Most connections open at a time.
    acquire_timeout : float
        Seconds to wait for one of them to become free.
    max_idle : float
        Seconds after which an unused connection is replaced rather than trusted.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        size: int = SIZE,
        acquire_timeout: float = ACQUIRE_TIMEOUT,
        max_idle: float = MAX_IDLE,
    ) -> None:
        self._connect = connect
        self._size = size
        self._acquire_timeout = acquire_timeout
        self._max_idle = max_idle
        # One entry for each connection that may still be lent: a semaphore, and one that is not written in Python.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(size):
            self._free.put(None)
        # With the time each was given back, by the wall clock: the monotonic one may stand still in a frozen
        # environment. The one used last is at the right end.
        self._idle: deque[tuple[Connection, float]] = deque()

    @contextlib.contextmanager
    def connection(self, *, new: bool = False) -> Iterator[Connection]:
        """Lend a usable connection, outside of any transaction, and take it back if it still is.

        Parameters
        ----------
        new : bool
            Trust none that is open: close those not lent out, and open one.

        Raises
        ------
        LedgerUnavailableError
            If none is free in time or none can be opened.
        """
        connection = self._lend(new=new)
        try:
            yield connection
        finally:
            self._take_back(connection)

    def run(self, sql: str, parameters: Mapping[str, object], *, keep: bool = True) -> list[list[Any]]:
        """Run one statement, a second time on a new connection if it was interrupted the first time.

        The first try may have been committed and only its acknowledgement lost: pass statements that may be repeated.
        All of the ledger's may, because their ids are made by the caller.

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
        connection = self._lend()
        try:
            return connection.run(sql, parameters, keep=keep)
        except StatementInterruptedError as error:
            in_doubt = error.in_doubt
        finally:
            self._take_back(connection)
        # Whatever ended that connection, a failover or a frozen environment, has most likely ended its siblings.
        try:
            with self.connection(new=True) as another:
                return another.run(sql, parameters, keep=keep)
        except LedgerUnavailableError as error:
            error.in_doubt = error.in_doubt or in_doubt  # the first try may have been committed
            raise

    def close(self) -> None:
        """Close the connections that are not lent out. The pool stays usable and opens new ones."""
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._idle.pop()[0].close()

    def _lend(self, *, new: bool = False) -> Connection:
        try:
            self._free.get(timeout=self._acquire_timeout)
        except queue.Empty:
            busy = f"all {self._size} connections have been busy for {self._acquire_timeout:g} s"
            raise LedgerUnavailableError(busy) from None
        try:
            if new:
                self.close()
                return self._connect()
            return self._take_idle() or self._connect()
        except BaseException:
            self._free.put(None)
            raise

    def _take_back(self, connection: Connection) -> None:
        if connection.is_idle():
            self._idle.append((connection, time.time()))
        else:
            connection.close()
        self._free.put(None)

    def _take_idle(self) -> Connection | None:
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            if time.time() - since < self._max_idle and connection.is_usable():
                return connection
            connection.close()
