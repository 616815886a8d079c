"""Execution environments, seen from the server: started, given one event at a time, replaced when they end.

As on Lambda, several environments of one function run side by side, and each takes one event at a time. Unlike there,
their number is bounded by the machine: an event for which there is no free environment waits for one.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from local.environment import ERROR, FAILED_TO_START, LENGTH_BYTES, READY
from local.gateway import LARGEST_PAYLOAD, Identifiers, encode
from local.settings import ROOT
from local.template import Function

Report = Callable[[str], None]
"""Takes a line for the person who watches the server."""

_LAST_WAIT = 2.0  # seconds for the kernel to take a process away after SIGKILL


class FunctionError(Exception):
    """An invocation ended without a result: the handler raised, or its process ended. Lambda's "function error"."""


class FunctionTimeoutError(Exception):
    """An invocation took longer than its function may."""


class FunctionStartError(Exception):
    """A function's environment could not be started, or its handler could not be imported. One line that says why."""


class Invocation:
    """One event on its way through a function.

    Parameters
    ----------
    event
        The event, as JSON.
    identifiers
        What it is known by.

    Attributes
    ----------
    result : asyncio.Future of bytes
        The handler's result as JSON; or `FunctionError`, `FunctionTimeoutError`, `FunctionStartError`. Once it is
        cancelled nobody waits for it: an invocation that has not begun never does, one that has runs to its end.
    """

    __slots__ = ("event", "identifiers", "result")

    def __init__(self, event: bytes, identifiers: Identifiers) -> None:
        self.event = event
        self.identifiers = identifiers
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End it without a result."""
        if not self.result.done():
            self.result.set_exception(error)


@dataclass(frozen=True)
class Surroundings:
    """What all execution environments have in common."""

    task_root: Path
    """The folder that handlers are imported from, and their working directory."""

    variables: Mapping[str, str]
    """Environment variables on top of the server's own and the template's, such as `DATABASE_URL`."""

    log: Path
    """The file that handlers write to when they print or log."""

    report: Report
    """Told when an environment does not start, or ends unasked."""


def region_of(caller: Mapping[str, str]) -> str:
    """Return the AWS region that functions believe they run in."""
    return caller.get("AWS_REGION") or caller.get("AWS_DEFAULT_REGION") or "us-east-1"


def environment_variables(function: Function, surroundings: Surroundings, caller: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a function's process.

    The caller's environment comes through (credentials, proxies, the search path), and so a variable that the template
    gives a value is set to another by setting it for the server. On top come what the server itself provides and what
    Lambda sets (AWS, "Defined runtime environment variables").
    """
    region = region_of(caller)
    return {
        **{name: value for name, value in function.environment.items() if value is not None},
        **caller,
        **surroundings.variables,
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": time.strftime(f"%Y/%m/%d/[$LATEST]{os.urandom(16).hex()}", time.gmtime()),
        "AWS_REGION": region,
        "LAMBDA_TASK_ROOT": str(surroundings.task_root),
        "TZ": ":UTC",
        "_HANDLER": function.handler,
    }


