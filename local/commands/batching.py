"""`SERVER=batching`: the server that batches as one guarded process, on the socket that this process listens on."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

from local.account import region_of
from local.batching.settings import BatchingSettings
from local.commands.dependencies import Dependencies
from local.errors import CannotServeError
from local.services.process_guard import GuardedProcess
from local.settings import ROOT
from local.waiting import in_thread, unless_stopped

_CHECK_INTERVAL = 0.1  # seconds between two looks whether the server has ended
_BEYOND = 3.0  # seconds for its processes to end, beyond those for the requests in flight
_ASK = b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
_NOT_THEIRS = frozenset(("QUEUE_URL",))  # the database is the queue


async def start_batching(
    listener: socket.socket,
    home: Path,
    dependencies: Dependencies,
    cleanup: contextlib.AsyncExitStack,
    stop: asyncio.Event,
) -> "asyncio.Task[None]":
    """Start the server, and wait until it answers.

    Parameters
    ----------
    listener
        The socket to serve on.
    home
        The home folder, which has the key of the local issuer.
    dependencies
        What the server needs, started.
    cleanup
        Receives the callback that stops the server.
    stop
        Set when the server is asked to stop.

    Returns
    -------
    asyncio.Task
        It ends by `CannotServeError` when the server ends by itself.

    Raises
    ------
    CannotServeError
        If a setting is wrong, or the server does not start.
    """
    variables = dependencies.configuration.variables
    region = region_of(os.environ)
    environment = {
        **{name: value for name, value in {**os.environ, **variables}.items() if name not in _NOT_THEIRS},
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }
    if environment["AUTH"] == "on" and not environment.get("ISSUER"):
        environment |= _local_issuer(home)
    settings = BatchingSettings.from_environment(environment)
    log = dependencies.configuration.log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = GuardedProcess(
            [sys.executable, "-m", "local.batching", "--fd", str(listener.fileno())],
            stop=((signal.SIGTERM, settings.stop_seconds + _BEYOND),),
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
            pass_fds=[listener.fileno()],
        )
    cleanup.push_async_callback(in_thread, process.stop)
    running = asyncio.create_task(_ended(process, log))
    cleanup.callback(running.cancel)
    asking = asyncio.create_task(_answers(listener))
    try:
        await unless_stopped(stop, _first(running, asking))
    finally:
        asking.cancel()
    return running


def _local_issuer(home: Path) -> dict[str, str]:
    """Return the settings for tokens that `python -m local token` prints."""
    from local.gateway.issuer import AUDIENCE, ISSUER, make_issuer  # this takes 0.2 s, which only AUTH=on has to pay

    return {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "JWKS_URL": make_issuer(home).publish(home)}


async def _first(running: "asyncio.Task[None]", asking: "asyncio.Task[None]") -> None:
    """Wait until the server answers. Raises what `running` raises if the server ends before that."""
    done, _ = await asyncio.wait([running, asking], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _ended(process: GuardedProcess, log: Path) -> None:
    while process.poll() is None:
        await asyncio.sleep(_CHECK_INTERVAL)
    raise CannotServeError(f"the server has ended (more in {log})")


async def _answers(listener: socket.socket) -> None:
    """Wait until a process of the server answers. Connections wait in the socket's backlog until then."""
    host, port = listener.getsockname()[:2]
    reader, writer = await asyncio.open_connection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - nothing is bound here
    writer.write(_ASK)
    await reader.readline()
    writer.close()
