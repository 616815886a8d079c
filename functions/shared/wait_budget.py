"""How long one request may wait for the database, S3 and SQS, all its calls together.

Each call has a limit of its own. A request may make several calls, and after one that failed it may still have to clean
up. The caller must hear in under three seconds that a service does not answer, so every call that fails uses up a part
of one budget. A call that succeeds uses up nothing, however long it took: large inputs take long on a slow machine.
"""

from contextvars import ContextVar, Token
from typing import Final

OF_A_REQUEST: Final = 2.2
"""Seconds that all calls of a request that fail may take together."""

OF_A_START: Final = 0.6
"""The same of the calls of a cold start: the first request waits for them, and then for its own."""

LEAST: Final = 0.2
"""Seconds that each call may take nevertheless: enough for a service that answers."""

_left: Final[ContextVar[float | None]] = ContextVar("wait_budget", default=None)


class limited:  # noqa: N801 - it is used as a function is
    """Limit what failing calls in the block take together. Outside such a block, only each call's own limit holds.

    A class, because every request enters it, and a generator takes twice as long.
    """

    __slots__ = ("_before", "_seconds")

    _before: Token[float | None]

    def __init__(self, seconds: float = OF_A_REQUEST) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        """Fill the budget."""
        self._before = _left.set(self._seconds)

    def __exit__(self, *_: object) -> None:
        """Restore what was left outside the block."""
        _left.reset(self._before)


def renew() -> None:
    """Fill the budget up, if there is one: before work that can go on although something else has failed.

    A deletion deletes its rows, for example, where S3 cannot be reached.
    """
    if _left.get() is not None:
        _left.set(OF_A_REQUEST)


def left(most: float) -> float:
    """Return how many seconds the next call may take: `most`, or what is left of the budget if that is less."""
    budget = _left.get()
    return most if budget is None else min(most, max(budget, LEAST))


def spend(seconds: float) -> None:
    """Record how long a call took that failed."""
    budget = _left.get()
    if budget is not None:
        _left.set(budget - seconds)


def allows(seconds: float) -> bool:
    """Tell whether the budget has room for a call that takes so long at most, and whose limit cannot be lowered."""
    budget = _left.get()
    return budget is None or budget >= seconds
