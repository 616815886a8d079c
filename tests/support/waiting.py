"""Waits for what another process does."""

import time
from collections.abc import Callable


def soon(happens: Callable[[], bool], seconds: float = 30) -> bool:
    """Tell whether a condition becomes true within some seconds."""
    until = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
