"""`python -m local invoke`: runs one function on one event, in a new execution environment."""

import asyncio
import contextlib
import json
from pathlib import Path

import uvloop

from local.commands.console import to_stderr, to_stdout
from local.commands.dependencies import prepare
from local.commands.lock_file import lock_home
from local.errors import CannotServeError
from local.runtime.invocation import (
    FunctionError,
    FunctionStartError,
    FunctionTimeoutError,
    Invocation,
    new_identifiers,
)
from local.runtime.pool import FunctionPool
from local.settings import Settings
from local.template import read_template
from local.waiting import StopRequestedError, stop_on_signals, unless_stopped


def invoke(settings: Settings, name: str, event: Path) -> int:
    """Run a function on one event. Print the result as JSON on standard output, and all else on standard error.

    Parameters
    ----------
    settings
        The settings of the server, which must not run in the same home folder meanwhile.
    name
        The function's name, or its logical id in the template.
    event
        The file with the event, as JSON.

    Returns
    -------
    int
        The exit status: 0, or 1 if the function fails.

    Raises
    ------
    CannotServeError
        If there is no such function or file, or one of the function's dependencies does not start.
    """
    try:
        content = json.dumps(json.loads(event.read_bytes())).encode()
    except OSError as error:
        raise CannotServeError(f"{event}: {error.strerror}") from error
    except ValueError as error:
        raise CannotServeError(f"{event}: it is not JSON: {error}") from error
    with lock_home(settings.ledger_home), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_invoke(settings, name, content))


async def _invoke(settings: Settings, name: str, event: bytes) -> int:
    stop = stop_on_signals()
    functions = [
        function for function in read_template(settings.template) if name in (function.name, function.logical_id)
    ]
    if not functions:
        raise CannotServeError(f"{settings.template.name} has no function {name}")
    async with contextlib.AsyncExitStack() as cleanup:
        try:
            dependencies = await prepare(settings, functions, cleanup, stop, to_stderr)
            pool = FunctionPool(functions[0], dependencies.configuration, 1)
            cleanup.callback(pool.stop)
            await unless_stopped(stop, pool.start())
            invocation = Invocation(event, new_identifiers())
            pool.invoke(invocation)
            to_stdout((await unless_stopped(stop, _result(invocation))).decode())
        except (FunctionError, FunctionStartError, FunctionTimeoutError) as error:
            to_stderr(f"{name}: {error} (more in {dependencies.configuration.log})")
            return 1
        except StopRequestedError:
            return 1
    return 0


async def _result(invocation: Invocation) -> bytes:
    return await invocation.result
