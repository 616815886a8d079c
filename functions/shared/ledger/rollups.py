"""Summaries of many predictions, and the rollups that make them fast.

A rollup has the counts of a whole hour or day, or of the open hour until a few minutes ago. A summary uses rollups
where they are good, and counts the rows elsewhere, in one statement. So it equals a count of all rows at that moment,
however old the rollups are. docs/decisions/rollups.md says how that is kept true.
"""

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from functions.shared.ledger import arrays, rollup_statements
from functions.shared.ledger.arrays import Array
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.identifiers import first_id_at
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.rollup_statements import MEASURES

__all__ = ["MEASURES", "Interval", "RolledUp", "RollingLedger", "Summary", "SummaryLedger", "merged"]

Interval: TypeAlias = Literal["minute", "hour", "day", "week"]

Counts: TypeAlias = Mapping[str, Any]
"""Numbers by name, or further counts by name."""

GRACE: Final = 300.0
"""Seconds that an hour must be over before it is rolled up. What is stored into an hour that ended 4 minutes ago or
earlier marks it (revision 0015); the fifth minute is for what is being stored now. With less, a rollup misses rows."""

MOST_CATEGORIES: Final = 100
"""The categories of a feature that a rollup tells apart. All others are counted as one, without a name."""

_PATIENCE: Final = 5.0
"""Seconds to wait for transactions that began before an hour was closed."""

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class Summary(NamedTuple):
    """What is counted of the predictions of one bucket, model and measure.

    Attributes
    ----------
    starts_at : datetime
        When the bucket begins, in UTC: a minute, an hour, a day, or a week from Monday on. It may be before the first
        moment that is asked for.
    model_id : int
        The model; 0 for predictions without one, which are not made yet, or have failed.
    measure : str
        Its kind or, where there are several of a kind, the kind, a colon and a name: ``label``, ``feature:age``.
    counts : Mapping
        The counts. Those of the same measure can be added (`merged`).
    """

    starts_at: datetime
    model_id: int
    measure: str
    counts: Counts


class RolledUp(NamedTuple):
    """What a call of `RollingLedger.roll_up` has done.

    Attributes
    ----------
    hours : int
        The hours that were rolled up, without the open one.
    left : bool
        Whether more are due. The next call continues.
    """

    hours: int
    left: bool


def merged(counts: Iterable[Counts]) -> dict[str, Any]:
    """Add counts: numbers of the same name are added, and so are counts within counts."""
    total: dict[str, Any] = {}
    for one in counts:
        _add(total, one)
    return total


class SummaryLedger(Ledger):
    """A ledger that counts."""

    def summary(
        self,
        *,
        since: datetime,
        until: datetime,
        measures: Collection[str],
        interval: Interval | None = None,
        model_ids: Sequence[int] | None = None,
        user_id: str | None = None,
    ) -> list[Summary]:
        """Count the predictions of a span of time, in one statement.

        The sums over all buckets equal a plain count of the rows that are committed at this moment.

        Parameters
        ----------
        since, until : datetime
            When they were asked for: from `since` on, and before `until`.
        measures : Collection of str
            The kinds of measures to count, from `MEASURES`. Others cost nothing.
        interval : Interval or None
            The length of a bucket; None for one bucket, which begins at `since`.
        model_ids : Sequence of int or None
            If given, only the predictions of these models; 0 stands for those without one.
        user_id : str or None
            If given, only the predictions of this user. No rollup is used: all of them are read.

        Returns
        -------
        list of Summary
            Ordered by bucket, model and measure, and only where there is something to count.
        """
        since, until = max(since.astimezone(UTC), _EARLIEST), min(until.astimezone(UTC), _LATEST)
        if until <= since or not measures:
            return []
        kinds = frozenset(measures)
        first_hour = _up(since, _HOUR)
        parameters = {
            "since": since,
            "until": until,
            "since_id": first_id_at(since),
            "until_id": first_id_at(until),
            "interval": interval,
            "first_hour": first_hour,
            "first_hour_id": first_id_at(first_hour),
            "first_day": "infinity" if interval == "hour" else _up(first_hour, _DAY),
            "may_be_rolled": interval != "minute",
            "kinds": Array(arrays.TEXT, sorted(kinds)),
            "user_id": user_id,
            "model_ids": None if model_ids is None else Array(arrays.BIGINT, model_ids),
        }
        sql = rollup_statements.summary(kinds, of_models=model_ids is not None, of_user=user_id is not None)
        return _summaries(self._pool.run(sql, parameters))


