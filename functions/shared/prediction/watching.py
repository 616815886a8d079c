"""How the models have done lately: the figures that are exported as metrics, for alarms.

They are those of `GET /models/{name}/versions/{version}/performance` and `…/drift` over the last 24 whole hours, for
each version that predicted in them. A failed prediction is of no version, so the failure share is that of all
predictions, even if no version predicted. All are read from rollups, so the database counts few rows for them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from functions.shared.evaluation import drift
from functions.shared.ledger.rollups import merged
from functions.shared.ledger.statistics import ServedModel, StatisticsLedger

WATCHED: Final = timedelta(hours=24)
"""The time that the figures cover."""

LEAST: Final = 30
"""The fewest predictions that a share is computed from. With fewer, an alarm would often be chance."""

FIRST: Final = 1000
"""How many of a version's first predictions are its baseline if its package has none."""

COLUMNS: Final = ("label", "confidence", "value", "feature", "picture")
"""The kinds of measures whose drift is computed."""

_MEASURES: Final = ("status", "judged", *COLUMNS)


class ColumnDrift(NamedTuple):
    """How much a column differs from the baseline.

    Attributes
    ----------
    distance : float or None
        The Jensen-Shannon distance.
    drifted : bool or None
        Whether the difference counts as drift; None if there are too few predictions to tell.
    """

    distance: float | None
    drifted: bool | None


class VersionFigures(NamedTuple):
    """The figures of a version.

    Attributes
    ----------
    name, version : str
        The version.
    predictions : int
        Its predictions, whatever their status.
    accuracy : float or None
        The share of its classifications with a ground truth that are right; None if there are fewer than `LEAST`.
    coverage : float
        The share of its predictions that have a ground truth.
    drift : dict
        What differs from the baseline, by column; empty if there is no baseline.
    """

    name: str
    version: str
    predictions: int
    accuracy: float | None
    coverage: float
    drift: dict[str, ColumnDrift]

    @property
    def drifted_columns(self) -> int | None:
        """How many columns drifted; None if no column has enough predictions to decide."""
        told = [column.drifted for column in self.drift.values() if column.drifted is not None]
        return sum(told) if told else None


class Figures(NamedTuple):
    """The figures of the last 24 whole hours.

    Attributes
    ----------
    failure_share : float or None
        The share of the finished predictions that failed; None if there are fewer than `LEAST`.
    versions : sequence of VersionFigures
        Every version that has predicted.
    """

    failure_share: float | None
    versions: Sequence[VersionFigures]


def watch(ledger: StatisticsLedger, now: datetime | None = None) -> Figures:
    """Return the figures of the last 24 whole hours.

    Parameters
    ----------
    ledger
        The ledger.
    now
        The time; None for the present.

    Raises
    ------
    LedgerError
        If the database cannot be reached.
    """
    until = (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
    rows = ledger.summary(since=until - WATCHED, until=until, measures=_MEASURES)
    found: dict[int, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.model_id, {})[row.measure] = row.counts
    versions: dict[tuple[str, str], list[ServedModel]] = {}
    for model in ledger.models() if found else ():
        if model.model_id in found:
            versions.setdefault((model.name, model.version), []).append(model)
    statuses = merged(measures.get("status", {}) for measures in found.values())
    failed = statuses.get("failed", 0)
    return Figures(
        failure_share=_share(failed, failed + statuses.get("succeeded", 0)),
        versions=[
            _figures(ledger, name, version, models, merged(found[model.model_id] for model in models))
            for (name, version), models in sorted(versions.items())
        ],
    )


def _figures(
    ledger: StatisticsLedger, name: str, version: str, models: Sequence[ServedModel], measures: Mapping[str, Any]
) -> VersionFigures:
    statuses, judged = measures.get("status", {}), measures.get("judged", {})
    count = sum(statuses.values())
    compared = judged.get("correct", 0) + judged.get("wrong", 0)
    return VersionFigures(
        name,
        version,
        count,
        accuracy=_share(judged.get("correct", 0), compared),
        coverage=judged.get("judged", 0) / count if count else 0.0,
        drift=_drift(_baseline(ledger, [model.model_id for model in models]), measures),
    )


def _share(of: int, count: int) -> float | None:
    return of / count if count >= LEAST else None


def _baseline(ledger: StatisticsLedger, model_ids: Sequence[int]) -> Mapping[str, Any]:
    registered = ledger.baseline(model_ids)
    if registered is not None:
        columns: Mapping[str, Any] = registered["columns"]
        return columns
    first = ledger.first_predictions(model_ids, count=FIRST)
    if first is None:
        return {}
    since, last, _ = first
    until = last + timedelta(microseconds=1)
    rows = ledger.summary(model_ids=model_ids, since=since, until=until, measures=COLUMNS)
    return merged({row.measure: row.counts} for row in rows)


def _drift(baseline: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, ColumnDrift]:
    compared = {
        column: drift.Column.of(column, counts).compare(measures[column])
        for column, counts in baseline.items()
        if column in measures
    }
    decided = drift.decide(compared)
    return {
        column: ColumnDrift(figures["jensen_shannon_distance"], decided[column]["drift"])
        for column, figures in compared.items()
    }
