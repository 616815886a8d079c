"""`python -m local`: the functions and all that they need, started in order, and stopped in order however it ends."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence

import uvloop

from local.commands.console import to_stderr, to_stdout
from local.commands.dependencies import Dependencies, prepare
from local.commands.lock_file import lock_home
from local.commands.welcome import curl_lines, token_command
from local.errors import CannotServeError
from local.gateway.http_server import Authorize, HttpApi, HttpServer, listen
from local.gateway.routing import Router
from local.runtime.invocation import FunctionStartError
from local.runtime.pool import FunctionPool, start_all
from local.runtime.triggers import EventSourceMapping, Schedule
from local.services.service import Service
from local.settings import Settings
from local.template import Function, read_template
from local.waiting import StopRequestedError, in_thread, stop_on_signals, unless_stopped

_LOOK_AFTER_SERVICES = 0.5  # seconds from one look to the next
_GRACE = 2.0  # seconds that requests under way get to be answered once the server is told to stop
_LAST_WORDS = 0.05  # seconds for requests that failed by that to be answered
_LAST_WAIT = 1.0  # seconds for uvicorn to notice that every connection is closed


def serve(settings: Settings) -> None:
    """Serve until told to stop by SIGINT, SIGTERM or SIGHUP.

    Raises
    ------
    CannotServeError
        If something that is needed does not start, or goes away and cannot be started again. By then everything that
        was started has been stopped.
    """
    began = time.monotonic()
    with (
        listen(settings.host, settings.port) as listener,
        lock_home(settings.ledger_home),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, listener, began))


async def _serve(settings: Settings, listener: socket.socket, began: float) -> None:
    stop = stop_on_signals()
    declared = read_template(settings.template)
    functions = [function for function in declared if function.routes]
    if not functions:
        raise CannotServeError(f"{settings.template}: none of its functions has an HttpApi event")
    authorize = _authorize(settings)
    with contextlib.suppress(StopRequestedError):
        async with contextlib.AsyncExitStack() as cleanup:
            called = [function for function in declared if function.source or function.period]
            dependencies = await prepare(settings, [*functions, *called], cleanup, stop, to_stdout)
            to_stdout(f"functions  {', '.join(function.name for function in functions)}")
            pools = [
                FunctionPool(function, dependencies.configuration, settings.environments) for function in functions
            ]
            for pool in pools:
                cleanup.callback(pool.stop)
            try:
                await unless_stopped(stop, start_all(pools))
            except FunctionStartError as error:
                raise CannotServeError(f"{error} (more in {dependencies.configuration.log})") from error
            port: int = listener.getsockname()[1]
            router = Router((route, pool) for pool in pools for route in pool.function.routes)
            server = HttpServer(HttpApi(router, port, to_stderr, authorize))
            serving = asyncio.create_task(server.run_on(listener))
            cleanup.push_async_callback(_close, server, serving, pools)
            calls = _call(called, dependencies, settings.environments, cleanup)
            _welcome(settings, port, dependencies, time.monotonic() - began)
            await _look_after(dependencies.services, [serving, *calls], stop)
            to_stdout("stopping")
    to_stdout("stopped")


def _authorize(settings: Settings) -> Authorize | None:
    """Return what checks tokens, where they are asked for."""
    if not settings.auth:
        return None
    from local.gateway.issuer import make_issuer  # 0.2 s, for those only who asked for it

    return make_issuer(settings.ledger_home).claims


def _call(
    functions: Sequence[Function], dependencies: Dependencies, environments: int, cleanup: contextlib.AsyncExitStack
) -> list[asyncio.Task[None]]:
    """Begin to call the functions that a queue or a schedule calls. Their environments start with their first event."""
    if dependencies.aws is None:
        return []
    pools = [FunctionPool(function, dependencies.configuration, environments) for function in functions]
    sources = [
        EventSourceMapping(pool.function.source, pool, dependencies.aws, to_stderr)
        for pool in pools
        if pool.function.source is not None
    ]
    lost = sources[0].lost if sources else asyncio.Event()
    schedules = [Schedule(pool, lost, to_stderr) for pool in pools if pool.function.period is not None]
    for pool in pools:
        cleanup.callback(pool.stop)
    calls = [asyncio.create_task(call) for call in [one.run() for one in sources] + [one.run() for one in schedules]]
    cleanup.push_async_callback(_cancel, calls)
    return calls


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _look_after(services: Sequence[Service], tasks: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait for the end; until then start a service again that has ended by itself."""
    while not stop.is_set() and not any(task.done() for task in tasks):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_AFTER_SERVICES)
        for service in services:
            if not stop.is_set() and not service.running():
                to_stderr(f"{service.name} has ended and is started again")
                await in_thread(service.stop)
                await in_thread(service.start)
    for task in tasks:
        if task.done():
            task.result()  # none ends by itself, unless with an exception


async def _close(server: HttpServer, serving: asyncio.Task[None], pools: Sequence[FunctionPool]) -> None:
    """Take no more requests, give those under way a moment, end the rest."""
    server.should_exit = True
    await asyncio.wait([serving], timeout=_GRACE)
    if not serving.done():
        for pool in pools:
            pool.stop()
        await asyncio.sleep(_LAST_WORDS)
        server.hang_up()
        await asyncio.wait([serving], timeout=_LAST_WAIT)


def _welcome(settings: Settings, port: int, dependencies: Dependencies, seconds: float) -> None:
    # Nobody can connect to the address that stands for all of them.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - it is not bound here
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    to_stdout(f"log        {dependencies.configuration.log}")
    to_stdout(f"\nonnx-ledger is ready on {address} after {seconds:.1f} s; Ctrl-C stops it.")
    if dependencies.package is not None:
        token = token_command(settings.ledger_home) if settings.auth else None
        for what, line in curl_lines(address, dependencies.package, token):
            to_stdout(f"\n# {what}\n{line}")
        to_stdout("")
