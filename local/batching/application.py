"""The ASGI application: all routes of the contract in one process.

Requests that predict wait for each other in the batcher. Every other endpoint blocks, and runs in a thread, just as it
runs on Lambda.
"""

import asyncio
import contextlib
import contextvars
import os
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, cast

from fastapi import FastAPI, Request, Response
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from functions.delete_predictions import handler as delete_predictions
from functions.describe import handler as describe
from functions.describe import health, pages
from functions.get_prediction import handler as get_prediction
from functions.ground_truth import handler as ground_truth
from functions.infer import asked as infer_asked
from functions.infer import handler as infer
from functions.infer.received import Limits as InferLimits
from functions.list_predictions import handler as list_predictions
from functions.predict import asked as predict_asked
from functions.predict import handler as predict
from functions.shared import wait_budget
from functions.shared.api.app import FAILED, METHODS, REFUSED, Exchange, answer_error, create_app, without_waiting
from functions.shared.api.app import Application as Endpoints
from functions.shared.api.open_inference import answer_in_protocol
from functions.shared.api.preferences import prefers_async
from functions.shared.api.problems import Problem
from functions.shared.inference.errors import InferenceError
from functions.shared.inference.model import Model
from functions.shared.ledger.errors import LedgerError
from functions.shared.log import logger
from functions.shared.prediction.rolling import Roller
from functions.shared.prediction.sweeping import Sweeper
from functions.shared.queue.predictions import PredictionQueue
from functions.shared.settings import RollupSettings, SettingsError, SweepSettings
from functions.statistics import handler as statistics
from functions.upload import handler as upload
from local.batching.batcher import Answer, Batcher, Job, Limits, Route, full, stopped
from local.batching.metrics import Metrics
from local.batching.queue_worker import LedgerQueue, QueueWorker
from local.batching.settings import BatchingSettings
from local.batching.traces import Traces
from local.http.body import BodyTooLargeError, ClientGoneError, Receive, read_body

Send = Callable[[dict[str, Any]], Awaitable[None]]

_THREADS: Final = 4
"""Endpoints at work side by side: as many as a pool of the ledger has connections."""

_PROBE_THREADS: Final = 2
"""Probes at work side by side: one that asks a database that is away must not make this process look dead."""

_MOST_BLOCKING: Final = 256
"""Requests that may wait for one of these threads."""

_PROBES: Final = frozenset(("/health", "/v2/health/live", "/v2/health/ready"))
"""Paths that threads of their own answer: a busy server must not look like a dead one."""

_V2: Final = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
_V1: Final = re.compile(r"/v1/models/(?P<name>[^/]+):predict")


OPEN: Final = re.compile(r"/|/health|/openapi\.json|/docs(/.*)?|/console(/.*)?|/assets/.*|/v2|/v2/health/.*")
"""Paths that need no token: they tell nothing of users. As in template.yaml."""

_TEMPLATE: Final = "onnx_ledger.template"
"""Where a request's scope has the path of its route, if FastAPI does not find it."""

_READ: Final = "onnx_ledger.read"
"""What is in a request's scope once its body is asked for."""

NOBODY_READS: Final = 499
"""What is counted in place of a status if nobody was there to read it, as nginx does."""

_SOME_REQUEST: Final[dict[str, Any]] = {"type": "http", "method": "POST", "path": "/prediction", "headers": []}


class Verifier(Protocol):
    """What verifies tokens: `local.batching.tokens.Verifier`, which is loaded only where tokens are needed."""

    def accept(self, scope: dict[str, Any]) -> Coroutine[Any, Any, None]:
        """Put what the token of a request says into its event. Raises `Problem` if there is no valid one."""


class _Context:
    """What an endpoint reads of Lambda's context object."""

    def __init__(self, request_id: str, deadline: float) -> None:
        self.aws_request_id = request_id
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the request may still take."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


class _Awaited(asyncio.Future[Response]):
    """Where the answer to a request goes that a task waits for."""

    def send(self, response: Response) -> None:
        """Leave it to the task."""


class Ticket(NamedTuple):
    """What a request was admitted with that goes straight into the queue.

    Attributes
    ----------
    route, scope, request_id, arrived
        The request.
    most_bytes
        The largest body that it may have.
    refusal
        The answer to it if it does not go into the queue.
    """

    route: Route
    scope: dict[str, Any]
    request_id: str
    arrived: float
    most_bytes: int
    refusal: Response | None = None


