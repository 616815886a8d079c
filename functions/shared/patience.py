"""How long one request may wait for the database, S3 and SQS, all its calls together.

Each call has a limit of its own. A request may make several calls, and after one that failed it may still have to clean
up. The caller must hear in under three seconds that something is not there, so what a call has taken is no longer
there for the next. The time in which a request computes does not count.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

OF_A_REQUEST: Final = 2.2
"""Seconds that all calls of a request may take together."""

LEAST: Final = 0.2
"""Seconds that each call may take nevertheless: enough where the other side is there."""

_left: Final[ContextVar[float | None]] = ContextVar("patience", default=None)


@contextmanager
def of_a_request() -> Iterator[None]:
    """Limit what the calls in the block take together."""
    before = _left.set(OF_A_REQUEST)
    try:
        yield
    finally:
        _left.reset(before)


def left(most: float) -> float:
    """Return how many seconds the next call may take: `most`, or what is left of the request's patience if any."""
    patience = _left.get()
    return most if patience is None else min(most, max(patience, LEAST))


def spend(seconds: float) -> None:
    """Record how long a call took."""
    patience = _left.get()
    if patience is not None:
        _left.set(patience - seconds)


def allows(seconds: float) -> bool:
    """Tell whether a call may be made that takes so long at most, and whose limit cannot be set for each call."""
    patience = _left.get()
    return patience is None or patience >= seconds