class RollingLedger(Ledger):
    """A ledger that rolls up."""

    def roll_up(
        self, seconds: float = math.inf, *, goes_on: Callable[[], bool] = lambda: True, grace: float = GRACE
    ) -> RolledUp:
        """Roll up hours that are over and count again hours that have changed, until none is left or time runs out.

        The open hour comes last: the part of it that is older than `grace` is counted again.

        Each hour is one transaction, and the tables say what is left to do. So it is safe to start again, to be cut
        off, and to run in two places at once.

        Parameters
        ----------
        seconds : float
            How long to work. An hour that was begun is finished.
        goes_on : Callable
            Asked before each hour whether to go on.
        grace : float
            As `GRACE`. With fewer seconds than that, nothing may be stored meanwhile, or the rollup may miss it.

        Raises
        ------
        LedgerError
            If the database cannot be reached.
        """
        [[closed, moment, xid]] = self._pool.run(rollup_statements.CLOSED, {"grace": grace})
        until = time.monotonic() + seconds
        patient_until = min(until, time.monotonic() + _PATIENCE)
        hours = 0
        while time.monotonic() < until and goes_on():
            match self._roll_next(closed, moment, xid):
                case "rolled":
                    hours += 1
                case "nothing":
                    return RolledUp(hours, left=False)
                case "waiting":
                    if time.monotonic() > patient_until:
                        break
                    time.sleep(0.1)
        return RolledUp(hours, left=True)

    def _roll_next(self, closed: datetime, moment: datetime, xid: str) -> Literal["rolled", "nothing", "waiting"]:
        """Roll up the hour whose turn it is, in a transaction. The last is the open one, until a moment within it."""
        with self._pool.connection() as connection:
            connection.run("BEGIN", {})
            connection.run(rollup_statements.ALONE, {})
            [[may_roll, new, stale]] = connection.run(
                rollup_statements.NEXT_HOURS, {"closed": closed, "closed_id": first_id_at(closed), "xid": xid}
            )
            hour = new if may_roll and new is not None else stale
            rolled_until: dict[str, object] | None = None
            if hour is not None:
                _roll(connection, hour, hour + _HOUR)
                if may_roll and hour == new:
                    rolled_until = {"moment": hour + _HOUR, "part_until": None}
            elif may_roll:
                _roll(connection, closed, moment)
                rolled_until = {"moment": closed, "part_until": moment}
            if rolled_until is not None:
                connection.run(rollup_statements.ROLLED_UNTIL, rolled_until | {"xid": xid})
            connection.run("COMMIT", {})
        if hour is not None:
            return "rolled"
        return "nothing" if may_roll else "waiting"


def _roll(connection: Connection, hour: datetime, until: datetime) -> None:
    """Count an hour until a moment, and add up its day from its hours.

    A deletion waits while the counts are written, but not while the rows are counted. If one came in between, the rows
    are counted again.
    """
    counted, marks = _count(connection, hour, until)
    connection.run(rollup_statements.LOCK, {})
    if connection.run(rollup_statements.DELETED_SINCE, {"since": hour, "marks": marks}):
        counted, marks = _count(connection, hour, until)
    _replace(connection, "hour", hour, counted)
    connection.run(rollup_statements.UNMARK, {"marks": marks})
    day = hour.replace(hour=0)
    hours: dict[tuple[int, str], list[Counts]] = {}
    for model_id, measure, counts in connection.run(rollup_statements.HOURS_OF_DAY, {"day": day}):
        hours.setdefault((model_id, measure), []).append(counts)
    _replace(connection, "day", day, {key: _of_day(key[1], each) for key, each in hours.items()})


def _count(connection: Connection, hour: datetime, until: datetime) -> tuple[dict[tuple[int, str], Counts], Array]:
    """Count the rows of an hour until a moment.

    Returns
    -------
    dict
        The counts by model and measure.
    Array
        The marks of the hour whose changes these counts include.
    """
    bounds = {"since_id": first_id_at(hour), "until_id": first_id_at(until)}
    parameters = bounds | {"since": hour, "interval": None}
    rows = connection.run(rollup_statements.COUNT_HOUR, parameters)
    counted = {(model_id, measure): counts for _, model_id, measure, counts in rows}
    marks = counted.pop((None, None))
    return counted, Array(arrays.UUIDS, [UUID(mark) for mark in marks])


def _replace(
    connection: Connection, span: Literal["hour", "day"], starts_at: datetime, counted: Mapping[tuple[int, str], Counts]
) -> None:
    parameters = {
        "span": span,
        "starts_at": starts_at,
        "model_id": Array(arrays.BIGINT, [model_id for model_id, _ in counted]),
        "measure": Array(arrays.TEXT, [measure for _, measure in counted]),
        "counts": Array(arrays.JSONB, [json.dumps(counts) for counts in counted.values()]),
    }
    connection.run(rollup_statements.REPLACE, parameters)


def _summaries(rows: Iterable[Sequence[Any]]) -> list[Summary]:
    parts = (list(found) for _, found in groupby(map(Summary._make, rows), itemgetter(0, 1, 2)))
    return [
        found[0] if len(found) == 1 else found[0]._replace(counts=merged(part.counts for part in found))
        for found in parts
    ]


def _add(total: dict[str, Any], counts: Counts) -> None:
    for name, value in counts.items():
        if isinstance(value, dict):
            _add(total.setdefault(name, {}), value)
        elif name in total:
            total[name] += value
        else:
            total[name] = value


def _of_day(measure: str, hours: Iterable[Counts]) -> dict[str, Any]:
    """Add up the counts of a day's hours. Only of a feature are `categories` a part of its counts, and no name."""
    counts = merged(hours)
    categories = counts.get("categories", {}) if measure.startswith("feature:") else {}
    if len(categories) > MOST_CATEGORIES + 1:
        named = sorted((name for name in categories if name), key=lambda name: (-categories[name], name))
        rest = sum(categories[name] for name in named[MOST_CATEGORIES:]) + categories.get("", 0)
        counts["categories"] = {name: categories[name] for name in named[:MOST_CATEGORIES]} | {"": rest}
    return counts


def _up(moment: datetime, unit: timedelta) -> datetime:
    """Return the first beginning of an hour or a day that is not before a moment."""
    return moment + (_EARLIEST - moment) % unit
