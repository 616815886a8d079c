"""How often, how fast, how sure: the answers of `GET /statistics` and `GET /models`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from functions.shared.api.problems import Problem
from functions.shared.evaluation.performance import wilson_interval
from functions.shared.ledger.rollups import Summary
from functions.shared.ledger.statistics import RefusedRequests, ServedModel
from functions.statistics.counts import Measures, by_start, merged
from functions.statistics.environment import Asking
from functions.statistics.figures import (
    ERROR_OF_PERCENTILES,
    MEASURES,
    MOST_LABELS,
    MOST_LABELS_OF_BUCKET,
    figures,
    groups,
)
from functions.statistics.query import StatisticsQuery
from functions.statistics.span import EVER, WIDTHS, Span, span
from functions.statistics.versions import ModelVersion, selected, versions

MOST_GROUPS: Final = 50
"""The most groups listed in a bucket: the most frequent ones of the whole span."""

MOST_FIGURES: Final = 4000
"""The most groups in an answer that groups by version: each bucket has one for each version."""

MOST_MODELS: Final = 5000
"""The most versions that are listed. The ones served last come first."""


def statistics(asking: Asking, query: StatisticsQuery) -> dict[str, Any]:
    """Return the answer of `GET /statistics`.

    Raises
    ------
    Problem
        404 if no such model was served. 422 if the span or the buckets cannot be used.
    """
    over = span(query.since, query.until, query.interval)
    filtered = query.model is not None or query.version is not None
    served = asking.ledger.models() if filtered or query.group_by == "version" else []
    chosen = selected(served, query.model, query.version) if filtered else versions(served)
    starts = over.starts()
    if query.group_by == "version":
        _require_few(len(starts) * len(chosen))
    rows = asking.ledger.summary(
        model_ids=[model_id for one in chosen for model_id in one.model_ids] if filtered else None,
        since=over.since,
        until=over.until,
        interval=over.interval,
        measures=(*MEASURES, "user_id") if query.group_by == "user_id" else MEASURES,
        user_id=asking.user_id,
    )
    total, found = merged(rows), by_start(rows)
    document: dict[str, Any] = {
        "of": asking.of,
        "model": query.model,
        "version": query.version,
        "since": over.since,
        "until": over.until,
        "interval": over.interval,
        "group_by": query.group_by,
        "error_of_percentiles": ERROR_OF_PERCENTILES,
        "total": figures(total, most_labels=MOST_LABELS),
        "buckets": _buckets(found, starts, over),
    }
    if query.group_by == "version":
        _add_versions(document, rows, starts, chosen)
    elif query.group_by is not None:
        _add_groups(document, total, found, starts, query.group_by)
    if asking.user_id is None:
        document["refused"] = refused(asking.ledger.refused(since=over.since, until=over.until))
    return document


def _require_few(count: int) -> None:
    if count > MOST_FIGURES:
        detail = (
            f"The answer would have {count} groups, one for each version in each bucket, and at most {MOST_FIGURES} "
            "are allowed: choose a longer interval, a shorter span, or one model."
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[("/group_by", "gives too many figures")])


def _buckets(found: Mapping[datetime, Measures], starts: Sequence[datetime], over: Span) -> list[dict[str, Any]]:
    width = WIDTHS[over.interval]
    return [
        {
            "starts_at": start,
            "ends_at": start + width,
            **figures(found.get(start, {}), most_labels=MOST_LABELS_OF_BUCKET),
        }
        for start in starts
    ]


def _add_versions(
    document: dict[str, Any], rows: Sequence[Summary], starts: Sequence[datetime], chosen: Sequence[ModelVersion]
) -> None:
    """Add all figures of each version, and the count of predictions without one: no model has made them."""
    version_of = {model_id: (one.name, one.version) for one in chosen for model_id in one.model_ids}
    parts: dict[tuple[str, str] | None, list[Summary]] = {}
    for row in rows:
        parts.setdefault(version_of.get(row.model_id), []).append(row)
    by_version = {key: by_start(those) for key, those in parts.items()}
    for bucket, start in zip(document["buckets"], starts, strict=True):
        bucket["groups"] = _version_groups(by_version, start)
        bucket["others"] = _count(by_version.get(None, {}).get(start, {}))
    totals = {key: {EVER[0]: merged(those)} for key, those in parts.items()}
    document["total"]["groups"] = _version_groups(totals, EVER[0])
    document["total"]["others"] = _count(totals.get(None, {}).get(EVER[0], {}))


def _version_groups(
    by_version: Mapping[tuple[str, str] | None, Mapping[datetime, Measures]], start: datetime
) -> list[dict[str, Any]]:
    return [
        {"model": key[0], "version": key[1], **figures(found[start], most_labels=MOST_LABELS_OF_BUCKET)}
        for key, found in sorted((key, found) for key, found in by_version.items() if key is not None)
        if start in found
    ]


def _add_groups(
    document: dict[str, Any],
    total: Measures,
    found: Mapping[datetime, Measures],
    starts: Sequence[datetime],
    name: str,
) -> None:
    """Add the count of each group. Every bucket lists the same groups."""
    counts = total.get(name, {})
    keys = sorted((key for key, n in counts.items() if n), key=lambda key: (-counts[key], key))[:MOST_GROUPS]
    document["total"] |= groups(counts, keys, document["total"]["count"], name=name)
    for bucket, start in zip(document["buckets"], starts, strict=True):
        bucket |= groups(found.get(start, {}).get(name, {}), keys, bucket["count"], name=name)


def _count(measures: Measures) -> int:
    return sum(measures.get("status", {}).values())


def refused(found: RefusedRequests) -> dict[str, Any]:
    """Return the refused requests as the answer shows them."""
    return {
        "count": sum(found.statuses.values()),
        "statuses": found.statuses,
        "routes": dict(sorted(found.routes.items(), key=lambda item: (-item[1], item[0]))),
        "days": [
            {"day": day, "count": sum(statuses.values()), "statuses": statuses}
            for day, statuses in sorted(found.days.items())
        ],
    }


def models(asking: Asking) -> dict[str, Any]:
    """Return the answer of `GET /models`."""
    served = asking.ledger.models(user_id=asking.user_id)
    since, until = EVER
    rows = asking.ledger.summary(
        model_ids=[one.model_id for one in served],
        since=since,
        until=until,
        interval=None,
        measures=("status", "judged"),
        user_id=asking.user_id,
    )
    by_model: dict[int, list[Summary]] = {}
    for row in rows:
        by_model.setdefault(row.model_id, []).append(row)
    every = sorted(versions(served), key=lambda one: max(model.served_at for model in one.served), reverse=True)
    return {
        "of": asking.of,
        "models": [
            _model(one, merged(row for model_id in one.model_ids for row in by_model.get(model_id, ())))
            for one in every[:MOST_MODELS]
        ],
        "others": len(every[MOST_MODELS:]),
    }


def _model(one: ModelVersion, measures: Measures) -> dict[str, Any]:
    judged = measures.get("judged", {})
    right, wrong = judged.get("correct", 0), judged.get("wrong", 0)
    return {
        "name": one.name,
        "version": one.version,
        "task": one.newest.task,
        "sha256": sorted({model.sha256 for model in one.served}),
        "registered_at": min(model.registered_at for model in one.served),
        "served_at": max(model.served_at for model in one.served),
        "first_prediction_at": _first(one.served),
        "last_prediction_at": _last(one.served),
        "count": _count(measures),
        "judged": judged.get("judged", 0),
        "accuracy": right / (right + wrong) if right + wrong else None,
        "accuracy_interval": wilson_interval(right, right + wrong),
    }


def _first(served: Iterable[ServedModel]) -> datetime | None:
    return min((one.first_prediction_at for one in served if one.first_prediction_at is not None), default=None)


def _last(served: Iterable[ServedModel]) -> datetime | None:
    return max((one.last_prediction_at for one in served if one.last_prediction_at is not None), default=None)
