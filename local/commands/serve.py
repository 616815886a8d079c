"""`python -m local`: starts the services, the functions and the gateway in order, and always stops them in order."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence

import uvloop

from local.commands.batching import start_batching
from local.commands.console import to_stderr, to_stdout
from local.commands.dependencies import Dependencies, prepare
from local.commands.lock_file import lock_home
from local.commands.welcome import curl_lines, token_command
from local.errors import CannotServeError
from local.gateway.http_server import Authorize, HttpApi, HttpServer
from local.gateway.routing import Router
from local.http.listening import listen
from local.http.sites import Sites
from local.runtime.invocation import FunctionStartError
from local.runtime.pool import FunctionPool, start_all
from local.runtime.triggers import EventSourceMapping, Schedule
from local.services.service import Service
from local.settings import Settings
from local.template import Function, read_template
from local.waiting import StopRequestedError, in_thread, stop_on_signals, unless_stopped

_CHECK_INTERVAL = 0.5  # seconds between two checks that a service runs
_LONGEST_PAUSE = 8.0  # seconds between two attempts to restart a service; the first pause is _CHECK_INTERVAL
_GRACE = 2.0  # seconds to answer the requests in flight after the server was asked to stop
_ERROR_GRACE = 0.05  # seconds to answer the requests that failed because their functions were stopped
_CLOSE_TIMEOUT = 1.0  # seconds for uvicorn to notice that every connection is closed


def serve(settings: Settings) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP.

    Raises
    ------
    CannotServeError
        If a part does not start. All other parts have been stopped by then. Once the server is ready, it goes on
        trying to restart a service that has ended.
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
    with contextlib.suppress(StopRequestedError):
        async with contextlib.AsyncExitStack() as cleanup:
            triggered = [function for function in declared if function.source or function.period]
            dependencies = await prepare(settings, [*functions, *triggered], cleanup, stop, to_stdout)
            port: int = listener.getsockname()[1]
            if settings.has_own_issuer(os.environ):
                from local.commands.sign_in import start_sign_in  # with what it needs, which only AUTH=on has to pay

                dependencies = await start_sign_in(settings, port, dependencies, cleanup)
            if settings.batches:
                tasks, queue_lost = (
                    [await start_batching(listener, settings.ledger_home, dependencies, cleanup, stop)],
                    asyncio.Event(),
                )
            else:
                tasks, queue_lost = await _start_functions(settings, declared, listener, dependencies, cleanup, stop)
            _print_welcome(settings, port, dependencies, time.monotonic() - began)

            def restarted(service: Service) -> None:
                if service is dependencies.aws:
                    queue_lost.set()

            await _supervise(dependencies.services, tasks, stop, restarted)
            to_stdout("stopping")
    to_stdout("stopped")


async def _start_functions(
    settings: Settings,
    declared: Sequence[Function],
    listener: socket.socket,
    dependencies: Dependencies,
    cleanup: contextlib.AsyncExitStack,
    stop: asyncio.Event,
) -> tuple[list["asyncio.Task[None]"], asyncio.Event]:
    """Start the functions, the gateway and the triggers.

    Returns
    -------
    tuple
        The tasks of the gateway and the triggers, and the event to set when the queue has lost its messages.
    """
    authorize = _authorize(settings)
    functions = [function for function in declared if function.routes]
    to_stdout(f"functions  {', '.join(function.name for function in functions)}")
    pools = [FunctionPool(function, dependencies.configuration, settings.environments) for function in functions]
    for pool in pools:
        cleanup.callback(pool.stop)
    try:
        await unless_stopped(stop, start_all(pools))
    except FunctionStartError as error:
        raise CannotServeError(f"{error} (more in {dependencies.configuration.log})") from error
    router = Router((route, pool) for pool in pools for route in pool.function.routes)
    sites = Sites(settings.host, settings.allowed_hosts)
    server = HttpServer(HttpApi(router, listener.getsockname()[1], to_stderr, sites, authorize))
    serving = asyncio.create_task(server.run_on(listener))
    cleanup.push_async_callback(_close, server, serving, pools)
    triggered = [function for function in declared if function.source or function.period]
    triggers, queue_lost = _start_triggers(triggered, dependencies, settings.environments, cleanup)
    return [serving, *triggers], queue_lost


def _authorize(settings: Settings) -> Authorize | None:
    """Return the function that checks tokens, or None if the server asks for none."""
    if not settings.auth:
        return None
    from local.gateway.issuer import make_issuer  # this takes 0.2 s, which only AUTH=on has to pay

    return make_issuer(settings.ledger_home).claims


def _start_triggers(
    functions: Sequence[Function], dependencies: Dependencies, environments: int, cleanup: contextlib.AsyncExitStack
) -> tuple[list[asyncio.Task[None]], asyncio.Event]:
    """Start the triggers of functions that a queue or a schedule invokes. Environments start with the first event.

    Returns
    -------
    tuple
        The triggers, and the event to set when the queue has lost its messages.
    """
    if dependencies.aws is None:
        return [], asyncio.Event()
    pools = [FunctionPool(function, dependencies.configuration, environments) for function in functions]
    mappings = [
        EventSourceMapping(pool.function.source, pool, dependencies.aws, to_stderr)
        for pool in pools
        if pool.function.source is not None
    ]
    lost = mappings[0].lost if mappings else asyncio.Event()
    schedules = [
        Schedule(pool, lost if "QUEUE_URL" in pool.function.environment else asyncio.Event(), to_stderr)
        for pool in pools
        if pool.function.period is not None
    ]
    for pool in pools:
        cleanup.callback(pool.stop)
    triggers = [asyncio.create_task(run) for run in [one.run() for one in mappings] + [one.run() for one in schedules]]
    cleanup.push_async_callback(_cancel, triggers)
    return triggers, lost


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _supervise(
    services: Sequence[Service],
    tasks: Sequence[asyncio.Task[None]],
    stop: asyncio.Event,
    restarted: Callable[[Service], None],
) -> None:
    """Wait until the server is to stop, and meanwhile restart services that have ended."""
    keeping = [asyncio.create_task(_keep_running(service, stop, restarted)) for service in services]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *keeping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.gather(stopping, *keeping)  # a service that is being started must not be stopped at the same time
    for task in tasks:
        if task.done():
            task.result()  # a task ends before the server only by an exception, which this raises


async def _keep_running(service: Service, stop: asyncio.Event, restarted: Callable[[Service], None]) -> None:
    """Restart a service whenever it has ended, until the server is to stop.

    It may not start at the first attempt: it is killed again while it recovers, or the disk is full for a while.
    """
    while not await _is_set_within(stop, _CHECK_INTERVAL):
        if service.running():
            continue
        to_stderr(f"{service.name} has ended and is restarted")
        pause = _CHECK_INTERVAL
        while not stop.is_set():
            await in_thread(service.stop)
            try:
                await in_thread(service.start)
            except CannotServeError as error:
                to_stderr(f"{error}; the next attempt is in {pause:g} s")
                await _is_set_within(stop, pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                to_stderr(f"{service.name} runs again")
                restarted(service)
                break


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


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
