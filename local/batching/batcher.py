"""Requests that wait for each other: a bounded queue, and the threads that answer what is in it, a batch at a time.

What has arrived while a batch was at work is the next batch. A thread reads each request of its batch, runs the model
once, builds every answer, commits once, and hands out the answers. While one thread waits for the commit, another one
reads. Callers who were answered together often ask again together, so the next batch waits a moment for them.
docs/decisions/batching-server.md has a picture.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, Protocol

from fastapi import Request, Response

from functions.shared import wait_budget
from functions.shared.api.app import answer_error, without_waiting
from functions.shared.api.problems import Problem
from functions.shared.inference.errors import ModelTimeoutError, OutOfMemoryError
from functions.shared.ledger.records import Replay
from functions.shared.log import logger
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.requests import PredictionRequest, UploadReference
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.synchronous import Outcome, Predicted, Refusal, predict, store
from local.batching.metrics import Metrics, Stage
from local.batching.traces import Batch, Traces

RETRY_AFTER_SECONDS: Final = 1
"""Seconds after which a caller whom the queue had no room for may try again: a batch takes less."""

MAX_QUEUED_BYTES: Final = 256 * 1024 * 1024
"""Bytes that the bodies in the queue may have together, whatever their number."""

CLIENT_GONE: Final = "onnx_ledger.client_gone"
"""The key that the server puts into the scope of a request whose client has hung up."""

_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Bytes of bodies above which a batch takes no more: a commit must be over before the ledger gives it up."""

_LOOKS_EVERY: Final = 0.25
"""Seconds between two looks for requests whose time has passed in the queue."""

_RETURN_SHARE: Final = 0.5
"""The part of the time that a batch took, in which its callers may come back and share the next one.

Otherwise the first who comes back makes a batch of one, which costs almost as much as one of all of them."""

_LONGEST_RETURN: Final = 0.005
"""Seconds that this is at most: enough for a network, and too little for a caller to notice."""

_SERVER_ERROR: Final = 500

_LONG_BATCH: Final = 1.0
"""Seconds above which a batch is not made larger. More at once would make callers wait, and gain nothing."""


class Asked(Protocol):
    """What a request asks for, and its answers: `functions.predict.asked.Asked` or `functions.infer.answers.Asked`."""

    @property
    def request(self) -> PredictionRequest:
        """What it asks for."""

    def predicted(self, made: Predicted) -> Response:
        """Return the answer to predictions that are to be stored. Raises what `answer_error` answers."""

    def nothing_stored(self, outcome: Replay | Refusal) -> Response:
        """Return the answer where nothing is stored. Raises what `answer_error` answers."""


class Route(NamedTuple):
    """How requests to a route are read.

    Attributes
    ----------
    ask
        Returns what a request asks for. Raises what `answer_error` answers.
    keep_outputs
        Whether its answers need the outputs that the predictions were made from.
    """

    ask: Callable[[Request, bytes], Asked]
    keep_outputs: bool


class Answer(Protocol):
    """Where the answer to a request goes: a future, or what stands for it. It belongs to the event loop."""

    def done(self) -> bool:
        """Tell whether there is an answer."""

    def cancelled(self) -> bool:
        """Tell whether nobody waits for it."""

    def set_result(self, response: Response, /) -> None:
        """Answer."""

    def send(self, response: Response, /) -> None:
        """Send the answer if that can be done at once, in whatever thread. `set_result` follows, and does the rest."""


class Job:
    """A request that waits for its answer.

    Attributes
    ----------
    route, scope, body, request_id
        The request.
    arrived, deadline
        When it arrived, and when it is too late to begin, on the monotonic clock.
    answer
        Where its answer goes.
    begun
        Whether it is at work, and may be stored.
    """

    __slots__ = ("answer", "arrived", "begun", "body", "deadline", "request_id", "route", "scope")

    def __init__(
        self,
        route: Route,
        scope: dict[str, Any],
        body: bytes,
        request_id: str,
        arrived: float,
        deadline: float,
        answer: Answer,
    ) -> None:
        self.route = route
        self.scope = scope
        self.body = body
        self.request_id = request_id
        self.arrived = arrived
        self.deadline = deadline
        self.answer = answer
        self.begun = False

    def hung_up(self) -> bool:
        """Tell whether the client has hung up, or whoever waited for the answer has given up."""
        return self.answer.cancelled() or CLIENT_GONE in self.scope


class Limits(NamedTuple):
    """The limits of the queue.

    Attributes
    ----------
    batch
        The most inputs of a batch, unless one request has more.
    queued
        The most requests that wait.
    batch_wait
        Seconds that a batch waits for more.
    """

    batch: int
    queued: int
    batch_wait: float = 0.0