class _Environment(asyncio.Protocol):
    """The server's end of one execution environment."""

    def __init__(self, pool: "FunctionPool", process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.ready = False
        self.start_error: str | None = None
        self.killed = False
        self._pool = pool
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._invocation: Invocation | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < LENGTH_BYTES:
            return
        end = LENGTH_BYTES + int.from_bytes(self._received[:LENGTH_BYTES], "big")
        if len(self._received) < end:
            return
        # At most one frame is under way: the next one answers an event that has not been sent yet.
        kind = bytes(self._received[LENGTH_BYTES : LENGTH_BYTES + 1])
        payload = bytes(self._received[LENGTH_BYTES + 1 :])
        self._received.clear()
        if kind == READY:
            self.ready = True
            self._pool.started()
            self._pool.free(self)
        elif kind == FAILED_TO_START:
            self.start_error = _one_line(json.loads(payload))
        else:
            self._answer(kind, payload)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature that asyncio asks for
        if invocation := self._take():
            invocation.fail(FunctionError("the process ended"))
        self.kill()
        self._pool.lost(self)

    def run(self, invocation: Invocation, timeout: float) -> None:
        """Give it an event. It must be ready, and busy with no other."""
        about = {
            "id": invocation.identifiers.invocation_id,
            "trace": invocation.identifiers.trace_id,
            "deadline": int((time.time() + timeout) * 1000),
        }
        head = encode(about).encode() + b"\n"
        length = len(head) + len(invocation.event)
        self._invocation = invocation
        self._alarm = asyncio.get_running_loop().call_later(timeout, self._time_out, timeout)
        self._transport.write(b"".join((length.to_bytes(LENGTH_BYTES, "big"), head, invocation.event)))

    def kill(self) -> None:
        """End the process and whatever it started. `connection_lost` follows."""
        # It leads a process group of its own, whose id is not given to another as long as we have not waited for it.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _take(self) -> Invocation | None:
        if self._alarm is not None:
            self._alarm.cancel()
        invocation, self._invocation = self._invocation, None
        return invocation

    def _answer(self, kind: bytes, payload: bytes) -> None:
        invocation = self._take()
        if invocation is None:
            return  # it came too late: the time-out was faster
        if kind == ERROR:
            invocation.fail(FunctionError(_one_line(json.loads(payload))))
        elif len(payload) > LARGEST_PAYLOAD:
            invocation.fail(FunctionError(f"its result has {len(payload)} bytes, over the limit of {LARGEST_PAYLOAD}"))
        elif not invocation.result.done():
            invocation.result.set_result(payload)
        self._pool.free(self)

    def _time_out(self, timeout: float) -> None:
        if invocation := self._take():
            invocation.fail(FunctionTimeoutError(f"it timed out after {timeout:g} seconds"))
        self.killed = True
        self.kill()


class FunctionPool:
    """All execution environments of one function.

    Parameters
    ----------
    function
        The function.
    surroundings
        What its environments run in.
    size
        At most so many run side by side. One is started at first, the others when events have to wait.
    """

    def __init__(self, function: Function, surroundings: Surroundings, size: int) -> None:
        self.function = function
        self.size = size
        self._surroundings = surroundings
        self._environments: set[_Environment] = set()
        self._idle: list[_Environment] = []
        self._waiting: deque[Invocation] = deque()
        self._starting = 0
        self._first: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Start one environment and wait until it is ready.

        Raises
        ------
        FunctionStartError
            If it does not get ready.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._start_one()
        await self._first

    def invoke(self, invocation: Invocation) -> None:
        """Run an event, now or as soon as an environment is free. `invocation.result` says how it ended."""
        if self._idle:
            # The one that was free last has the warmest caches.
            self._idle.pop().run(invocation, self.function.timeout)
        else:
            self._waiting.append(invocation)
            self._grow()

    def stop(self) -> None:
        """End every environment. What is being run, or waits to be, fails."""
        self._stopped = True
        for environment in self._environments:
            environment.kill()
        self._fail_waiting(FunctionError("the server is stopping"))
        for environment in self._environments:
            with contextlib.suppress(subprocess.TimeoutExpired):
                environment.process.wait(_LAST_WAIT)

    def started(self) -> None:
        """Take note that an environment has imported its handler."""
        self._starting -= 1
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def free(self, environment: _Environment) -> None:
        """Take note that an environment is ready for an event, and give it the one that has waited longest."""
        while self._waiting:
            invocation = self._waiting.popleft()
            if not invocation.result.done():
                environment.run(invocation, self.function.timeout)
                self._grow()
                return
        self._idle.append(environment)

    def lost(self, environment: _Environment) -> None:
        """Take note that an environment's process has hung up."""
        self._environments.discard(environment)
        if environment in self._idle:
            self._idle.remove(environment)
        if not environment.ready:
            self._starting -= 1
        self._spawn(self._bury(environment))

    async def _bury(self, environment: _Environment) -> None:
        status = await asyncio.to_thread(environment.process.wait)
        if self._stopped:
            return
        if not environment.ready:
            self._not_started(environment.start_error or f"its process {_ending(status)} while it imported the handler")
            return
        if not environment.killed:
            self._surroundings.report(
                f"{self.function.name}: an execution environment {_ending(status)}, a new one starts"
            )
        if not self._environments:
            self._start_one()
        self._grow()

    def _not_started(self, reason: str) -> None:
        error = FunctionStartError(f"{self.function.name} cannot start: {reason}")
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)
        else:
            self._surroundings.report(f"{error} (more in {self._surroundings.log})")
        if not self._environments:
            # As on Lambda: these events fail, and the next one tries to start an environment again.
            self._fail_waiting(error)

    def _fail_waiting(self, error: Exception) -> None:
        while self._waiting:
            self._waiting.popleft().fail(error)

    def _grow(self) -> None:
        """Start one more environment while events wait, one at a time: most queues are gone before it is ready."""
        if self._waiting and not self._starting and len(self._environments) < self.size and not self._stopped:
            self._start_one()

    def _start_one(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._surroundings.log.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "local.environment", self.function.handler],
                    stdin=theirs.fileno(),
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=environment_variables(self.function, self._surroundings, os.environ),
                    # The terminal's Ctrl-C is for the server, which ends its environments when it has to.
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            self._not_started(str(error))
            return
        environment = _Environment(self, process)
        self._environments.add(environment)
        self._starting += 1
        self._spawn(self._connect(environment, ours))

    async def _connect(self, environment: _Environment, channel: socket.socket) -> None:
        loop = cast("asyncio.BaseEventLoop", asyncio.get_running_loop())
        await loop.create_unix_connection(lambda: environment, sock=channel)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)


async def start_all(pools: Iterable[FunctionPool]) -> None:
    """Start an environment of each function and wait until all are ready.

    Raises
    ------
    FunctionStartError
        If one does not get ready.
    """
    await asyncio.gather(*(pool.start() for pool in pools))


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def _one_line(error: Mapping[str, str]) -> str:
    return " ".join(f"{error['errorType']}: {error['errorMessage']}".split())
