"""What `GET /model` says of a model's baseline: the ranges that its features had, and what it scored."""

import json
from collections.abc import Mapping
from typing import Any, Final

from functions.shared.evaluation.bins import quantile
from functions.shared.inference.package import ModelPackage

_FEATURE: Final = "feature:"
_QUANTILES: Final = {"p01": 0.01, "p50": 0.5, "p99": 0.99}


def baseline_document(package: ModelPackage) -> dict[str, Any] | None:
    """Return how many inputs the baseline has, its features and its scores; None if there is no baseline.

    A feature of numbers has quantiles, within 1 % of values that occurred; a text has the values that it had, the most
    frequent first.
    """
    if package.baseline is None:
        return None
    baseline = json.loads(package.baseline)
    columns: Mapping[str, Mapping[str, Any]] = baseline["columns"]
    features = {
        name.removeprefix(_FEATURE): _feature(counts) for name, counts in columns.items() if name.startswith(_FEATURE)
    }
    ordered = {name: features[name] for name in package.feature_names or features if name in features}
    return {
        "count": baseline["count"],
        "columns": list(columns),
        "features": ordered or None,
        "performance": baseline["performance"],
    }


def _feature(counts: Mapping[str, Any]) -> dict[str, Any]:
    missing = {"missing": counts["missing"]}
    if "categories" in counts:
        texts: dict[str, int] = counts["categories"]
        return missing | {"categories": sorted(texts, key=lambda text: (-texts[text], text))}
    found = {name: quantile(counts["bins"], share) for name, share in _QUANTILES.items()}
    return missing | {name: None if value is None else float(f"{value:.3g}") for name, value in found.items()}
