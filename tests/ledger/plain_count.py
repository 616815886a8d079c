"""Counts the rows of predictions one by one: what a summary must be equal to. Nothing of it is shared with the SQL."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from functions.shared.evaluation import bins
from functions.shared.ledger.identifiers import created_at
from functions.shared.ledger.rollups import Interval, Summary
from tests.support.database import Query

Flat = dict[tuple[str, ...], float]
"""A number for each path: measure, name, name…"""

Key = tuple[datetime, int]
"""A bucket and a model."""

_ROWS = """
SELECT p.prediction_id, coalesce(p.model_id, 0), p.status, p.failure, p.label, p.likely_class, p.user_id, p.confidence,
       p.predicted_value::text, p.output::text, p.ground_truth::text, p.correct, to_json(p.measured), i.features::text,
       i.form, m.task, m.labels, m.settings
FROM predictions p JOIN inputs i USING (input_id) LEFT JOIN models m ON m.model_id = p.model_id
"""
_COLUMNS = (
    *("prediction_id", "model_id", "status", "failure", "label", "likely_class", "user_id", "confidence"),
    *("predicted_value", "output", "ground_truth", "correct", "measured", "features", "form", "task", "labels"),
    "settings",
)
_MEASURED = (
    *("decode_ms", "inference_ms", "queue_ms"),
    *("picture:width", "picture:height", "picture:bytes", "picture:brightness", "picture:contrast"),
)
_LEAST = 2.220446049250313e-16


def rows(query: Query) -> list[dict[str, Any]]:
    """Read all rows that there are."""
    return [dict(zip(_COLUMNS, row, strict=True)) for row in query(_ROWS)]


def plain_count(
    all_rows: Iterable[Mapping[str, Any]],
    since: datetime,
    until: datetime,
    interval: Interval | None = None,
    models: Iterable[int] | None = None,
    user_id: str | None = None,
) -> dict[Key, Flat]:
    """Count the rows of a time."""
    counted: dict[Key, Flat] = defaultdict(lambda: defaultdict(float))
    for row in all_rows:
        moment = created_at(row["prediction_id"])
        if not since <= moment < until or (models is not None and row["model_id"] not in models):
            continue
        if user_id is not None and row["user_id"] != user_id:
            continue
        for path, number in _numbers(row):
            counted[bucket(moment, interval, since), row["model_id"]][path] += number
    return {key: found for key, flat in counted.items() if (found := {path: n for path, n in flat.items() if n})}


def flat(summaries: Iterable[Summary]) -> dict[Key, Flat]:
    """Write what a summary says in the same way."""
    counted: dict[Key, Flat] = defaultdict(dict)
    for one in summaries:
        for path, number in _paths(one.counts):
            if number:
                counted[one.starts_at, one.model_id][one.measure, *path] = number
    return dict(counted)


def bucket(moment: datetime, interval: Interval | None, since: datetime) -> datetime:
    """Return the beginning of the bucket that a moment is in."""
    if interval is None:
        return since
    minute = moment.replace(second=0, microsecond=0)
    if interval == "minute":
        return minute
    hour = minute.replace(minute=0)
    if interval == "hour":
        return hour
    day = hour.replace(hour=0)
    return day if interval == "day" else day - timedelta(days=day.weekday())


def _paths(counts: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, value in counts.items():
        if isinstance(value, Mapping):
            yield from (((name, *path), number) for path, number in _paths(value))
        else:
            yield (name,), value


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    yield ("status", row["status"]), 1
    yield ("user_id", row["user_id"]), 1
    if row["status"] == "failed":
        yield ("failure", row["failure"] or "unknown"), 1
    if row["confidence"] is not None:
        yield from _number("confidence", row["confidence"], bins.confidence_bin_of(row["confidence"]))
    for measure, number in zip(_MEASURED, row["measured"] or [], strict=False):
        if number is not None:
            yield from _number(measure, number, bins.bin_of(number))
    truth = None if row["ground_truth"] is None else json.loads(row["ground_truth"], parse_float=Decimal)
    if row["ground_truth"] is not None:
        yield ("judged", "judged"), 1
        if row["correct"] is not None:
            yield ("judged", "correct" if row["correct"] else "wrong"), 1
    if row["correct"] is not None and row["confidence"] is not None:
        number = str(bins.calibration_bin_of(row["confidence"]))
        yield ("calibration", "bins", number, "n"), 1
        yield ("calibration", "bins", number, "confidence"), row["confidence"]
        yield ("calibration", "bins", number, "correct"), int(row["correct"])
    if row["status"] == "succeeded":
        yield from _labels(row, truth)
        yield from _targets(row, truth)
        yield from _features(row)


def _number(measure: str, number: float, found: int | None) -> Iterator[tuple[tuple[str, ...], float]]:
    yield (measure, "n"), 1
    yield (measure, "sum"), number
    yield (measure, "squares"), number * number
    yield (measure, "bins", str(found)), 1


def _labels(row: Mapping[str, Any], truth: object) -> Iterator[tuple[tuple[str, ...], float]]:
    label = row["label"]
    if label is None:
        return
    yield ("label", label), 1
    if not isinstance(truth, str):
        return
    yield ("confusion", truth, label), 1
    if row["task"] != "classification" or row["confidence"] is None:
        return
    labels = row["labels"]
    if labels is not None:
        place = labels.index(truth) if truth in labels else None
    else:
        place = int(truth) if label == str(row["likely_class"]) and truth.isdigit() else None
    scores = json.loads(row["output"])
    if place is None or isinstance(scores, dict):  # of a `top_k`, the true label may have no score
        return
    while len(scores) == 1 and isinstance(scores[0], list):
        [scores] = scores
    scores = [one[0] if isinstance(one, list) else one for one in scores]
    if len(scores) == 1:
        scores = [1 - scores[0], scores[0]]
    if place < len(scores):
        yield from _log_loss(scores[place])
        yield ("brier", "n"), 1
        yield ("brier", "sum"), sum((score - (at == place)) ** 2 for at, score in enumerate(scores))


def _log_loss(probability: float) -> Iterator[tuple[tuple[str, ...], float]]:
    yield ("log_loss", "n"), 1
    yield ("log_loss", "sum"), -math.log(min(max(probability, _LEAST), 1 - _LEAST))


def _targets(row: Mapping[str, Any], truth: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    if row["task"] not in ("regression", "multi-target"):
        return
    predicted = json.loads(row["predicted_value"], parse_float=Decimal)
    several = isinstance(predicted, list)
    for at, one in enumerate(predicted if several else [predicted]):
        name = f":{at}" if several else ""
        true = truth if not several else truth[at] if isinstance(truth, list) and at < len(truth) else None
        if row["task"] == "regression" or isinstance(one, Decimal):
            yield from _number(f"value{name}", number := _finite(one), bins.bin_of(number))
            if isinstance(true, int | Decimal) and not isinstance(true, bool):
                yield from _residual(f"residual{name}", number, _finite(true))
        else:
            yield (f"label{name}", _text(one)), 1
            if isinstance(true, str | int | Decimal):
                yield (f"confusion{name}", _text(true), _text(one)), 1


def _residual(measure: str, number: float, truth: float) -> Iterator[tuple[tuple[str, ...], float]]:
    residual = number - truth
    yield (measure, "n"), 1
    yield (measure, "sum"), residual
    yield (measure, "absolute"), abs(residual)
    yield (measure, "squares"), residual**2
    yield (measure, "truth"), truth
    yield (measure, "truth_squares"), truth**2
    yield (measure, "bins", str(bins.bin_of(residual))), 1


def _features(row: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    names = (row["settings"] or {}).get("feature_names", ())
    if "feature_names" not in (row["settings"] or {}) or row["features"] is None:
        return
    given = json.loads(row["features"], parse_float=Decimal)
    if row["form"] is not None:
        [*tensors] = given["inputs"]
        data = [one["data"][0] if isinstance(one["data"][0], list) else one["data"] for one in tensors]
        given = (
            data[0] if len(data) == 1 else {one["name"]: values[0] for one, values in zip(tensors, data, strict=True)}
        )
    if isinstance(given, list):
        given = {(names[at] if names else str(at)): one for at, one in enumerate(given)}
    for name, value in given.items():
        measure = f"feature:{name}"
        if value is None:
            yield (measure, "missing"), 1
        elif isinstance(value, str | bool):
            yield (measure, "n"), 1
            yield (measure, "categories", _text(value)), 1
        else:
            yield from _number(measure, number := _finite(value), bins.bin_of(number))


def _finite(number: Decimal | int) -> float:
    exact = Decimal(number)
    if abs(exact) > Decimal("1e100"):
        return math.copysign(1e100, exact)
    return 0.0 if abs(exact) < Decimal("1e-100") else float(exact)


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"  # the class 1 is the truth 1.0, too
    return value if isinstance(value, str) else json.dumps(value)