class Batcher:
    """Answers requests, a batch at a time. All methods are for the event loop's thread.

    Parameters
    ----------
    serving
        The model and the ledger.
    handlers
        The application's exception handlers, which make the answers to errors.
    limits
        The limits of the queue.
    threads
        How many batches may be at work at a time.
    seconds_of_one
        How long a prediction takes, about: the first batches of a slow model must not be large.
    divert
        Runs a function elsewhere: a request whose input is in a bucket must not hold up the others.
    metrics, traces
        What is counted and traced.
    """

    def __init__(
        self,
        serving: Serving,
        handlers: Mapping[Any, Any],
        limits: Limits,
        *,
        threads: int,
        seconds_of_one: float,
        divert: Callable[[Callable[[], None]], object],
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._serving = serving
        self._handlers = handlers
        self._limits = limits
        self._divert = divert
        self._metrics = metrics
        self._traces = traces
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._wakes: SimpleQueue[None] = SimpleQueue()  # a condition wakes in twice the time
        self._idle = 0
        self._gathers = False
        self._enough = 0
        self._returning = 0
        self._return_until = 0.0
        self._closed = False
        self._most = min(limits.batch, max(1, int(_LONG_BATCH / seconds_of_one)))
        self._looking: asyncio.TimerHandle | None = None
        self._threads = [threading.Thread(target=self._run, name=f"batch {n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def has_room(self) -> bool:
        """Tell whether another request may wait."""
        return len(self._waiting) < self._limits.queued and self._queued_bytes < MAX_QUEUED_BYTES

    def has_waiting(self) -> bool:
        """Tell whether a request waits. Any thread may ask."""
        return bool(self._waiting)

    def put(self, job: Job) -> None:
        """Add a request to the queue."""
        if self._looking is None:
            self._looking = self._loop.call_later(_LOOKS_EVERY, self._drop_late)
        with self._lock:
            self._waiting.append(job)
            self._queued_bytes += len(job.body)
            if not self._gathers:
                self._wake_one()
            elif len(self._waiting) >= self._enough:
                self._wake_all()

    def close(self) -> None:
        """Begin no further batch, once the queue is empty."""
        with self._lock:
            self._closed = True
            self._wake_all()

    def _drop_late(self) -> None:
        """Answer requests whose time has passed while they waited."""
        late: list[Job] = []
        now = time.monotonic()
        with self._lock:
            while self._waiting and self._waiting[0].deadline <= now:
                late.append(self._waiting.popleft())
                self._queued_bytes -= len(late[-1].body)
            left = bool(self._waiting)
        for job in late:
            self._metrics.refused("late")
            _settle(job, self._refuse(job, too_late()))
        self._looking = self._loop.call_later(_LOOKS_EVERY, self._drop_late) if left else None

    def _run(self) -> None:
        while jobs := self._take():
            self._guard(jobs, partial(self._answer, jobs))

    def _guard(self, jobs: Sequence[Job], answer: Callable[[], None]) -> None:
        """Answer requests within the time that failing calls may take, whatever happens: no client waits for ever."""
        try:
            with wait_budget.limited():
                answer()
        except Exception as error:  # noqa: BLE001 - the application's handlers answer every one
            self._hand_out([(job, self._fail(job, error)) for job in jobs])

    def _take(self) -> list[Job]:
        """Wait for requests, and return those of the next batch; none once the batcher is closed."""
        with self._lock:
            while not (jobs := self._next_jobs()):
                if self._closed and not self._waiting:
                    return []
                self._wait()
        return jobs

    def _next_jobs(self) -> list[Job]:
        """Take the requests of a batch out of the queue, unless another thread waits for more of them."""
        if self._gathers or not self._waiting:
            return []
        if self._limits.batch_wait:
            self._gather(self._most, time.monotonic() + self._limits.batch_wait)
        else:
            self._gather(min(self._returning, self._most), self._return_until)
        jobs: list[Job] = []
        size = 0
        while self._waiting and len(jobs) < self._most and size <= _BATCH_BYTES:
            jobs.append(self._waiting.popleft())
            size += len(jobs[-1].body)
        self._queued_bytes -= size
        if self._closed:
            self._wake_all()
        elif self._waiting:
            self._wake_one()
        self._metrics.queued(len(self._waiting))
        return jobs

    def _gather(self, enough: int, until: float) -> None:
        """Let go of the lock until so many requests wait, or as many as there is room for, or until a time."""
        self._gathers, self._enough = True, min(enough, self._limits.queued)
        while len(self._waiting) < self._enough and not self._closed and (left := until - time.monotonic()) > 0:
            self._wait(left)
        self._gathers = False

    def _wait(self, seconds: float | None = None) -> None:
        """Let go of the lock until another thread wakes this one."""
        self._idle += 1
        self._lock.release()
        try:
            self._wakes.get(timeout=seconds)
        except Empty:
            self._lock.acquire()
            try:
                self._wakes.get_nowait()  # one that came just now
            except Empty:
                self._idle -= 1
        else:
            self._lock.acquire()

    def _wake_one(self) -> None:
        """Wake one thread, if one waits. It counts as at work from now on: the next request need not wake another."""
        if self._idle:
            self._idle -= 1
            self._wakes.put(None)

    def _wake_all(self) -> None:
        while self._idle:
            self._wake_one()

    def _answer(self, jobs: list[Job]) -> None:
        """Answer a batch, or give back what is too much for it."""
        began = time.monotonic()
        answered: list[tuple[Job, Response]] = []
        asked: list[tuple[Job, Asked]] = []
        self._metrics.seconds("queue", began - jobs[0].arrived)
        inputs = 0
        for position, job in enumerate(jobs):
            if job.hung_up() or job.deadline <= began:
                self._metrics.refused("gone" if job.hung_up() else "late")
                answered.append((job, self._refuse(job, too_late())))
                continue
            logger.request_id = job.request_id
            try:
                one = job.route.ask(Request(job.scope), job.body)
            except Exception as error:  # noqa: BLE001 - the application's handlers answer every one
                answered.append((job, self._fail(job, error)))
                continue
            if asked and inputs + len(one.request.inputs) > self._most:
                self._give_back(jobs, position)  # only now that it is read, one knows how many inputs it has
                break
            job.begun = True
            if any(isinstance(given, UploadReference) for given in one.request.inputs):
                self._divert(partial(self._guard, [job], partial(self._answer_alone, job, one)))
            else:
                asked.append((job, one))
                inputs += len(one.request.inputs)
        logger.request_id = None
        if asked:
            answered += self._predict_and_store(asked)
            self._adapt(inputs, time.monotonic() - began)
        now = time.monotonic()
        self._returning = len(answered) + len(self._waiting)  # before any of them can come back
        self._return_until = now + min(_RETURN_SHARE * (now - began), _LONGEST_RETURN)
        self._hand_out(answered)

    def _give_back(self, jobs: list[Job], first: int) -> None:
        """Move requests from the end of a batch to the front of the queue."""
        with self._lock:
            for job in reversed(jobs[first:]):
                self._waiting.appendleft(job)
                self._queued_bytes += len(job.body)
            self._wake_one()
        del jobs[first:]  # whatever happens to the batch, it is not their answer

    def _answer_alone(self, job: Job, asked: Asked) -> None:
        self._hand_out(self._predict_and_store([(job, asked)]))

    def _adapt(self, count: int, seconds: float) -> None:
        """Make batches smaller if they take long, so that a slow model's first answers do not wait for its last."""
        if seconds > _LONG_BATCH:
            self._most = max(1, min(self._most, count) // 2)
        elif count >= self._most:
            self._most = min(self._limits.batch, self._most * 2)

    def _predict_and_store(self, asked: Sequence[tuple[Job, Asked]]) -> list[tuple[Job, Response]]:
        inputs = sum(len(one.request.inputs) for _, one in asked)
        self._metrics.batch(inputs)
        self._metrics.pool(*self._serving.ledger.connections)
        with self._traces.batch((job.scope for job, _ in asked), inputs) as batch:
            return self._make(asked, batch)

    def _make(self, asked: Sequence[tuple[Job, Asked]], batch: Batch) -> list[tuple[Job, Response]]:
        answered: list[tuple[Job, Response]] = []
        made: list[tuple[Job, Asked, Predicted, Response]] = []
        for (job, one), outcome in zip(asked, self._predict(asked), strict=True):
            try:
                if isinstance(outcome, Predicted):
                    made.append((job, one, outcome, one.predicted(outcome)))
                elif isinstance(outcome, Exception):
                    answered.append((job, self._fail(job, outcome)))
                else:
                    answered.append((job, self._nothing_stored(job, one, outcome)))
            except Exception as error:  # noqa: BLE001 - the application's handlers answer every one
                answered.append((job, self._fail(job, error)))
        if not made:
            return answered
        first = made[0][2]
        self._took(batch, ("decode", first.decode_ms / 1000), ("run", first.inference_ms / 1000))
        began = time.monotonic()
        try:
            results = store(self._serving, [outcome for _, _, outcome, _ in made])
        except Exception as error:  # noqa: BLE001 - as above: each is told that it may be stored
            return answered + [(job, self._fail(job, error)) for job, _, _, _ in made]
        self._took(batch, ("store", time.monotonic() - began))
        stored = 0
        for (job, one, outcome, response), other in zip(made, results, strict=True):
            if other is None:
                stored += len(outcome.predictions)
            else:
                response = self._nothing_stored(job, one, other)
            answered.append((job, response))
        self._metrics.predicted(stored)
        return answered

    def _took(self, batch: Batch, *stages: tuple[Stage, float]) -> None:
        """Count and trace stages that have just ended, one after the other."""
        for stage, seconds in stages:
            self._metrics.seconds(stage, seconds)
        batch.stages(*stages)

    def _predict(self, asked: Sequence[tuple[Job, Asked]]) -> list[Outcome | Exception]:
        """Predict together. What fails for want of time or memory, or unexpectedly, is tried alone.

        Another request of the batch may be to blame for that.
        """
        requests = [one.request._replace(request_id=job.request_id) for job, one in asked]
        keep_outputs = any(job.route.keep_outputs for job, _ in asked)
        try:
            outcomes: list[Outcome | Exception] = [*predict(self._serving, requests, keep_outputs=keep_outputs)]
        except Exception as error:  # noqa: BLE001 - the application's handlers answer every one
            outcomes = [error] * len(asked)
        if len(asked) == 1:
            return outcomes
        return [
            self._predict_alone(both) if _may_do_alone(outcome) else outcome
            for both, outcome in zip(asked, outcomes, strict=True)
        ]

    def _predict_alone(self, both: tuple[Job, Asked]) -> Outcome | Exception:
        job, _ = both
        return too_late() if job.deadline <= time.monotonic() else self._predict([both])[0]

    def _nothing_stored(self, job: Job, asked: Asked, outcome: Replay | Refusal) -> Response:
        try:
            return asked.nothing_stored(outcome)
        except Exception as error:  # noqa: BLE001 - the application's handlers answer every one
            return self._fail(job, error, because=outcome.error if isinstance(outcome, Refusal) else error)

    def _fail(self, job: Job, error: Exception, *, because: Exception | None = None) -> Response:
        """Answer an error, and count it by its cause."""
        response = self._refuse(job, error)
        cause = because or error
        if isinstance(cause, RefusedInputsError):
            cause = next(iter(cause.errors.values()))
        kind = cause.status.phrase if isinstance(cause, Problem) else type(cause).__name__.removesuffix("Error")
        count = self._metrics.failed if response.status_code >= _SERVER_ERROR else self._metrics.refused
        count(kind)
        return response

    def _refuse(self, job: Job, error: Exception) -> Response:
        logger.request_id = job.request_id
        try:
            return without_waiting(answer_error(self._handlers, Request(job.scope), error))
        finally:
            logger.request_id = None

    def _hand_out(self, answered: Sequence[tuple[Job, Response]]) -> None:
        if len(answered) == 1:
            [(job, response)] = (
                answered  # a lone one need not wait for the loop; of many, each would take turns with it
            )
            job.answer.send(response)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(_settle_all, answered)


def _may_do_alone(outcome: Outcome | Exception) -> bool:
    if isinstance(outcome, Refusal):
        return isinstance(outcome.error, ModelTimeoutError | OutOfMemoryError)
    return isinstance(outcome, Exception)


def _settle_all(answered: Sequence[tuple[Job, Response]]) -> None:
    for job, response in answered:
        _settle(job, response)


def _settle(job: Job, response: Response) -> None:
    if not job.answer.done():
        job.answer.set_result(response)


def too_late() -> Problem:
    """Return the problem of a request that was not begun in time."""
    return _unavailable("is busy and did not come to this request in time: nothing was predicted or stored")


def stopped(*, begun: bool) -> Problem:
    """Return the problem of a request that was not answered before the server stopped."""
    if begun:
        what = "stops before this request is answered, which may or may not be stored: an Idempotency-Key makes it safe"
        return _unavailable(f"{what} to repeat it")
    return _unavailable("stops: nothing was predicted or stored")


def full() -> Problem:
    """Return the problem of a request that the queue has no room for."""
    return _unavailable("is busy and has no room for this request: nothing was predicted or stored")


def _unavailable(what: str) -> Problem:
    detail = f"The server {what}. Try again in {RETRY_AFTER_SECONDS} second."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
