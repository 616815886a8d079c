"""Child processes that cannot outlive the process that started them, not even when that one dies by ``kill -9``.

A `GuardedProcess` runs under a guard: a second, tiny Python process that holds the read end of a pipe. The owner
holds the write end and never writes. When the owner closes it, or dies in whatever way, the guard reads end-of-file: it
stops the command, politely first, and exits. Guard and command each have a session of their own, so the terminal's
Ctrl-C reaches the owner alone, which then stops its services in the order it wants.

Run as a script, this file is the guard. That is why it imports the standard library only.
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

TERMINATE: tuple[tuple[int, float], ...] = ((signal.SIGTERM, 2.0),)
"""The usual way to stop a service: SIGTERM and two seconds of patience. SIGKILL always follows."""

_LAST_WAIT = 2.0  # seconds for the kernel to take a process away after SIGKILL, and for the guard to say so


class ProcessStartError(Exception):
    """A command could not be started; the message is one line that says why."""


class _Order(TypedDict):
    """What the owner tells the guard, as JSON in its only argument."""

    command: list[str]
    stop: list[tuple[int, float]]
    user: int | None
    group: int | None
    pass_fds: list[int]
    status: int  # where the guard writes the command's process id, or why there is none


class GuardedProcess:
    """A running command that ends with its owner.

    Parameters
    ----------
    command : Sequence of str
        Program and arguments. No shell is involved.
    stop : Sequence of (int, float)
        Signals to send in turn when it has to end, each with the seconds to wait for it; then SIGKILL, to the whole
        process group.
    cwd, env, stdout, stderr
        As in `subprocess.Popen`. Standard input is empty.
    user, group : int or None
        Numeric ids to run the command as (needs root); the guard keeps the owner's.
    pass_fds : Sequence of int
        File descriptors the command inherits under the same numbers. Neither guard nor owner needs them afterwards, so
        end-of-file on a socket pair works as usual once the owner has closed its copy.

    Attributes
    ----------
    pid : int
        Process id of the command itself, not of its guard.

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
        self._patience = sum(seconds for _, seconds in stop) + _LAST_WAIT
        lifeline_read, lifeline = os.pipe()
        self._lifeline: int | None = lifeline
        status_read, status_write = os.pipe()
        order: _Order = {
            "command": [str(part) for part in command],
            "stop": [(int(number), seconds) for number, seconds in stop],
            "user": user,
            "group": group,
            "pass_fds": list(pass_fds),
            "status": status_write,
        }
        try:
            self._guard = subprocess.Popen(
                # -I and -S: no site-packages, no environment, 15 ms to start and nothing of the project imported.
                [sys.executable, "-I", "-S", __file__, json.dumps(order)],
                stdin=lifeline_read,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=env,
                pass_fds=[status_write, *pass_fds],
                start_new_session=True,
            )
        except BaseException:
            os.close(status_read)
            os.close(lifeline)
            raise
        finally:
            os.close(lifeline_read)
            os.close(status_write)
        with os.fdopen(status_read) as status:
            line = status.readline().strip()
        if not line.isdigit():
            os.close(lifeline)
            self._guard.wait()
            raise ProcessStartError(line or f"cannot start {command[0]}")
        self.pid = int(line)

    def poll(self) -> int | None:
        """Exit status of the command if it has ended (128 + n after signal n), else None."""
        return self._guard.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command to end by itself and return its exit status.

        Raises
        ------
        subprocess.TimeoutExpired
            If it still runs after `timeout` seconds.
        """
        return self._guard.wait(timeout)

    def stop(self) -> int:
        """Stop the command, wait until it is gone and return its exit status. May be called again."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        try:
            return self._guard.wait(self._patience)
        except subprocess.TimeoutExpired:
            # Only a guard that was stopped itself (SIGSTOP) gets here.
            self._guard.kill()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            return self._guard.wait()

    def __enter__(self) -> "GuardedProcess":
        """Return itself: leaving the block stops the command."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the command."""
        self.stop()


def _guard(order: _Order) -> int:
    """Run the command of `order` until it ends, standard input does, or somebody signals the guard."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    told_to_stop = False

    def stop_soon(number: int, frame: object) -> None:  # noqa: ARG001  # the signature signal.signal() asks for
        nonlocal told_to_stop
        told_to_stop = told_to_stop or number != signal.SIGCHLD

    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop_soon)

    try:
        child = subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            pass_fds=order["pass_fds"],
            user=order["user"],
            group=order["group"],
            extra_groups=None if order["user"] is None else [],
            start_new_session=True,
        )
    except OSError as error:
        os.write(order["status"], f"cannot start {order['command'][0]}: {error.strerror}\n".encode())
        return 127
    os.write(order["status"], f"{child.pid}\n".encode())
    for fd in (order["status"], *order["pass_fds"]):
        os.close(fd)

    while child.poll() is None and not told_to_stop:
        ready, _, _ = select.select([0, wake_read], [], [])
        if 0 in ready:
            told_to_stop = True  # nobody ever writes: readable means end-of-file
        else:
            os.read(wake_read, 512)
    for farewell, seconds in order["stop"]:
        if child.poll() is not None:
            break
        child.send_signal(farewell)
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
