"""Execution environments, seen from the server: started, given one event at a time, replaced when they end.

As on Lambda, several environments of one function run side by side, and each takes one event at a time. Unlike there,
their number is bounded by the machine: an event for which there is no free environment waits for one.

A busy environment is given its next event ahead, so that it finds it the moment it is done: an environment that waits
for the server between any two events has lost the processor, and what the processor's caches knew of it. What was given
ahead is taken back when another environment is free sooner. An event may be begun by whoever reads its permit, of which
there is one, in a pipe: the environment, or the server to take it back.
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
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import cast

from local.account import region_of
from local.runtime.environment import FAILED_TO_START, LENGTH_BYTES, PERMIT_BYTES, READY
from local.runtime.invocation import (
    FunctionError,
    FunctionStartError,
    FunctionTimeoutError,
    Invocation,
    describe,
    encode,
)
from local.settings import ROOT
from local.template import Function

Report = Callable[[str], None]
"""Takes a line for the person who watches the server."""

_LAST_WAIT = 2.0  # seconds for the kernel to take a process away after SIGKILL
_GIVEN_AHEAD = 1  # events; with one more, none is there sooner, and more are in the wrong place


@dataclass(frozen=True)
class RuntimeConfiguration:
    """What all execution environments have in common."""

    task_root: Path
    """The folder that handlers are imported from, and their working directory."""

    variables: Mapping[str, str]
    """Environment variables on top of the server's own and the template's, such as `DATABASE_URL`."""

    log: Path
    """The file that handlers write to when they print or log."""

    report: Report
    """Told when an environment does not start, or ends unasked."""


def environment_variables(
    function: Function, configuration: RuntimeConfiguration, caller: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment variables of a function's process.

    The caller's environment comes through (credentials, proxies, the search path), and so a variable that the template
    gives a value is set to another by setting it for the server. On top come what the server itself provides and what
    Lambda sets (AWS, "Defined runtime environment variables").
    """
    region = region_of(caller)
    return {
        **{name: value for name, value in function.environment.items() if value is not None},
        **caller,
        **configuration.variables,
        "AWS_DEFAULT_REGION": region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": time.strftime(f"%Y/%m/%d/[$LATEST]{os.urandom(16).hex()}", time.gmtime()),
        "AWS_REGION": region,
        "LAMBDA_TASK_ROOT": str(configuration.task_root),
        "TZ": ":UTC",
        "_HANDLER": function.handler,
    }


