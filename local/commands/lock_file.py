"""The lock file of the home folder, which one process at a time may use."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from local.errors import CannotServeError


@contextlib.contextmanager
def lock_home(home: Path) -> Iterator[None]:
    """Lock the home folder for this process, and make it if missing. Two servers must not share logs and keys.

    Raises
    ------
    CannotServeError
        If another server has locked it, or it cannot be made.
    """
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotServeError(f"LEDGER_HOME={home}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise CannotServeError(
            f"another server uses {home}: stop it, or set LEDGER_HOME to another folder (and PORT to another port)"
        ) from None
    # The kernel releases the lock when the process ends, even by SIGKILL.
    try:
        yield
    finally:
        os.close(lock)
