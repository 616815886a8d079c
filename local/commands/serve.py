"""`python -m local`: starts the services, the functions and the gateway in order, and always stops them in order."""

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
from local.gateway.sites import Sites
from local.runtime.invocation import FunctionStartError
from local.runtime.pool import FunctionPool, start_all
from local.runtime.triggers import EventSourceMapping, Schedule
from local.services.service import Service
from local.settings import Settings
from local.template import Function, read_template
from local.waiting import StopRequestedError, in_thread, stop_on_signals, unless_stopped

_CHECK_INTERVAL = 0.5  # seconds between two checks that the services run
_GRACE = 2.0  # seconds to answer the requests in flight after the server was asked to stop
_ERROR_GRACE = 0.05  # seconds to answer the requests that failed because their functions were stopped
_CLOSE_TIMEOUT = 1.0  # seconds for uvicorn to notice that every connection is closed


def serve(settings: Settings) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP.

    Raises
    ------
    CannotServeError
        If a part does not start, or ends and cannot be restarted. All other parts have been stopped by then.
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
            triggered = [function for function in declared if function.source or function.period]
            dependencies = await prepare(settings, [*functions, *triggered], cleanup, stop, to_stdout)
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
            sites = Sites(settings.host, settings.allowed_hosts)
            server = HttpServer(HttpApi(router, port, to_stderr, sites, authorize))
            serving = asyncio.create_task(server.run_on(listener))
            cleanup.push_async_callback(_close, server, serving, pools)
            triggers = _start_triggers(triggered, dependencies, settings.environments, cleanup)
            _print_welcome(settings, port, dependencies, time.monotonic() - began)
            await _supervise(dependencies.services, [serving, *triggers], stop)
            to_stdout("stopping")
    to_stdout("stopped")


def _authorize(settings: Settings) -> Authorize | None:
    """Return the function that checks tokens, or None if the server asks for none."""
    if not settings.auth:
        return None
    from local.gateway.issuer import make_issuer  # this takes 0.2 s, which only AUTH=on has to pay

    return make_issuer(settings.ledger_home).claims


def _start_triggers(
    functions: Sequence[Function], dependencies: Dependencies, environments: int, cleanup: contextlib.AsyncExitStack
) -> list[asyncio.Task[None]]:
    """Start the triggers of functions that a queue or a schedule invokes. Environments start with the first event."""
    if dependencies.aws is None:
        return []
    pools = [FunctionPool(function, dependencies.configuration, environments) for function in functions]
    mappings = [
        EventSourceMapping(pool.function.source, pool, dependencies.aws, to_stderr)
        for pool in pools
        if pool.function.source is not None
    ]
    lost = mappings[0].lost if mappings else asyncio.Event()
    schedules = [Schedule(pool, lost, to_stderr) for pool in pools if pool.function.period is not None]
    for pool in pools:
        cleanup.callback(pool.stop)
    triggers = [asyncio.create_task(run) for run in [one.run() for one in mappings] + [one.run() for one in schedules]]
    cleanup.push_async_callback(_cancel, triggers)
    return triggers


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _supervise(services: Sequence[Service], tasks: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait until the server is to stop, and meanwhile restart services that have ended."""
    while not stop.is_set() and not any(task.done() for task in tasks):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _CHECK_INTERVAL)
        for service in services:
            if not stop.is_set() and not service.running():
                to_stderr(f"{service.name} has ended and is restarted")
                await in_thread(service.stop)
                await in_thread(service.start)
    for task in tasks:
        if task.done():
            task.result()  # a task ends before the server only by an exception, which this raises


async def _close(server: HttpServer, serving: asyncio.Task[None], pools: Sequence[FunctionPool]) -> None:
    """Accept no more requests, give those in flight some time, and end the rest."""
    server.should_exit = True
    await asyncio.wait([serving], timeout=_GRACE)
    if not serving.done():
        for pool in pools:
            pool.stop()
        await asyncio.sleep(_ERROR_GRACE)
        server.close_connections()
        await asyncio.wait([serving], timeout=_CLOSE_TIMEOUT)


def _print_welcome(settings: Settings, port: int, dependencies: Dependencies, seconds: float) -> None:
    # A client cannot connect to the wildcard address.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - nothing is bound here
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    to_stdout(f"log        {dependencies.configuration.log}")
    to_stdout(f"\nonnx-ledger is ready on {address} after {seconds:.1f} s; Ctrl-C stops it.")
    if dependencies.package is not None:
        token = token_command(settings.ledger_home) if settings.auth else None
        for what, line in curl_lines(address, dependencies.package, token):
            to_stdout(f"\n# {what}\n{line}")
        to_stdout("")
