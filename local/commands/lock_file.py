"""What a server must have for itself: its port and its home folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from local.errors import CannotServeError


@contextlib.contextmanager
def lock_home(home: Path) -> Iterator[None]:
    """Hold the home folder, made if missing, for this process alone.

    Raises
    ------
    CannotServeError
        If another server holds it, or it cannot be made.
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
    # The kernel lets go of the lock when the process ends, in whatever way.
    try:
        yield
    finally:
        os.close(lock)
