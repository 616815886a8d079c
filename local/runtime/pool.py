"""The execution environments of a function: the server starts them, sends them events and replaces those that end.

As on Lambda, several environments of one function run side by side, and each runs one event at a time. Unlike on
Lambda, the machine limits their number: an event waits until an environment is free.

A busy environment prefetches its next event. Without it, the environment would wait for the server after every event,
lose the processor, and find its caches cold. If another environment becomes free first, the server takes the prefetched
event back. Each event has one permit in a pipe, and whoever reads the permit owns the event: the environment may begin
it, or the server may send it elsewhere. Without the permit, an event could run twice.
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
from typing import IO, cast

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
"""Prints a line for the person who runs the server."""

_KILL_TIMEOUT = 2.0  # seconds for the kernel to end a process after SIGKILL
_PREFETCH = 1  # events; a second one would arrive no sooner, and would more often have to be taken back


@dataclass(frozen=True)
class RuntimeConfiguration:
    """The settings that all execution environments share."""

    task_root: Path
    """The folder from which handlers are imported; it is their working directory, too."""

    variables: Mapping[str, str]
    """Environment variables that override the server's own and the template's, such as `DATABASE_URL`."""

    log: Path
    """The file that receives what handlers print and log."""

    report: Report
    """Called when an environment does not start, or ends unexpectedly."""


def environment_variables(
    function: Function, configuration: RuntimeConfiguration, caller: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment variables of a function's process.

    The function inherits the server's environment: credentials, proxies, the search path. A variable of the server
    therefore overrides the template's value. The server's configuration overrides both, and so do the variables that
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
        self.began = 0.0  # when its current event began, on the loop's clock
        self._pool = pool
        self._permits = permits
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._assigned: deque[Invocation] = deque()  # the event that it runs, and the prefetched one
        self._timer: asyncio.TimerHandle | None = None

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
            self._handle(kind, payload)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature that asyncio asks for
        not_begun = []
        while invocation := self.take_back():
            not_begun.append(invocation)
        for invocation in self._assigned:
            invocation.fail(FunctionError("the process ended"))
        self._assigned.clear()
        self._restart_timer()
        self._permits.close()
        self.kill()
        self._pool.environment_ended(self, not_begun)

    def can_accept(self) -> bool:
        """Whether it can be assigned another event, to run now or next."""
        return self.ready and not self.killed and len(self._assigned) <= _PREFETCH

    def is_busy(self) -> bool:
        """Whether it runs an event."""
        return bool(self._assigned)

    def has_prefetched(self) -> bool:
        """Whether it holds an event besides the one that it runs."""
        return len(self._assigned) > 1

    def assign(self, invocation: Invocation) -> None:
        """Send it an event, which it runs now or after its current one."""
        identifiers = invocation.identifiers
        about = {
            "id": identifiers.invocation_id,
            "trace": identifiers.trace_id,
            "timeout": self._pool.function.timeout,
        }
        head = encode(about) + b"\n"
        length = len(head) + len(invocation.event)
        self._assigned.append(invocation)
        self._permits.put(identifiers.invocation_id)
        self._transport.write(b"".join((length.to_bytes(LENGTH_BYTES, "big"), head, invocation.event)))
        if len(self._assigned) == 1:
            self._restart_timer()

    def take_back(self) -> Invocation | None:
        """Take back the first event that it has not begun; return None if it has begun all of them."""
        while permit := self._permits.get():
            for invocation in self._assigned:
                if invocation.identifiers.invocation_id == permit:
                    is_first = invocation is self._assigned[0]
                    self._assigned.remove(invocation)
                    if is_first:
                        self._restart_timer()
                    return invocation
        return None

    def kill(self) -> None:
        """Kill the process and all that it started. asyncio calls `connection_lost` afterwards."""
        # The process leads its own process group. The kernel does not reuse the group's id before we reap the process.
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _restart_timer(self) -> None:
        """Start the timer of the current event, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._assigned:
            loop = asyncio.get_running_loop()
            self.began = loop.time()
            self._timer = loop.call_later(self._pool.function.timeout, self._time_out)

    def _handle(self, kind: bytes, payload: bytes) -> None:
        if kind == READY:
            self.ready = True
            self._pool.environment_ready()
            self._pool.environment_free(self)
        elif kind == FAILED_TO_START:
            self.start_error = describe(json.loads(payload))
        elif not self.killed:  # otherwise the answer came after the time-out
            invocation = self._assigned.popleft()
            self._restart_timer()
            self._pool.environment_free(self)
            invocation.end(kind, payload)

    def _time_out(self) -> None:
        invocation = self._assigned.popleft()
        invocation.fail(FunctionTimeoutError(f"it timed out after {self._pool.function.timeout:g} seconds"))
        self.killed = True
        self.kill()


