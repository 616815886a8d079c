"""Child processes that end when their parent ends, even if the parent is killed by ``kill -9``.

A guard, a second and small Python process, starts the command and watches for the parent's death. It holds the read end
of a pipe. The parent holds the write end and never writes. When the parent closes it or ends, the guard reads
end-of-file, stops the command and exits. Guard and command have sessions of their own, so that the terminal's Ctrl-C
reaches the parent alone, which can stop its services in order. If the guard itself is killed, the parent stops the
command.

The guard is this file, run as a script without site-packages, so it uses the standard library only.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TypedDict

if __name__ != "__main__":  # the guard runs without site-packages
    import psutil

TERMINATE: tuple[tuple[int, float], ...] = ((signal.SIGTERM, 2.0),)
"""The default signals to stop a command: SIGTERM, and two seconds to react. SIGKILL always follows."""

_KILL_TIMEOUT = 2.0  # seconds for the kernel to end a process after SIGKILL, and for the guard to exit


class ProcessStartError(Exception):
    """A command could not be started; the message is one line that says why."""


class _Instructions(TypedDict):
    """The guard's only argument, as JSON."""

    command: list[str]
    stop: list[tuple[int, float]]
    user: int | None
    group: int | None
    pass_fds: list[int]
    status: int  # file descriptor to which the guard writes the command's process id, or why there is none


class GuardedProcess:
    """A running command that ends with its parent.

    Parameters
    ----------
    command : Sequence of str
        Program and arguments. No shell is involved.
    stop : Sequence of (int, float)
        Signals to stop the command with, each with the seconds to wait before the next. SIGKILL follows, to the whole
        process group.
    cwd, env, stdout, stderr
        As in `subprocess.Popen`. Standard input is empty.
    user, group : int or None
        Numeric ids to run the command as, which needs root. The guard keeps the parent's.
    pass_fds : Sequence of int
        File descriptors that the command inherits under the same numbers. The guard closes its copies. Once the parent
        has closed its own, a socket pair reports end-of-file as usual.

    Attributes
    ----------
    pid : int
        Process id of the command, not of its guard.

    Raises
    ------
    ProcessStartError
        If the command cannot be executed.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        stop: Sequence[tuple[int, float]] = TERMINATE,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        user: int | None = None,
        group: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._stop_signals = stop
        self._stop_timeout = sum(seconds for _, seconds in stop) + _KILL_TIMEOUT
        pipe_read, pipe_write = os.pipe()
        self._pipe: int | None = pipe_write
        status_read, status_write = os.pipe()
        instructions: _Instructions = {
            "command": [str(part) for part in command],
            "stop": [(int(number), seconds) for number, seconds in stop],
            "user": user,
            "group": group,
            "pass_fds": list(pass_fds),
            "status": status_write,
        }
        try:
            self._guard = subprocess.Popen(
                # -I and -S: without site-packages and Python's variables, the guard starts in 15 ms.
                [sys.executable, "-I", "-S", __file__, json.dumps(instructions)],
                stdin=pipe_read,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=env,
                pass_fds=[status_write, *pass_fds],
                start_new_session=True,
            )
        except BaseException:
            os.close(status_read)
            os.close(pipe_write)
            raise
        finally:
            os.close(pipe_read)
            os.close(status_write)
        with os.fdopen(status_read) as status:
            line = status.readline().strip()
        if not line.isdigit():
            os.close(pipe_write)
            self._guard.wait()
            raise ProcessStartError(line or f"cannot start {command[0]}")
        self.pid = int(line)
        self._command = _find(self.pid)

    def poll(self) -> int | None:
        """Return the command's exit status (128 + n after signal n), or None while it runs.

        A negative status is the guard's: signal -n has killed it, and the command may run until `stop`.
        """
        return self._guard.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the command ends by itself, and return its exit status.

        Raises
        ------
        subprocess.TimeoutExpired
            If the command still runs after `timeout` seconds.
        """
        return self._guard.wait(timeout)

    def stop(self) -> int:
        """Stop the command, wait until it has ended, and return its exit status. May be called again."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        try:
            status = self._guard.wait(self._stop_timeout)
        except subprocess.TimeoutExpired:
            # The guard hangs: somebody stopped it with SIGSTOP.
            self._guard.kill()
            status = self._guard.wait()
        if status < 0 and self._command is not None:
            self._stop_without_guard(self._command)
        return status

    def _stop_without_guard(self, command: "psutil.Process") -> None:
        """Do what the guard would have done, had it not been killed."""
        # psutil sends no signal to another process that has got the same id since.
        with contextlib.suppress(psutil.NoSuchProcess):
            for number, seconds in self._stop_signals:
                command.send_signal(number)
                if _ends_within(command, seconds):
                    break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        _ends_within(command, _KILL_TIMEOUT)
        self._command = None

    def __enter__(self) -> "GuardedProcess":
        """Return this process. Leaving the block stops the command."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the command."""
        self.stop()


def _find(pid: int) -> "psutil.Process | None":
    """Return a process that can be told from a later one with the same id; None if it has ended already."""
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _ends_within(process: "psutil.Process", seconds: float) -> bool:
    """Tell whether a process that is not our child ends in time. A zombie has ended: its new parent may never reap."""
    until = time.monotonic() + seconds
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
    return True


def _guard(instructions: _Instructions) -> int:
    """Run a command until it ends, the parent closes its pipe, or the guard gets a signal."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    told_to_stop = False

    def stop_soon(number: int, frame: object) -> None:  # noqa: ARG001  # signal.signal() requires this signature
        nonlocal told_to_stop
        told_to_stop = told_to_stop or number != signal.SIGCHLD

    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop_soon)

    try:
        child = subprocess.Popen(
            instructions["command"],
            stdin=subprocess.DEVNULL,
            pass_fds=instructions["pass_fds"],
            user=instructions["user"],
            group=instructions["group"],
            extra_groups=None if instructions["user"] is None else [],
            start_new_session=True,
        )
    except OSError as error:
        os.write(instructions["status"], f"cannot start {instructions['command'][0]}: {error.strerror}\n".encode())
        return 127
    os.write(instructions["status"], f"{child.pid}\n".encode())
    for fd in (instructions["status"], *instructions["pass_fds"]):
        os.close(fd)

    while child.poll() is None and not told_to_stop:
        ready, _, _ = select.select([0, wake_read], [], [])
        if 0 in ready:
            told_to_stop = True  # nobody writes, so readable means end-of-file
        else:
            os.read(wake_read, 512)
    for stop_signal, seconds in instructions["stop"]:
        if child.poll() is not None:
            break
        child.send_signal(stop_signal)
        until = time.monotonic() + seconds
        while child.poll() is None and (left := until - time.monotonic()) > 0:
            if wake_read in select.select([wake_read], [], [], left)[0]:
                os.read(wake_read, 512)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_guard(json.loads(sys.argv[1])))
