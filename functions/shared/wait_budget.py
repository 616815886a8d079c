"""How long one request may wait for the database, S3 and SQS, all its calls together.

Each call has a limit of its own. A request may make several calls, and after one that failed it may still have to clean
up. The caller must hear in under three seconds that a service does not answer, so every call uses up a part of one
budget. The time in which a request computes does not count.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

OF_A_REQUEST: Final = 2.2
"""Seconds that all calls of a request may take together."""

OF_A_START: Final = 0.6
"""Seconds that the calls of a cold start may take together: the first request waits for them, and then for its own."""

LEAST: Final = 0.2
"""Seconds that each call may take nevertheless: enough for a service that answers."""

_left: Final[ContextVar[float | None]] = ContextVar("wait_budget", default=None)


@contextmanager
def limited(seconds: float = OF_A_REQUEST) -> Iterator[None]:
    """Limit what the calls in the block take together. Outside such a block, only each call's own limit holds."""
    before = _left.set(seconds)
    try:
        yield
    finally:
        _left.reset(before)


def renew() -> None:
    """Fill the budget up, if there is one: before a further step of work whose earlier steps have succeeded.

    Work of many steps, such as a deletion, would otherwise have no time left for the later ones.
    """
    if _left.get() is not None:
        _left.set(OF_A_REQUEST)


def left(most: float) -> float:
    """Return how many seconds the next call may take: `most`, or what is left of the budget if that is less."""
    budget = _left.get()
    return most if budget is None else min(most, max(budget, LEAST))


def spend(seconds: float) -> None:
    """Record how long a call took."""
    budget = _left.get()
    if budget is not None:
        _left.set(budget - seconds)


def allows(seconds: float) -> bool:
    """Tell whether the budget has room for a call that takes so long at most, and whose limit cannot be lowered."""
    budget = _left.get()
    return budget is None or budget >= seconds
