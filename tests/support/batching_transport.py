"""An HTTP transport that calls the application of the server that batches, in an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakSet

import httpx

from local.batching.application import Application
from local.batching.settings import BatchingSettings

Result = TypeVar("Result")

Start = Callable[..., httpx.Client]
"""Makes a client of an application with the given settings."""

_PATIENCE = 60.0  # seconds

_ENVIRONMENT: dict[str, str] = {}
"""No variable for the server: the functions read their own, such as `AUTH`, and no token is verified here."""

_running: "WeakSet[BatchingTransport]" = WeakSet()


def forget_applications() -> None:
    """Make each application start again before its next request, as its process would."""
    for transport in _running:
        transport.stop()


class BatchingTransport(httpx.BaseTransport):
    """Passes HTTP requests to an application that is started by the first of them.

    Parameters
    ----------
    works
        Whether it works on the queue in PostgreSQL.
    **settings
        The application's settings. It is reached by any name, and is otherwise as the environment says.
    """

    def __init__(self, *, works: bool = False, **settings: Any) -> None:
        self._works = works
        self._settings = {"allowed_hosts": ("api.example",)} | settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._lock = threading.Lock()
        self._application: Application | None = None
        _running.add(self)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request on, and wait for its answer."""
        body = request.read()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "https",
            "method": request.method,
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 443),
        }
        with self._lock:
            if self._application is None:
                self._application = self._run(self._start())
        return self._run(_exchange(self._application, scope, body))

    def stop(self) -> None:
        """Stop the application, if it runs."""
        with self._lock:
            if self._application is not None:
                self._application.stop()
            self._application = None

    def close(self) -> None:
        """Stop the application and its event loop."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    async def _start(self) -> Application:
        application = Application(replace(BatchingSettings.from_environment(_ENVIRONMENT), **self._settings))
        application.start()
        if self._works:
            application.start_queue_worker()
        return application

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)


async def _exchange(application: Application, scope: dict[str, Any], body: bytes) -> httpx.Response:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    is_head = scope["method"] == "HEAD"
    await application(scope, receive, send)
    start, *pieces = sent
    content = b"" if is_head else b"".join(piece["body"] for piece in pieces)
    return httpx.Response(start["status"], headers=start["headers"], content=content)
