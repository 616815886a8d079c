"""Roll predictions up: count those of hours that are over, and count again hours that have changed."""

from collections.abc import Callable
from typing import Final, NamedTuple, Self, TypedDict

from functions.shared.ledger.rollups import RollingLedger
from functions.shared.ledger.secret import DatabaseSettings
from functions.shared.ledger.statistics import StatisticsLedger
from functions.shared.log import logger
from functions.shared.prediction.watching import Figures, watch

TIME_FOR_AN_HOUR: Final = 15_000
"""Milliseconds that the rollup of one hour may take: half a million predictions. Lambda could cut off what is begun
with less time left; the next call would do it again."""

TIME_TO_SHOW: Final = 15_000
"""Milliseconds that reading the figures may take where the hours are not rolled up yet, and their rows are counted."""

LONGEST_CALL: Final = 60.0
"""Seconds that one call of the database may take. Nobody waits for a rollup."""


class Rolled(TypedDict):
    """How many hours were rolled up, and whether more are due."""

    hours: int
    left: bool


Show = Callable[[Figures], None]
"""Takes how the models do."""


class WatchedLedger(RollingLedger, StatisticsLedger):
    """A ledger that rolls up, and answers what figures are made of, by the same connections."""


class Roller(NamedTuple):
    """What rolls up.

    Attributes
    ----------
    ledger
        The rows.
    show
        Is told how the models do, after each call that has time left for it; None if nobody wants to know.
    """

    ledger: WatchedLedger
    show: Show | None = None

    @classmethod
    def configured(cls, settings: DatabaseSettings, show: Show | None = None) -> Self:
        """Create the connection pool. Raises as `Ledger.configured` does."""
        return cls(WatchedLedger.configured(settings, longest=LONGEST_CALL), show)

    def roll_up(self, remaining_time: Callable[[], int]) -> Rolled:
        """Roll up until nothing is left or time runs out. The next call continues.

        Parameters
        ----------
        remaining_time
            Returns the milliseconds that are left.

        Raises
        ------
        LedgerError
            If the database cannot be reached.
        """
        done = self.ledger.roll_up(goes_on=lambda: remaining_time() > TIME_FOR_AN_HOUR)
        rolled: Rolled = {"hours": done.hours, "left": done.left}
        logger.info("rolled up", **rolled)
        if self.show is not None and remaining_time() > TIME_TO_SHOW:
            self.show(watch(self.ledger))
        return rolled
