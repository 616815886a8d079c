"""Make queued predictions without SQS, and sweep and roll up without EventBridge: the rows in PostgreSQL are the queue.

Each process of the server has one worker, a thread. Any number of them, on any number of servers, share the rows: the
ledger hands each to one of them, counts the attempts, and hands it out again when a worker that had it has ended.
docs/decisions/ledger-queue.md says why it is done this way.
"""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.listener import Listener, listen
from functions.shared.ledger.records import ClaimedPrediction, Failure
from functions.shared.log import logger
from functions.shared.prediction.pace import Pace
from functions.shared.prediction.rolling import Roller
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.sweeping import Sweeper
from functions.shared.prediction.worker_batch import LEASE_MARGIN, predict_claimed
from local.batching.metrics import Metrics
from local.batching.periodic_task import PeriodicTask

POLL_SECONDS: Final = 5.0
"""Seconds after which a worker looks for itself whether anything is queued, should it have heard of nothing."""

TIME_SECONDS: Final = 60.0
"""Seconds that a worker may take for what it has claimed, as the worker on Lambda may: either may take over from the
other."""

TURN_SECONDS: Final = 2.0
"""Seconds of work that a worker claims at a time. It stops, and yields to requests, between two turns."""

MOST_AT_ONCE: Final = 64
"""The most predictions that a worker claims at a time."""

ATTEMPTS: Final = 5
"""Attempts after which a prediction fails that no worker came to an end with, as SQS delivers a message five times."""

SWEEP_PERIOD: Final = 3600.0
"""Seconds from one sweep to the next, of all servers together."""

ROLLUP_PERIOD: Final = 600.0
"""The same from one rollup to the next."""

_PAUSE = 2.0  # seconds, after a turn that failed: the database or S3 is away
_LOOK_AGAIN = 1.0  # seconds between two looks for what other workers have left behind, while there is other work
_LISTEN_AGAIN = 5.0  # seconds between two attempts to open a connection that listens
_LONGEST_YIELD = 1.0  # seconds
_SHARE_TO_FINISH = 0.8  # of the time to stop; the rest is for giving back what is not finished


