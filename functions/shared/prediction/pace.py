"""How long a prediction takes, so that no more are begun than there is time for."""

from time import perf_counter
from typing import Final

from functions.shared.inference.model import Model

_SHARE: Final = 0.5
"""Of the time that is left: the next ones may take twice as long as the last."""


class Pace:
    """The time that predictions have taken lately, in one execution environment.

    Parameters
    ----------
    milliseconds
        How long one has taken.
    """

    def __init__(self, milliseconds: float) -> None:
        self._milliseconds = milliseconds

    @classmethod
    def of(cls, model: Model) -> "Pace":
        """Find out by two made-up predictions: the first one prepares what the others find done."""
        model.warm_up()
        began = perf_counter()
        model.warm_up()
        return cls((perf_counter() - began) * 1000)

    def note(self, count: int, milliseconds: float) -> None:
        """Take note of how long some predictions have taken together."""
        self._milliseconds = milliseconds / count

    def affordable(self, milliseconds: float) -> int:
        """Return how many predictions there is time for."""
        return int(milliseconds * _SHARE / self._milliseconds)