class _Routes(NamedTuple):
    """The routes that predict."""

    one: Route
    several: Route
    v1: Route
    v2: Route

    @classmethod
    def of(cls, env: predict_asked.Environment) -> "_Routes":
        limits = InferLimits(env.limits.body_bytes, env.limits.inputs)
        infer_env = infer_asked.Environment(env.token_required, limits, env.serving)
        return cls(
            Route(lambda request, body: predict_asked.ask_one(env, request, body), keep_outputs=False),
            Route(lambda request, body: predict_asked.ask_several(env, request, body), keep_outputs=False),
            Route(lambda request, body: infer_asked.ask_v1(infer_env, request, body), keep_outputs=True),
            Route(lambda request, body: infer_asked.ask_v2(infer_env, request, body), keep_outputs=True),
        )


def _endpoints() -> FastAPI:
    """Return the endpoints of all functions but `infer`, whose paths are answered to other methods as by `describe`."""
    functions = (predict, upload, list_predictions, get_prediction, delete_predictions, ground_truth, statistics)
    others = (describe, health, pages)
    return answer_in_protocol(
        create_app(*(function.router for function in (*functions, *others)), describe.open_inference)
    )


class Application:
    """Answers HTTP requests (ASGI specification, "HTTP & WebSocket", version 2.3). Start it with the lifespan protocol.

    Parameters
    ----------
    settings
        The server's settings. The functions read their own from the environment.
    verifier
        What verifies tokens; None if requests need none.
    metrics, traces
        What is counted and traced.
    """

    def __init__(
        self,
        settings: BatchingSettings,
        *,
        verifier: Verifier | None = None,
        metrics: Metrics | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._settings = settings
        self._verifier = verifier
        self._metrics = metrics or Metrics()
        self._traces = traces or Traces()
        # A request that goes straight into the queue does not pass through uvicorn's.
        self._forwarded = ProxyHeadersMiddleware(_nothing, settings.forwarded_allow_ips)
        self._sites = settings.sites()
        app = _endpoints()
        self._handlers = app.exception_handlers
        self._app = Endpoints(app)
        self._fixed = frozenset(path for route in app.routes if "{" not in (path := getattr(route, "path", "{")))
        self._infer = Endpoints(answer_in_protocol(create_app(infer.router)))
        self._unanswered: set[Answer] = set()
        self._queue_worker: QueueWorker | None = None
        self._blocking = 0
        self._ids = 0
        self._id_prefix = os.urandom(8).hex()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or start and stop."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        arrived = time.monotonic()
        request_id = self._new_id()
        self._traces.begin(scope)
        try:
            response = await self._respond(scope, receive, request_id, arrived)
        except ClientGoneError:
            self._watched(scope, NOBODY_READS, arrived)
            return
        self._watched(scope, response.status_code, arrived)
        headers = [*response.raw_headers, (b"x-request-id", request_id.encode())]
        if _READ not in scope and any(name == b"expect" for name, _ in scope["headers"]):
            # The client was not told to send the body. If the connection stayed open, client and server could disagree
            # about where the next request begins.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._id_prefix}-{self._ids:08x}"

    def admit(self, scope: dict[str, Any]) -> Ticket | None:
        """Admit a request by its head; None if it has to be answered by this application as a whole.

        It goes into the queue, or is refused at once, if the queue has no room.
        """
        if scope["method"] != "POST" or (route := self._hot.get(scope["path"])) is None:
            return None
        most = self._env.limits.body_bytes
        queues = self._env.serving.queue is not None
        for name, value in scope["headers"]:
            if (name == b"content-length" and int(value) > most) or (name == b"prefer" and queues):
                return None
        if self._sites is not None and self._sites.refusal("POST", scope["headers"]) is not None:
            return None
        scope["aws.event"] = {"requestContext": {}}
        if self._verifier is not None and not _at_once(self._verifier.accept(scope)):
            return None
        if self._traces.record:
            _at_once(self._forwarded(cast("Any", scope), cast("Any", None), cast("Any", None)))
        self._traces.begin(scope)
        refusal = None if self._batcher.has_room() else self._full
        return Ticket(route, scope, self._new_id(), time.monotonic(), most, refusal)

    def put(self, scope: dict[str, Any], body: bytes, ticket: Ticket, answer: Answer) -> None:
        """Put an admitted request into the queue."""
        self._unanswered.add(answer)
        deadline = ticket.arrived + self._settings.request_seconds
        self._batcher.put(Job(ticket.route, scope, body, ticket.request_id, ticket.arrived, deadline, answer))

    def left(self, ticket: Ticket, answer: Answer, status: int) -> None:
        """Note that an admitted request is answered."""
        self._unanswered.discard(answer)
        if ticket.refusal is not None:
            self._metrics.refused("full")
        self._watched(ticket.scope, status, ticket.arrived)

    def _watched(self, scope: dict[str, Any], status: int, arrived: float) -> None:
        route = self._name_of(scope)
        self._metrics.answered(route, status, time.monotonic() - arrived)
        self._traces.end(scope, route, status)
        if REFUSED <= status < FAILED and status != NOBODY_READS:
            self._count_refusal(route, status)

    def _count_refusal(self, route: str, status: int) -> None:
        """Count a refused request, and now and then let a thread write the counts: the event loop waits for nothing."""
        refusals = self._env.ledger.refusals
        if refusals.add(route, status):
            with contextlib.suppress(RuntimeError):  # the threads are ending, and `stop` writes what is left
                self._threads.submit(refusals.write)

    def _name_of(self, scope: dict[str, Any]) -> str:
        """Return the route of a request, as `GET /prediction/{prediction_id}`: one of a few, whatever is asked for."""
        path = scope["path"]
        if path not in self._fixed:
            path = scope.get(_TEMPLATE) or getattr(scope.get("route"), "path", "*")
        return f"{scope['method'] if scope['method'] in METHODS else '*'} {path}"

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start before the first request, and stop after the last (ASGI specification, "Lifespan")."""
        await receive()
        try:
            self.start()
            self.start_queue_worker()
        except (SettingsError, InferenceError, LedgerError) as error:
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._queue_worker is not None:
            await asyncio.to_thread(self._queue_worker.stop, self._settings.stop_seconds_of_queue)
        self.stop()
        for answer in list(self._unanswered):  # their time to be finished is over
            answer.set_result(await self._refuse(_SOME_REQUEST, stopped(begun=True)))
        await asyncio.sleep(0)  # lets the connections send what was just written
        await send({"type": "lifespan.shutdown.complete"})

    def start(self) -> None:
        """Load the model, and start the threads. Call it in the event loop.

        Raises
        ------
        SettingsError, InferenceError, LedgerError
            If a setting is wrong, or the model cannot be served.
        """
        self._env = predict.environment()
        self._env.serving.warm_up()
        self._metrics.model_info(self._env.serving.identity)
        self._routes = _Routes.of(self._env)
        self._hot = {"/prediction": self._routes.one, "/predictions": self._routes.several}
        # A busy server refuses thousands a second: what they are told is made once.
        self._full = without_waiting(answer_error(self._handlers, Request(_SOME_REQUEST), full()))
        self._threads = ThreadPoolExecutor(_THREADS, "endpoint")
        self._probing = ThreadPoolExecutor(_PROBE_THREADS, "probe")
        settings = self._settings
        self._batcher = Batcher(
            self._env.serving,
            self._handlers,
            Limits(settings.max_batch_inputs, settings.max_queued_inputs, settings.batch_wait_ms / 1000),
            threads=settings.batch_threads,
            seconds_of_one=_seconds_of_one(self._env.serving.model),
            divert=self._threads.submit,
            metrics=self._metrics,
            traces=self._traces,
        )

    def start_queue_worker(self) -> None:
        """Make the table of predictions the queue, unless SQS is it. Call it after `start`.

        Raises
        ------
        SettingsError, LedgerError
            If a setting is wrong.
        """
        serving = self._env.serving
        if serving.queue is not None:
            return
        sweeper = Sweeper.configured(SweepSettings.from_environment(), None)
        show = self._metrics.figures if self._metrics.on else None
        roller = Roller.configured(RollupSettings.from_environment(), show)
        worker = QueueWorker(
            serving,
            sweeper,
            roller,
            is_busy=self._batcher.has_waiting,
            metrics=self._metrics,
            time_seconds=self._settings.queue_seconds,
        )
        queue = LedgerQueue(serving.ledger, worker)
        self._env = self._env._replace(serving=serving._replace(queue=queue))
        self._queue_worker = worker
        worker.start()

    def stop(self) -> None:
        """Let the threads end."""
        if self._queue_worker is not None:
            self._queue_worker.stop(self._settings.stop_seconds_of_queue)
        self._batcher.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._probing.shutdown(wait=False, cancel_futures=True)
        self._traces.shut_down()
        self._env.ledger.refusals.write()

    async def _respond(self, scope: dict[str, Any], receive: Receive, request_id: str, arrived: float) -> Response:
        if self._sites is not None and (refusal := self._sites.refusal(scope["method"], scope["headers"])) is not None:
            status, _, detail = refusal
            return await self._refuse(scope, Problem(HTTPStatus(status), detail))
        path = scope["path"]
        if path.endswith("/"):
            scope["path"] = path = path.rstrip("/") or "/"
        scope["aws.event"] = {"requestContext": {}}
        if self._verifier is not None and scope["method"] != "OPTIONS" and not OPEN.fullmatch(path):
            try:
                await self._verifier.accept(scope)
            except Problem as problem:
                count = self._metrics.refused if problem.status is HTTPStatus.UNAUTHORIZED else self._metrics.failed
                count("token")
                return await self._refuse(scope, problem)
        deadline = arrived + self._settings.request_seconds
        route = self._route(scope) if scope["method"] == "POST" else None
        queue = self._env.serving.queue
        if queue is not None and route is self._routes.one and prefers_async(Request(scope)):
            queue_one = partial(self._queue_one, queue)
            return await self._answer_in_thread(scope, receive, request_id, deadline, queue_one)
        if route is None:
            return await self._answer_in_thread(scope, receive, request_id, deadline)
        if not self._batcher.has_room():
            self._metrics.refused("full")
            return await self._refuse(scope, full())
        try:
            body = await self._read(scope, receive)
        except Problem as problem:
            return await self._refuse(scope, problem)
        answer = _Awaited(loop=asyncio.get_running_loop())
        job = Job(route, scope, body, request_id, arrived, deadline, answer)
        self._batcher.put(job)
        try:
            return await answer
        except asyncio.CancelledError:  # the server stops, and does not wait any longer
            return await self._refuse(scope, stopped(begun=job.begun))

    def _route(self, scope: dict[str, Any]) -> Route | None:
        path: str = scope["path"]
        route = self._hot.get(path)
        if route is not None:
            return route
        for pattern, other, template in (
            (_V2, self._routes.v2, "/v2/models/{name}/infer"),
            (_V1, self._routes.v1, "/v1/models/{name}:predict"),
        ):
            if found := pattern.fullmatch(path):
                scope[_TEMPLATE] = template
                scope["path_params"] = {name: value for name, value in found.groupdict().items() if value is not None}
                return other
        return None

    async def _answer_in_thread(
        self,
        scope: dict[str, Any],
        receive: Receive,
        request_id: str,
        deadline: float,
        answer: Callable[[dict[str, Any], bytes, str], Response] | None = None,
    ) -> Response:
        probe = scope["path"] in _PROBES
        if not probe and self._blocking >= _MOST_BLOCKING:
            self._metrics.refused("full")
            return await self._refuse(scope, full())
        try:
            body = await self._read(scope, receive)
        except Problem as problem:
            return await self._refuse(scope, problem)
        scope["aws.context"] = _Context(request_id, deadline)
        run = contextvars.copy_context().run
        self._blocking += 1
        try:
            threads = self._probing if probe else self._threads
            return await asyncio.get_running_loop().run_in_executor(
                threads, run, answer or self._answer_blocking, scope, body, request_id
            )
        finally:
            self._blocking -= 1

    def _answer_blocking(self, scope: dict[str, Any], body: bytes, request_id: str) -> Response:
        """Call an endpoint as Lambda's handler does."""
        logger.request_id = request_id
        is_head = scope["method"] == "HEAD"
        if is_head:
            scope = {**scope, "method": "GET"}  # the server still has to know that no body follows
        with wait_budget.limited():
            is_infer = scope["method"] == "POST" and scope["path"].startswith("/v1/models/")
            result = Exchange(body).run(self._infer if is_infer else self._app, scope)
        response = Response(b"", result["status"])
        response.raw_headers = [(name, value) for name, value in result["headers"]]
        response.body = b"" if is_head else result["body"]
        return response

    def _queue_one(self, queue: PredictionQueue, scope: dict[str, Any], body: bytes, request_id: str) -> Response:
        """Store an input, queue its prediction, and answer."""
        logger.request_id = request_id
        request = Request(scope)
        with wait_budget.limited():
            try:
                return predict_asked.queue_one(self._env, queue, predict_asked.ask_one(self._env, request, body))
            except Exception as error:  # noqa: BLE001 - the application's handlers answer every one
                return without_waiting(answer_error(self._handlers, request, error))

    async def _read(self, scope: dict[str, Any], receive: Receive) -> bytes:
        """Return the body. Raises `Problem` (413) if it is too large, and `ClientGoneError`."""
        limit = self._env.limits.body_bytes
        scope[_READ] = True
        try:
            return await read_body(scope["headers"], receive, limit)
        except BodyTooLargeError as error:
            detail = f"The body is longer than the {limit} bytes that are allowed."
            if error.size is not None:
                del scope[_READ]  # the head said enough
                detail = f"The body is {error.size} bytes long; at most {limit} are allowed."
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail) from error

    async def _refuse(self, scope: dict[str, Any], problem: Problem) -> Response:
        return await answer_error(self._handlers, Request(scope), problem)


def _seconds_of_one(model: Model) -> float:
    """Return how long a prediction takes: of an input that is made up, and of a model that is warm."""
    began = time.perf_counter()
    model.warm_up()
    return time.perf_counter() - began


async def _nothing(*_: object) -> None:
    """Do nothing with a request: its scope is all that is wanted."""


def _at_once(running: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine if it need not wait. Tell whether it has ended well."""
    try:
        running.send(None)
    except StopIteration:
        return True
    except Problem:
        return False
    running.close()
    return False
