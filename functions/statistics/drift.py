"""How windows differ from a baseline: the answer of `GET /models/{name}/versions/{version}/drift`."""

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from functions.shared.api.problems import Problem
from functions.shared.evaluation.drift import DEFAULT, Column, decide
from functions.shared.prediction.watching import COLUMNS
from functions.statistics.baselines import find
from functions.statistics.counts import Counts, Measures, by_start
from functions.statistics.environment import Asking
from functions.statistics.query import DriftQuery
from functions.statistics.span import WIDTHS, span
from functions.statistics.versions import selected

MOST_FIGURES: Final = 4000
"""The most comparisons in an answer: each window is compared in each column."""


def drift(asking: Asking, name: str, version: str, query: DriftQuery) -> dict[str, Any]:
    """Return how each window differs from the baseline, in each column.

    Raises
    ------
    Problem
        404 if there is no such version. 422 if the span, the windows or the baseline cannot be used.
    """
    over = span(query.since, query.until, query.window, name="window")
    served = asking.ledger.models()
    [one] = selected(served, name, version)
    baseline = find(asking, one, selected(served, name, None), query.baseline)
    rows = asking.ledger.summary(
        model_ids=one.model_ids,
        since=over.since,
        until=over.until,
        interval=over.interval,
        measures=("status", *COLUMNS),
        user_id=asking.user_id,
    )
    windows, width = by_start(rows), WIDTHS[over.interval]
    columns = _columns(baseline.columns, windows)
    starts = over.starts()
    _require_few(len(starts) * len(columns))
    return {
        "of": asking.of,
        "model": name,
        "version": version,
        "since": over.since,
        "until": over.until,
        "window": over.interval,
        "baseline": baseline.says,
        "thresholds": asdict(DEFAULT),
        "windows": [
            {"starts_at": start, "ends_at": start + width, **_window(columns, windows.get(start, {}))}
            for start in starts
        ],
    }


def _columns(baseline: Mapping[str, Counts], windows: Mapping[Any, Measures]) -> dict[str, Column]:
    """Return the columns of the baseline and those that only windows have."""
    columns = {name: Column.of(name, counts) for name, counts in sorted(baseline.items())}
    for measures in windows.values():
        for name, counts in measures.items():
            if name != "status" and name not in columns:
                is_text = isinstance(counts.get("categories"), Mapping)  # a label may have that name
                columns[name] = Column.of(name, {"categories": {}} if is_text else {})
    return columns


def _window(columns: Mapping[str, Column], measures: Measures) -> dict[str, Any]:
    figures = {name: column.compare(measures.get(name, {})) for name, column in columns.items()}
    decisions = decide(figures)
    told = [decision["drift"] for decision in decisions.values()]
    return {
        "count": measures.get("status", {}).get("succeeded", 0),
        "drift": True if True in told else False if False in told else None,
        "drifted": [name for name, decision in decisions.items() if decision["drift"]],
        "columns": {name: {**figures[name], **decisions[name]} for name in columns},
    }


def _require_few(count: int) -> None:
    if count > MOST_FIGURES:
        detail = (
            f"The answer would compare {count} times, each window in each column, and at most {MOST_FIGURES} are "
            "allowed: choose longer windows or a shorter span."
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[("/window", "gives too many figures")])