class _Environment(asyncio.Protocol):
    """The server's end of one execution environment."""

    def __init__(self, pool: "FunctionPool", process: subprocess.Popen[bytes], permits: "_Permits") -> None:
        self.process = process
        self.ready = False
        self.start_error: str | None = None
        self.killed = False
        self.began = 0.0  # when it was given what it runs, on the loop's clock
        self._pool = pool
        self._permits = permits
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._given: deque[Invocation] = deque()  # what it runs, and the one after that
        self._alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._received[:LENGTH_BYTES], "big")
            if len(self._received) < end:
                return
            kind = bytes(self._received[LENGTH_BYTES : LENGTH_BYTES + 1])
            payload = bytes(self._received[LENGTH_BYTES + 1 : end])
            del self._received[:end]
            self._take(kind, payload)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature that asyncio asks for
        not_begun = []
        while invocation := self.take_back():
            not_begun.append(invocation)
        for invocation in self._given:
            invocation.fail(FunctionError("the process ended"))
        self._given.clear()
        self._watch()
        self._permits.close()
        self.kill()
        self._pool.lost(self, not_begun)

    def can_take(self) -> bool:
        """Whether an event can be given: to be run at once, or next."""
        return self.ready and not self.killed and len(self._given) <= _GIVEN_AHEAD

    def is_busy(self) -> bool:
        """Whether it runs an event."""
        return bool(self._given)

    def has_more(self) -> bool:
        """Whether it was given another event than the one that it runs."""
        return len(self._given) > 1

    def give(self, invocation: Invocation) -> None:
        """Give it an event, to be run at once or after the one that it runs."""
        identifiers = invocation.identifiers
        about = {
            "id": identifiers.invocation_id,
            "trace": identifiers.trace_id,
            "timeout": self._pool.function.timeout,
        }
        head = encode(about) + b"\n"
        length = len(head) + len(invocation.event)
        self._given.append(invocation)
        self._permits.put(identifiers.invocation_id)
        self._transport.write(b"".join((length.to_bytes(LENGTH_BYTES, "big"), head, invocation.event)))
        if len(self._given) == 1:
            self._watch()

    def take_back(self) -> Invocation | None:
        """Take back the first event that it has not begun. None if it has begun all of them."""
        while permit := self._permits.get():
            for invocation in self._given:
                if invocation.identifiers.invocation_id == permit:
                    is_first = invocation is self._given[0]
                    self._given.remove(invocation)
                    if is_first:
                        self._watch()
                    return invocation
        return None

    def kill(self) -> None:
        """End the process and whatever it started. `connection_lost` follows."""
        # It leads a process group of its own, whose id is not given to another as long as we have not waited for it.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _watch(self) -> None:
        """Begin to count the time that what it runs may take."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._given:
            loop = asyncio.get_running_loop()
            self.began = loop.time()
            self._alarm = loop.call_later(self._pool.function.timeout, self._time_out)

    def _take(self, kind: bytes, payload: bytes) -> None:
        if kind == READY:
            self.ready = True
            self._pool.started()
            self._pool.free(self)
        elif kind == FAILED_TO_START:
            self.start_error = describe(json.loads(payload))
        elif not self.killed:  # else it came too late: the time-out was faster
            invocation = self._given.popleft()
            self._watch()
            self._pool.free(self)
            invocation.end(kind, payload)

    def _time_out(self) -> None:
        invocation = self._given.popleft()
        invocation.fail(FunctionTimeoutError(f"it timed out after {self._pool.function.timeout:g} seconds"))
        self.killed = True
        self.kill()


class _Permits:
    """The permits to begin events that one environment was given: a pipe, whose every item is read once, by one reader.

    Raises
    ------
    OSError
        If there can be no pipe.
    """

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def put(self, invocation_id: str) -> None:
        """Permit an event to be begun."""
        os.write(self._write_end, invocation_id.encode("ascii"))

    def get(self) -> str | None:
        """Take the first permit that is left; None if there is none."""
        try:
            return os.read(self.read_end, PERMIT_BYTES).decode("ascii")
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_end)
        os.close(self._write_end)


_BEGAN = attrgetter("began")


class FunctionPool:
    """All execution environments of one function.

    Parameters
    ----------
    function
        The function.
    configuration
        What its environments run in.
    size
        At most so many run side by side. One is started at first, the others when events have to wait.
    """

    def __init__(self, function: Function, configuration: RuntimeConfiguration, size: int) -> None:
        self.function = function
        self.size = size
        self._configuration = configuration
        self._environments: list[_Environment] = []
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
            self._idle.pop().give(invocation)
            return
        # The one that has been busy longest is likely to be done first.
        first = min((one for one in self._environments if one.can_take()), key=_BEGAN, default=None)
        if first is not None and not self._waiting:
            first.give(invocation)
        else:
            self._waiting.append(invocation)
        self._grow()

    def stop(self) -> None:
        """End every environment. What is being run, or waits to be, fails."""
        self._stopped = True
        for environment in self._environments:
            environment.kill()
        self._fail(self._waiting, FunctionError("the server is stopping"))
        for environment in self._environments:
            with contextlib.suppress(subprocess.TimeoutExpired):
                environment.process.wait(_LAST_WAIT)

    def started(self) -> None:
        """Take note that an environment has imported its handler."""
        self._starting -= 1
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def free(self, environment: _Environment) -> None:
        """Take note that an environment can take an event: the one that has waited longest, or another's next one."""
        while self._waiting:
            invocation = self._waiting.popleft()
            if not invocation.result.done():
                environment.give(invocation)
                if not environment.can_take():
                    break
        if self._waiting:
            self._grow()
        if environment.is_busy():
            return
        for other in sorted(self._environments, key=_BEGAN):
            while other.has_more() and (taken_back := other.take_back()):
                if not taken_back.result.done():
                    environment.give(taken_back)
                    return
        self._idle.append(environment)

    def lost(self, environment: _Environment, not_begun: Sequence[Invocation]) -> None:
        """Take note that an environment's process has hung up, and what of that which it was given it has not begun."""
        self._environments.remove(environment)
        if environment in self._idle:
            self._idle.remove(environment)
        if not environment.ready:
            self._starting -= 1
        if self._stopped:
            self._fail(deque(not_begun), FunctionError("the server is stopping"))
        self._waiting.extendleft(reversed(not_begun))
        if self._waiting and self._idle:
            self.free(self._idle.pop())
        self._spawn(self._bury(environment))

    async def _bury(self, environment: _Environment) -> None:
        status = await asyncio.to_thread(environment.process.wait)
        if self._stopped:
            return
        if not environment.ready:
            self._not_started(environment.start_error or f"its process {_ending(status)} while it imported the handler")
            return
        if not environment.killed:
            self._configuration.report(
                f"{self.function.name}: an execution environment {_ending(status)}, a new one starts"
            )
        if self._waiting or not self._environments:
            self._grow()

    def _not_started(self, reason: str) -> None:
        error = FunctionStartError(f"{self.function.name} cannot start: {reason}")
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)
        else:
            self._configuration.report(f"{error} (more in {self._configuration.log})")
        if not self._environments:
            # As on Lambda: these events fail, and the next one tries to start an environment again.
            self._fail(self._waiting, error)

    def _fail(self, invocations: deque[Invocation], error: Exception) -> None:
        while invocations:
            invocations.popleft().fail(error)

    def _grow(self) -> None:
        """Start one more environment, one at a time: most queues are gone before it is ready."""
        if not self._starting and len(self._environments) < self.size and not self._stopped:
            self._start_one()

    def _start_one(self) -> None:
        ours, theirs = socket.socketpair()
        permits = _Permits()
        try:
            with theirs, self._configuration.log.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "local.runtime.environment", self.function.handler, str(permits.read_end)],
                    stdin=theirs.fileno(),
                    pass_fds=[permits.read_end],
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=environment_variables(self.function, self._configuration, os.environ),
                    # The terminal's Ctrl-C is for the server, which ends its environments when it has to.
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            permits.close()
            self._not_started(str(error))
            return
        environment = _Environment(self, process, permits)
        self._environments.append(environment)
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
