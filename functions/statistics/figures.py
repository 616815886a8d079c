"""Figures of a set of predictions, from their counts: how many, how fast and how sure."""

from typing import Any, Final

from functions.shared.evaluation.bins import CONFIDENCE_BINS, quantiles
from functions.statistics.counts import Counts, Measures

LATENCIES: Final = ("decode_ms", "inference_ms", "queue_ms")
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

MEASURES: Final = ("status", "failure", "label", "confidence", *LATENCIES)
"""The measures that the figures are computed from."""

ERROR_OF_PERCENTILES: Final = 0.01
"""The largest relative error of a percentile: bins are 2 % wide."""

MOST_LABELS: Final = 1000
"""The most labels listed in the total."""

MOST_LABELS_OF_BUCKET: Final = 20
"""The most labels listed in a bucket."""

_STATUSES: Final = ("succeeded", "failed", "queued", "processing")


def figures(measures: Measures, *, most_labels: int) -> dict[str, Any]:
    """Return the figures of predictions.

    Parameters
    ----------
    measures
        Their counts.
    most_labels
        How many labels are listed, the most frequent ones. The rest are counted together.
    """
    statuses = measures.get("status", {})
    labels, other = _most_frequent(measures.get("label", {}), most_labels)
    return {
        "count": sum(statuses.values()),
        "statuses": {status: statuses.get(status, 0) for status in _STATUSES},
        "failures": dict(sorted(measures.get("failure", {}).items())),
        "latency": {name: latency(measures.get(name, {})) for name in LATENCIES},
        "confidence": _confidence(measures.get("confidence", {})),
        "labels": labels,
        "other_labels": other,
    }


def groups(counts: Counts, keys: list[str], count: int, *, name: str) -> dict[str, Any]:
    """Return how many predictions each listed group has, and how many are in none of them.

    Parameters
    ----------
    counts
        The count of each group.
    keys
        The groups to list.
    count
        How many predictions there are.
    name
        The member of a group that has its key, such as ``label``.
    """
    listed = [{name: key, "count": counts[key]} for key in keys if counts.get(key)]
    return {"groups": listed, "others": count - sum(one["count"] for one in listed)}


def latency(counts: Counts) -> dict[str, Any]:
    """Return the count, mean and percentiles of milliseconds. Without a count, the others are None."""
    count = counts.get("n", 0)
    if not count:
        return {"count": 0, "mean": None, **dict.fromkeys(QUANTILES)}
    percentiles = zip(QUANTILES, quantiles(counts["bins"], QUANTILES.values()), strict=True)
    return {"count": count, "mean": counts["sum"] / count, **dict(percentiles)}


def _confidence(counts: Counts) -> dict[str, Any]:
    count, bins = counts.get("n", 0), counts.get("bins", {})
    return {
        "count": count,
        "mean": counts["sum"] / count if count else None,
        "histogram": [bins.get(str(number), 0) for number in range(CONFIDENCE_BINS)],
    }


def _most_frequent(counts: Counts, most: int) -> tuple[dict[str, int], int]:
    """Return the most frequent keys with their counts, most frequent first, and the count of all the others."""
    ordered = sorted(((key, n) for key, n in counts.items() if n), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:most]), sum(n for _, n in ordered[most:])
