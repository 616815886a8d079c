"""How right a version is: the answer of `GET /models/{name}/versions/{version}/performance`."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from functions.shared.api.problems import Problem
from functions.shared.evaluation import performance as evaluation
from functions.shared.ledger.rollups import Summary
from functions.shared.ledger.statistics import MOST_PAIRED
from functions.statistics.counts import Measures, by_start, merged
from functions.statistics.environment import Asking
from functions.statistics.query import PerformanceQuery
from functions.statistics.span import WIDTHS, Span, span
from functions.statistics.versions import ModelVersion, selected

MEASURES: Final = ("status", "judged", "confusion", "log_loss", "brier", "calibration", "residual")
"""The measures that the figures are computed from. If a model has several targets, each target has its own."""


def performance(asking: Asking, name: str, version: str, query: PerformanceQuery) -> dict[str, Any]:
    """Return how right a version is, and how it compares with another one if the query names one.

    Raises
    ------
    Problem
        404 if there is no such version. 422 if the span or the buckets cannot be used.
    """
    over = span(query.since, query.until, query.interval)
    served = asking.ledger.models()
    [one] = selected(served, name, version)
    document = {
        "of": asking.of,
        "model": name,
        "version": version,
        "task": one.newest.task,
        "since": over.since,
        "until": over.until,
        "interval": over.interval,
        **_figures(asking, one, over),
    }
    if query.compare is not None:
        if query.compare == version:
            detail = f"compare names version {version!r} itself: name another version of the model."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[("/compare", "the same version")])
        [other] = selected(served, name, query.compare)
        document["compare"] = {
            "version": query.compare,
            "task": other.newest.task,
            **_figures(asking, other, over),
            "paired": _paired(asking, one, other, over),
        }
    return document


def _figures(asking: Asking, one: ModelVersion, over: Span) -> dict[str, Any]:
    rows = asking.ledger.summary(
        model_ids=one.model_ids,
        since=over.since,
        until=over.until,
        interval=over.interval,
        measures=MEASURES,
        user_id=asking.user_id,
    )
    measures = merged(rows)
    found = evaluation.summarize(measures, _count(measures), one.newest.labels)
    return {**found, "buckets": _buckets(rows, over.starts(), over)}


def _buckets(rows: Sequence[Summary], starts: Sequence[datetime], over: Span) -> list[dict[str, Any]]:
    found, width = by_start(rows), WIDTHS[over.interval]
    return [{"starts_at": start, "ends_at": start + width, **_short_figures(found.get(start, {}))} for start in starts]


def _short_figures(measures: Measures) -> dict[str, Any]:
    """Return the figures of a bucket: those that are one number each."""
    judged = measures.get("judged", {})
    short = {"coverage": evaluation.coverage(judged.get("judged", 0), _count(measures)), **_numbers(measures, "")}
    targets = {name.partition(":")[2] for name in measures if ":" in name}
    if targets:
        short["targets"] = {
            target: _numbers(measures, f":{target}") for target in sorted(targets, key=lambda name: (len(name), name))
        }
    return short


def _numbers(measures: Measures, target: str) -> dict[str, Any]:
    """Return the figures that are one number each, of the whole prediction or of one target."""
    numbers: dict[str, Any] = {}
    if confusion := measures.get(f"confusion{target}"):
        count = sum(sum(row.values()) for row in confusion.values())
        correct = sum(row.get(truth, 0) for truth, row in confusion.items())
        numbers["accuracy"] = correct / count if count else None
        numbers["accuracy_interval"] = evaluation.wilson_interval(correct, count)
    if counts := measures.get(f"calibration{target}"):
        numbers["expected_calibration_error"] = evaluation.calibration(counts)["expected_calibration_error"]
    if counts := measures.get(f"log_loss{target}"):
        numbers["log_loss"] = evaluation.log_loss(counts.get("sum", 0.0), counts.get("n", 0))
    if counts := measures.get(f"residual{target}"):
        told = evaluation.regression(counts)
        numbers |= {"mae": told["mae"], "rmse": told["rmse"], "r2": told["r2"], "bias": told["bias"]}
    return numbers


def _paired(asking: Asking, one: ModelVersion, other: ModelVersion, over: Span) -> dict[str, Any]:
    """Compare two versions on the inputs that both have predicted and whose ground truth is known for both."""
    paired = asking.ledger.paired(
        one.model_ids, other.model_ids, since=over.since, until=over.until, user_id=asking.user_id
    )
    return {
        "count": sum(paired),
        "both_right": paired.both,
        "both_wrong": paired.neither,
        "looked_at": MOST_PAIRED,
        "mcnemar": evaluation.mcnemar(paired.only_one, paired.only_other) if sum(paired) else None,
    }


def _count(measures: Measures) -> int:
    return int(measures.get("status", {}).get("succeeded", 0))
