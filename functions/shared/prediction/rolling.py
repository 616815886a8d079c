"""Roll predictions up: count those of hours that are over, and count again hours that have changed."""

from collections.abc import Callable
from typing import Final, NamedTuple, Self, TypedDict

from functions.shared.ledger.rollups import RollingLedger
from functions.shared.ledger.secret import DatabaseSettings
from functions.shared.ledger.statistics import StatisticsLedger
from functions.shared.log import logger
from functions.shared.prediction.watching import Figures, watch

TIME_FOR_AN_HOUR: Final = 15_000
"""Milliseconds to allow for the rollup of one hour, which may have half a million predictions. Lambda may cut off one
that begins with less time left, and the next call must begin it again."""

TIME_TO_SHOW: Final = 15_000
"""Milliseconds to allow for reading the figures: where an hour is not rolled up yet, its rows are counted."""

LONGEST_CALL: Final = 60.0
"""Seconds that one call of the database may take. Nobody waits for a rollup."""


class Rolled(TypedDict):
    """How many hours were rolled up, and whether more are due."""

    hours: int
    left: bool


Show = Callable[[Figures], None]
"""Takes the figures of the models."""


class WatchedLedger(RollingLedger, StatisticsLedger):
    """A ledger that rolls up and answers queries for figures, with one connection pool for both."""


class Roller(NamedTuple):
    """What rolls up.

    Attributes
    ----------
    ledger
        The rows.
    show
        Gets the figures of the models after a call that has time left for it; None if nothing shows them.
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
