import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.services.process_guard import GuardedProcess, ProcessStartError
from tests.support.waiting import soon

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[3]
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)",
]
OWNER = """
import sys, time
from local.services.process_guard import GuardedProcess
print(GuardedProcess(sys.argv[1:]).pid, flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def owned(*command: str) -> tuple[subprocess.Popen[str], int]:
    """Start a process that starts a guarded command. Return the process, and the command's process id."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline())


@pytest.mark.parametrize("command", [SLEEP, DEAF], ids=["obedient", "deaf"])
def test_a_command_does_not_outlive_an_owner_that_is_killed(command: list[str]) -> None:
    owner, pid = owned(*command)
    assert not gone(pid)
    owner.kill()
    assert soon(lambda: gone(pid))
    owner.communicate()


def test_ctrl_c_reaches_the_owner_alone() -> None:
    owner, pid = owned(*SLEEP)
    assert os.getsid(pid) != os.getsid(owner.pid)
    os.killpg(owner.pid, signal.SIGSTOP)
    assert psutil.Process(pid).status() != psutil.STATUS_STOPPED
    os.killpg(owner.pid, signal.SIGKILL)
    assert soon(lambda: gone(pid))
    owner.communicate()


def test_a_stopped_command_is_told_politely() -> None:
    # sigwait, because a signal that comes just before a sleep is handled after the sleep.
    polite = (
        "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); print(flush=True); "
        "signal.sigwait([15]); sys.exit(7)"
    )
    read, write = os.pipe()
    command = GuardedProcess([sys.executable, "-c", polite], stdout=write)
    os.read(read, 1)
    assert command.stop() == 7
    assert gone(command.pid)
    assert command.stop() == 7
    os.close(read)
    os.close(write)


def test_a_command_that_does_not_listen_is_killed() -> None:
    read, write = os.pipe()
    command = GuardedProcess(DEAF, stop=[(signal.SIGTERM, 0.1)], stdout=write)
    os.read(read, 1)
    started = time.monotonic()
    assert command.stop() == 128 + signal.SIGKILL
    assert 0.1 <= time.monotonic() - started < 30
    os.close(read)
    os.close(write)


def test_what_a_command_has_started_ends_with_it() -> None:
    parent = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
    read, write = os.pipe()
    command = GuardedProcess([sys.executable, "-c", parent, *SLEEP], stdout=write)
    grandchild = int(os.read(read, 20))
    command.stop()
    assert soon(lambda: gone(grandchild))
    os.close(read)
    os.close(write)


def test_a_command_that_ends_by_itself_gives_its_exit_status() -> None:
    with GuardedProcess([sys.executable, "-c", "raise SystemExit(3)"]) as command:
        assert command.wait(30) == 3
        assert command.poll() == 3


def test_a_command_that_was_killed_says_by_which_signal() -> None:
    with GuardedProcess(SLEEP) as command:
        assert command.poll() is None
        os.kill(command.pid, signal.SIGKILL)
        assert command.wait(30) == 128 + signal.SIGKILL


def test_a_terminated_guard_takes_its_command_along() -> None:
    owner, pid = owned(*SLEEP)
    guard = psutil.Process(pid).parent()
    assert guard is not None
    guard.terminate()
    assert soon(lambda: gone(pid))
    owner.kill()
    owner.communicate()


@pytest.mark.parametrize("program_text", [SLEEP, DEAF], ids=["obedient", "deaf"])
def test_a_command_whose_guard_was_killed_is_stopped_nevertheless(program_text: list[str]) -> None:
    command = GuardedProcess(program_text, stop=[(signal.SIGTERM, 0.3)])
    guard = psutil.Process(command.pid).parent()
    assert guard is not None
    guard.kill()
    assert soon(lambda: command.poll() == -signal.SIGKILL)
    assert not gone(command.pid)
    command.stop()
    assert gone(command.pid)
    command.stop()


@pytest.mark.parametrize("program", ["/no/such/program", str(ROOT)], ids=["missing", "a folder"])
def test_a_command_that_cannot_be_executed_says_so_in_one_line(program: str) -> None:
    with pytest.raises(ProcessStartError) as refused:
        GuardedProcess([program])
    assert str(refused.value).startswith(f"cannot start {program}: ")
    assert "\n" not in str(refused.value)


def test_a_socket_that_is_passed_on_ends_with_the_command() -> None:
    ours, theirs = socket.socketpair()
    echo = "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); s.sendall(s.recv(9).upper())"
    with ours, GuardedProcess([sys.executable, "-c", echo, str(theirs.fileno())], pass_fds=[theirs.fileno()]):
        theirs.close()
        ours.settimeout(30)
        ours.sendall(b"hello")
        assert ours.recv(9) == b"HELLO"
        assert ours.recv(9) == b""
