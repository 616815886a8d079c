"""What figures need beside summaries: the models, the inputs that two versions have predicted, the refused requests.

Every method is one statement and one round trip.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from functions.shared.ledger import arrays, refused_statements, statistics_statements
from functions.shared.ledger.arrays import Array
from functions.shared.ledger.identifiers import FIRST_ID, LAST_ID, first_id_at
from functions.shared.ledger.rollups import SummaryLedger

MOST_PAIRED: Final = 50_000
"""How many of each version's newest predictions are searched for pairs."""


class ServedModel(NamedTuple):
    """A model that was served. Several may have the same name and version: they differ in their files or settings.

    Attributes
    ----------
    model_id, name, version, task, labels, sha256
        As in `ModelIdentity`.
    registered_at, served_at : datetime
        When it was first served, and when an execution environment last started to serve it.
    first_prediction_at, last_prediction_at : datetime or None
        When its oldest and its newest prediction were asked for.
    """

    model_id: int
    name: str
    version: str
    task: str
    labels: list[str] | None
    sha256: str
    registered_at: datetime
    served_at: datetime
    first_prediction_at: datetime | None
    last_prediction_at: datetime | None


class Paired(NamedTuple):
    """How many inputs both of two versions got right, only the first, only the second, and neither."""

    both: int
    only_one: int
    only_other: int
    neither: int


class RefusedRequests(NamedTuple):
    """How many requests were refused.

    Attributes
    ----------
    statuses : dict
        By status.
    routes : dict
        By route.
    days : dict
        By day, as ``2026-01-31``, and status.
    """

    statuses: dict[str, int]
    routes: dict[str, int]
    days: dict[str, dict[str, int]]


class StatisticsLedger(SummaryLedger):
    """A ledger that answers queries for figures."""

    def models(self, *, user_id: str | None = None) -> Sequence[ServedModel]:
        """Return every model that was served, by name and version.

        Parameters
        ----------
        user_id : str or None
            If given, the first and the last prediction are this user's.
        """
        if user_id is None:
            rows = self._pool.run(statistics_statements.MODELS, {"first_id": FIRST_ID, "last_id": LAST_ID})
        else:
            rows = self._pool.run(statistics_statements.MODELS_OF_USER, {"user_id": user_id})
        return [ServedModel(*row) for row in rows]

    def baseline(self, model_ids: Sequence[int]) -> dict[str, Any] | None:
        """Return the baseline from a version's package; None if it has none."""
        rows = self._pool.run(statistics_statements.BASELINE, {"model_ids": Array(arrays.BIGINT, model_ids)})
        return rows[0][0] if rows else None

    def first_predictions(
        self, model_ids: Sequence[int], *, count: int, user_id: str | None = None
    ) -> tuple[datetime, datetime, int] | None:
        """Return when the first predictions of a version were asked for; None if there are none.

        Parameters
        ----------
        model_ids : Sequence of int
            The models of the version.
        count : int
            How many predictions, at most.
        user_id : str or None
            If given, only this user's.

        Returns
        -------
        tuple
            The time of the first and of the last of them, and how many there are.
        """
        parameters: dict[str, object] = {
            "model_ids": Array(arrays.BIGINT, model_ids),
            "first_id": FIRST_ID,
            "last_id": LAST_ID,
            "count": count,
        }
        sql = statistics_statements.FIRST
        if user_id is not None:
            sql, parameters["user_id"] = statistics_statements.FIRST_OF_USER, user_id
        [(first, last, found)] = self._pool.run(sql, parameters)
        return (first, last, found) if found else None

    def paired(
        self,
        model_ids: Sequence[int],
        other_model_ids: Sequence[int],
        *,
        since: datetime,
        until: datetime,
        user_id: str | None = None,
    ) -> Paired:
        """Count the inputs that two versions have both predicted and whose ground truth is known for both.

        Two inputs are the same if their bytes are, or their ``inference_id``. The newest `MOST_PAIRED` predictions of
        each version are searched.

        Parameters
        ----------
        model_ids, other_model_ids : Sequence of int
            The models of each version.
        since, until : datetime
            The predictions were created from `since` on and before `until`.
        user_id : str or None
            If given, only this user's.
        """
        parameters: dict[str, object] = {
            "model_ids": Array(arrays.BIGINT, model_ids),
            "other_model_ids": Array(arrays.BIGINT, other_model_ids),
            "since": first_id_at(since),
            "before": first_id_at(until),
            "count": MOST_PAIRED,
        }
        sql = statistics_statements.PAIRED
        if user_id is not None:
            sql, parameters["user_id"] = statistics_statements.PAIRED_OF_USER, user_id
        [row] = self._pool.run(sql, parameters)
        return Paired(*row)

    def refused(self, *, since: datetime, until: datetime) -> RefusedRequests:
        """Count the requests that were refused from the day of `since` to the last day before `until`, in UTC."""
        last = max(since, until - datetime.resolution).astimezone(UTC)
        days = {"since": since.astimezone(UTC).date().isoformat(), "until": last.date().isoformat()}
        found = RefusedRequests({}, {}, {})
        for day, route, status, count in self._pool.run(refused_statements.REFUSED, days):
            if day is not None:
                found.days.setdefault(day, {})[str(status)] = count
            elif route is not None:
                found.routes[route] = count
            else:
                found.statuses[str(status)] = count
        return found