class _Permits:
    """A pipe with the permits to begin an environment's events. Each permit is read once, by one of the two readers.

    Raises
    ------
    OSError
        If the pipe cannot be made.
    """

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()
        os.set_blocking(self.read_end, False)

    def put(self, invocation_id: str) -> None:
        """Permit the environment to begin an event."""
        os.write(self._write_end, invocation_id.encode("ascii"))

    def get(self) -> str | None:
        """Read the next permit; return None if there is none."""
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
        What its environments share.
    size
        The largest number of environments. The pool starts one, and the others when events have to wait.
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
            If the environment does not start.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._start_one()
        await self._first

    def invoke(self, invocation: Invocation) -> None:
        """Run an event, now or as soon as an environment is free. `invocation.result` gets its outcome."""
        if self._idle:
            # The environment that became free last has the warmest caches.
            self._idle.pop().assign(invocation)
            return
        # The environment that has been busy longest is likely to finish first.
        first = min((one for one in self._environments if one.can_accept()), key=_BEGAN, default=None)
        if first is not None and not self._waiting:
            first.assign(invocation)
        else:
            self._waiting.append(invocation)
        self._start_another()

    def stop(self) -> None:
        """Kill every environment. Events that run or wait fail."""
        self._stopped = True
        for environment in self._environments:
            environment.kill()
        self._fail(self._waiting, FunctionError("the server is stopping"))
        for environment in self._environments:
            with contextlib.suppress(subprocess.TimeoutExpired):
                environment.process.wait(_KILL_TIMEOUT)

    def environment_ready(self) -> None:
        """Record that an environment has imported its handler."""
        self._starting -= 1
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def environment_free(self, environment: _Environment) -> None:
        """Assign a free environment the event that has waited longest, or one that another environment prefetched."""
        while self._waiting:
            invocation = self._waiting.popleft()
            if not invocation.result.done():
                environment.assign(invocation)
                if not environment.can_accept():
                    break
        if self._waiting:
            self._start_another()
        if environment.is_busy():
            return
        for other in sorted(self._environments, key=_BEGAN):
            while other.has_prefetched() and (taken_back := other.take_back()):
                if not taken_back.result.done():
                    environment.assign(taken_back)
                    return
        self._idle.append(environment)

    def environment_ended(self, environment: _Environment, not_begun: Sequence[Invocation]) -> None:
        """Remove an environment whose process has ended, and run elsewhere the events that it had not begun."""
        self._environments.remove(environment)
        if environment in self._idle:
            self._idle.remove(environment)
        if not environment.ready:
            self._starting -= 1
        if self._stopped:
            self._fail(deque(not_begun), FunctionError("the server is stopping"))
        self._waiting.extendleft(reversed(not_begun))
        if self._waiting and self._idle:
            self.environment_free(self._idle.pop())
        self._create_task(self._reap(environment))

    async def _reap(self, environment: _Environment) -> None:
        status = await asyncio.to_thread(environment.process.wait)
        if self._stopped:
            return
        if not environment.ready:
            self._start_failed(
                environment.start_error or f"its process {_ending(status)} while it imported the handler"
            )
            return
        if not environment.killed:
            self._configuration.report(
                f"{self.function.name}: an execution environment {_ending(status)}; a new one starts"
            )
        if self._waiting or not self._environments:
            self._start_another()

    def _start_failed(self, reason: str) -> None:
        error = FunctionStartError(f"{self.function.name} cannot start: {reason}")
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)
        else:
            self._configuration.report(f"{error} (more in {self._configuration.log})")
        if not self._environments:
            # As on Lambda, these events fail, and the next event tries to start an environment again.
            self._fail(self._waiting, error)

    def _fail(self, invocations: deque[Invocation], error: Exception) -> None:
        while invocations:
            invocations.popleft().fail(error)

    def _start_another(self) -> None:
        """Start one more environment, one at a time: most queues are empty before it is ready."""
        if not self._starting and len(self._environments) < self.size and not self._stopped:
            self._start_one()

    def _start_one(self) -> None:
        ours, theirs = socket.socketpair()
        permits = _Permits()
        try:
            with theirs, _open_log(self._configuration.log) as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "local.runtime.environment", self.function.handler, str(permits.read_end)],
                    stdin=theirs.fileno(),
                    pass_fds=[permits.read_end],
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=environment_variables(self.function, self._configuration, os.environ),
                    # The terminal's Ctrl-C must reach the server alone, which then ends its environments in order.
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            permits.close()
            self._start_failed(str(error))
            return
        environment = _Environment(self, process, permits)
        self._environments.append(environment)
        self._starting += 1
        self._create_task(self._connect(environment, ours))

    async def _connect(self, environment: _Environment, channel: socket.socket) -> None:
        loop = cast("asyncio.BaseEventLoop", asyncio.get_running_loop())
        await loop.create_unix_connection(lambda: environment, sock=channel)

    def _create_task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the event loop keeps only weak references
        task.add_done_callback(self._tasks.discard)


async def start_all(pools: Iterable[FunctionPool]) -> None:
    """Start one environment of each function and wait until all are ready.

    Raises
    ------
    FunctionStartError
        If one does not get ready.
    """
    await asyncio.gather(*(pool.start() for pool in pools))


def _open_log(path: Path) -> IO[bytes]:
    """Open the functions' log. Where that fails, as on a full disk, functions run without one."""
    try:
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _ending(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"