class QueueWorker:
    """Makes queued predictions in a thread of its own, from `start` to `stop`.

    Parameters
    ----------
    serving
        The model, the ledger and the bucket of the inputs.
    sweeper
        What sweeps, at most once per `sweep_period` of all servers together; None not to sweep.
    roller
        What rolls up, at most once per `rollup_period` of all servers together; None not to roll up.
    is_busy
        Tells whether requests are waiting to be predicted. The worker then waits before its next turn, for a second at
        most.
    metrics
        What is counted.
    poll_seconds, time_seconds, most_at_once, attempts, sweep_period, rollup_period
        As the constants of this module say.
    """

    def __init__(
        self,
        serving: Serving,
        sweeper: Sweeper | None = None,
        roller: Roller | None = None,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        metrics: Metrics = Metrics(),  # noqa: B008 - it has no state
        poll_seconds: float = POLL_SECONDS,
        time_seconds: float = TIME_SECONDS,
        most_at_once: int = MOST_AT_ONCE,
        attempts: int = ATTEMPTS,
        sweep_period: float = SWEEP_PERIOD,
        rollup_period: float = ROLLUP_PERIOD,
    ) -> None:
        self._serving = serving
        self._is_busy = is_busy
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._time_seconds = time_seconds
        self._most_at_once = most_at_once
        self._attempts = attempts
        self._stopping = threading.Event()
        self._tasks: list[PeriodicTask] = []
        if sweeper is not None:
            task = PeriodicTask("sweep", sweeper.ledger, sweeper.sweep, self._stopping, period=sweep_period)
            self._tasks.append(task)
        if roller is not None:
            task = PeriodicTask("rollup", roller.ledger, roller.roll_up, self._stopping, period=rollup_period)
            self._tasks.append(task)
        self._thread = threading.Thread(target=self.run, name="queue worker", daemon=True)
        self._stop_by = 0.0
        self._held: Sequence[ClaimedPrediction] = ()  # what is claimed and has no outcome yet
        self._asleep = False
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._listener: Listener | None = None
        self._listen_at: float | None = 0.0  # None if there is nothing to be heard
        self._look_again_at = 0.0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> bool:
        """Have the worker look for what is queued. False if it is at work, and will look only afterwards."""
        asleep = self._asleep
        with contextlib.suppress(OSError):  # it is full, so it rings already; or closed
            self._bell.send(b"!")
        return asleep

    def stop(self, seconds: float) -> None:
        """Claim nothing more, finish what is claimed or give it back, and end the thread.

        Parameters
        ----------
        seconds
            How long that may take. A run of the model that takes longer goes on, and its predictions are given back.
        """
        self._stop_by = time.monotonic() + seconds * _SHARE_TO_FINISH
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(max(0.0, self._stop_by - time.monotonic()))
        for task in self._tasks:
            task.join(self._stop_by)
        if self._thread.is_alive():
            try:
                self._give_back(self._held, counted=False)
            except LedgerError as error:
                logger.warning("claimed predictions wait until their lease is up", reason=str(error))

    def run(self) -> None:
        """Work until `stop` is called. `start` runs this in a thread."""
        pace = Pace.of(self._serving.model)
        try:
            while not self._stopping.is_set():
                if not self._turn(pace):
                    self._wait()
        finally:
            if self._listener is not None:
                self._listener.close()
            self._ear.close()
            self._bell.close()

    def _turn(self, pace: Pace) -> bool:
        """Make some predictions. Return whether there may be more to make."""
        try:
            self._give_back(self._held, counted=True)  # the database went away under them
            self._listen()  # before looking, so that nothing is queued unheard between the two
            for task in self._tasks:
                task.begin_if_due(self._serving.ledger)
            return self._work(pace)
        except LedgerUnavailableError as error:
            logger.error("the queue cannot be worked on", reason=str(error))
        except Exception as error:  # noqa: BLE001 - as on Lambda, a batch that fails ends no worker
            self._held = ()  # they wait until their lease is up, and are tried again one by one
            logger.exception("a batch of queued predictions failed", error)
        self._stopping.wait(_PAUSE)
        return True

    def _work(self, pace: Pace) -> bool:
        self._yield()
        # `affordable` keeps half of the time in reserve.
        count = max(1, min(self._most_at_once, pace.affordable(TURN_SECONDS * 2000)))
        found = self._claim(count)
        self._predict(pace, found)
        if self._stopping.is_set() or time.monotonic() < self._look_again_at:
            return bool(found)
        # One at a time: it may have ended its worker, and takes no other with it.
        left_behind = self._claim(1, again=True)
        self._look_again_at = 0.0 if left_behind else time.monotonic() + _LOOK_AGAIN
        self._predict(pace, left_behind)
        return bool(found or left_behind)

    def _yield(self) -> None:
        until = time.monotonic() + _LONGEST_YIELD
        while self._is_busy() and time.monotonic() < until and not self._stopping.is_set():
            self._stopping.wait(0.005)

    def _claim(self, count: int, *, again: bool = False) -> Sequence[ClaimedPrediction]:
        lease_seconds = self._time_seconds + LEASE_MARGIN
        claimed = self._serving.ledger.claim_oldest(limit=count, lease_seconds=lease_seconds, again=again)
        self._held = claimed
        return claimed

    def _predict(self, pace: Pace, claimed: Sequence[ClaimedPrediction]) -> None:
        if not claimed:
            return
        if claimed[0].attempt > self._attempts:
            self._give_up(claimed)
            return
        until = time.monotonic() + self._time_seconds
        undone = predict_claimed(
            self._serving, pace, claimed, partial(self._remaining, until), self._metrics.made_of_queue
        )
        self._held = [one for one in claimed if one.prediction_id in undone]
        if self._stopping.is_set():
            self._give_back(self._held, counted=False)
        elif len(undone) == len(claimed):
            self._stopping.wait(_PAUSE)  # S3 is away, or the memory is full: the others would fare no better
        self._held = ()

    def _remaining(self, until: float) -> int:
        """Return the milliseconds that are left."""
        if self._stopping.is_set():
            until = min(until, self._stop_by)
        return max(0, int((until - time.monotonic()) * 1000))

    def _give_up(self, claimed: Sequence[ClaimedPrediction]) -> None:
        reason = f"The prediction was not finished in {self._attempts} attempts."
        self._serving.ledger.complete(
            self._serving.identity, [Failure(one.prediction_id, reason, "gave_up") for one in claimed]
        )
        self._held = ()
        self._metrics.made_of_queue(0, len(claimed))
        for one in claimed:
            logger.warning("failed: tried too often", prediction_id=str(one.prediction_id), attempts=self._attempts)

    def _give_back(self, claimed: Sequence[ClaimedPrediction], *, counted: bool) -> None:
        """Queue again what has no outcome."""
        if claimed:
            released = self._serving.ledger.release(claimed, counted=counted)
            self._held = ()
            logger.info("queued again", predictions=[str(one) for one in released])

    def _wait(self) -> None:
        """Wait until something is queued, or may be."""
        waiting = select.poll()
        waiting.register(self._ear, select.POLLIN)
        if self._listener is not None:
            waiting.register(self._listener, select.POLLIN)
        self._asleep = True
        ready = dict(waiting.poll(self._poll_seconds * 1000))
        self._asleep = False
        self._look_again_at = 0.0
        if self._ear.fileno() in ready:
            self._ear.recv(4096)
        if self._listener is not None and self._listener.fileno() in ready and not self._listener.hear():
            self._listener.close()
            self._listener, self._listen_at = None, 0.0

    def _listen(self) -> None:
        if self._listener is not None or self._listen_at is None or time.monotonic() < self._listen_at:
            return
        self._listen_at = time.monotonic() + _LISTEN_AGAIN
        try:
            self._listener = listen(self._serving.ledger)
        except LedgerUnavailableError as error:
            logger.warning("the worker hears of nothing, and looks itself", reason=str(error))
            return
        if self._listener is None:
            self._listen_at = None


class LedgerQueue:
    """The queue where the rows themselves are the messages: what is left to send is a wake-up.

    Parameters
    ----------
    ledger
        The ledger that has the rows.
    worker
        The worker of this process, which is woken without asking the database, unless it is at work.
    """

    def __init__(self, ledger: Ledger, worker: QueueWorker | None = None) -> None:
        self._ledger = ledger
        self._worker = worker

    def send(self, _prediction_ids: Iterable[UUID]) -> None:
        """Wake a worker. If none hears it, the next poll finds the predictions."""
        if self._worker is not None and self._worker.wake():
            return
        try:
            self._ledger.notify()
        except LedgerError as error:
            logger.warning("the workers were not woken", reason=str(error))
