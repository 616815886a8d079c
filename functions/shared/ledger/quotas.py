"""What a user may store, and the errors of those who want to store more.

The quotas are checked by the statement that stores: it counts in the user's row of ``quota_usage``, which two requests
cannot update at a time, and casts the name of a quota that is exceeded to the domain ``within_quotas``. That fails by
the constraint of this name, and nothing is stored.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self

from functions.shared.ledger.errors import LedgerError, StatementRefusedError

_CHECK_VIOLATION: Final = "23514"

SECONDS_UNTIL_DELETED: Final = 3600
"""`QuotaExceededError.retry_after` where something must be deleted first: the sweep does so once an hour."""

SECONDS_UNTIL_PREDICTED: Final = 60
"""`QuotaExceededError.retry_after` where predictions must be made first."""


class QuotaExceededError(LedgerError):
    """The user would have more than a quota allows. Nothing is stored.

    Attributes
    ----------
    quota : str
        The name of the field of `Quotas`.
    limit : int
        Its value.
    retry_after : int
        Seconds after which the same request may succeed.
    """

    def __init__(self, quota: str, limit: int, retry_after: int) -> None:
        super().__init__(f"the quota {quota} of {limit} is exceeded")
        self.quota = quota
        self.limit = limit
        self.retry_after = retry_after


class Quotas(NamedTuple):
    """The most that each user may have. None sets no limit.

    Attributes
    ----------
    predictions_per_hour : int or None
        Predictions stored within an hour of the clock (UTC), synchronously or not; each of a batch counts.
    stored_bytes : int or None
        Sum of the sizes of the inputs, and of the outputs that are stored apart, wherever they are kept, that were
        stored while there was any of these quotas.
    queued_predictions : int or None
        Predictions that are queued or in processing.
    open_uploads : int or None
        Uploads that were announced, and neither predicted yet nor deleted.
    """

    predictions_per_hour: int | None = None
    stored_bytes: int | None = None
    queued_predictions: int | None = None
    open_uploads: int | None = None

    @classmethod
    def of(cls, **limits: int) -> Self:
        """Return the quotas of settings, in which 0 sets no limit."""
        return cls(**{name: limit or None for name, limit in limits.items()})

    @property
    def count_predictions(self) -> bool:
        """Whether what stores predictions must count them."""
        return any(quota is not None for quota in self[:3])

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the statements that count."""
        return {f"quota_{name}": quota for name, quota in self._asdict().items()}

    def require(self, refused: StatementRefusedError) -> None:
        """Raise what a refusal by the database means, if it is that of a quota.

        Raises
        ------
        QuotaExceededError
            If the statement was refused because of a quota.
        """
        if refused.sqlstate != _CHECK_VIOLATION or refused.constraint not in self._fields:
            return
        raise self.exceeded(refused.constraint) from refused

    def exceeded(self, quota: str) -> QuotaExceededError:
        """Return the error of one who would have more than the quota of this name allows."""
        return QuotaExceededError(quota, getattr(self, quota), _retry_after(quota))


NO_QUOTAS: Final = Quotas()


def _retry_after(quota: str) -> int:
    if quota == "predictions_per_hour":
        now = datetime.now(UTC)
        next_hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        return int((next_hour - now).total_seconds()) + 1
    return SECONDS_UNTIL_PREDICTED if quota == "queued_predictions" else SECONDS_UNTIL_DELETED
