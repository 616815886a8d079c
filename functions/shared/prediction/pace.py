"""The time a prediction takes. A worker that started more predictions than it has time for would lose them all."""

from time import perf_counter
from typing import Final

from functions.shared.inference.model import Model

_SHARE: Final = 0.5
"""Share of the remaining time to use: the next predictions may take twice as long as the last ones."""


class Pace:
    """The recent duration of predictions in one execution environment.

    Parameters
    ----------
    milliseconds
        The duration of one prediction.
    """

    def __init__(self, milliseconds: float) -> None:
        self._milliseconds = milliseconds

    @classmethod
    def of(cls, model: Model) -> "Pace":
        """Measure with two made-up predictions. The first one does the one-time work; the second one is timed."""
        model.warm_up()
        began = perf_counter()
        model.warm_up()
        return cls((perf_counter() - began) * 1000)

    def note(self, count: int, milliseconds: float) -> None:
        """Record how long `count` predictions took together."""
        self._milliseconds = milliseconds / count

    def affordable(self, milliseconds: float) -> int:
        """Return how many predictions fit into the remaining time."""
        return int(milliseconds * _SHARE / self._milliseconds)
