"""A span of time, and the buckets that it is divided into. Everything is in UTC."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final, Literal, NamedTuple

from functions.shared.api.problems import Problem

Interval = Literal["minute", "hour", "day", "week"]
"""How long a bucket is. A week is one of ISO 8601: it begins on Monday."""

WIDTHS: Final[dict[Interval, timedelta]] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}

MOST_AUTOMATIC: Final = 200
"""The most buckets that the interval ``auto`` gives."""

MOST_BUCKETS: Final = 1000
"""The most buckets in an answer."""

DEFAULT_DAYS: Final = 30
"""How many days before `until` a span begins if the request has no `since`."""

EVER: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))
"""No prediction is older or newer: their ids say when they were made."""

_MONDAY: Final = datetime(1970, 1, 5, tzinfo=UTC)
"""Every width divides the time from here to the start of a bucket."""


class Span(NamedTuple):
    """A span of time in buckets.

    Attributes
    ----------
    since, until
        It begins at `since` and ends before `until`.
    interval
        How long a bucket is.
    """

    since: datetime
    until: datetime
    interval: Interval

    def starts(self) -> Sequence[datetime]:
        """Return the start of each bucket. The first may lie before `since`: what is counted does not."""
        first, width = start_of(self.since, self.interval), WIDTHS[self.interval]
        return [first + number * width for number in range(_buckets(self.since, self.until, self.interval))]


def start_of(moment: datetime, interval: Interval) -> datetime:
    """Return the start of the bucket that a moment is in."""
    return moment - (moment - _MONDAY) % WIDTHS[interval]


def _buckets(since: datetime, until: datetime, interval: Interval) -> int:
    return -((start_of(since, interval) - until) // WIDTHS[interval])  # rounded up


def span(
    since: datetime | None,
    until: datetime | None,
    interval: Interval | Literal["auto"],
    *,
    name: str = "interval",
    most: int = MOST_BUCKETS,
    now: datetime | None = None,
) -> Span:
    """Return the span that a request asks for, with defaults for what it leaves out.

    Parameters
    ----------
    since
        None begins at midnight, `DEFAULT_DAYS` before the end; with weeks, on the Monday before.
    until
        None ends with the current minute, so that the newest predictions are included.
    interval
        ``auto`` takes the shortest interval that gives at most `MOST_AUTOMATIC` buckets.
    name
        The parameter that has the interval.
    most
        The most buckets.
    now
        The current time.

    Raises
    ------
    Problem
        422 if the span is empty or would have too many buckets; it then names the intervals that fit.
    """
    if until is None:
        until = start_of(datetime.now(UTC) if now is None else now, "minute") + WIDTHS["minute"]
    until = min(max(until, EVER[0]), EVER[1]).astimezone(UTC)
    if since is None:
        since = start_of(start_of(until, "day") - timedelta(days=DEFAULT_DAYS), "week" if interval == "week" else "day")
    since = max(since, EVER[0]).astimezone(UTC)
    if since >= until:
        detail = f"since is {since.isoformat()} and until is {until.isoformat()}: since must be before until."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[("/since", "must be before until")])
    counts = {one: _buckets(since, until, one) for one in WIDTHS}
    if interval != "auto" and counts[interval] <= most:
        return Span(since, until, interval)
    fitting = [one for one in WIDTHS if counts[one] <= (min(MOST_AUTOMATIC, most) if interval == "auto" else most)]
    if interval == "auto" and fitting:
        return Span(since, until, fitting[0])
    raise _too_many(name, interval, counts, most)


def _too_many(name: str, interval: Interval | Literal["auto"], counts: dict[Interval, int], most: int) -> Problem:
    fitting = [f"{name}={one}" for one in WIDTHS if counts[one] <= most]
    instead = f"send {' or '.join(fitting)}, or a later since" if fitting else "send a later since"
    given = counts["week" if interval == "auto" else interval]
    says = f"{name}={interval} gives {given} buckets, and an answer has at most {most}"
    if interval == "auto":
        says = f"the span has {given} weeks, and {name}=auto gives at most {min(MOST_AUTOMATIC, most)} buckets"
    detail = f"{says[:1].upper()}{says[1:]}: {instead}."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[(f"/{name}", f"gives {given} buckets")])
