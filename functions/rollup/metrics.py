"""Writes how the models do to the log, as metrics of CloudWatch.

CloudWatch Logs makes metrics of lines in its embedded metric format (AWS, "Specification: Embedded metric format"). The
dimension `service`, which every line of the log has, is the function's name. The stack's alarms watch all predictions,
or all versions together: without `service` they would have no dimension to name.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from functions.shared.log import logger
from functions.shared.prediction.watching import Figures

OF_ALL: Final = (("service",),)
"""CloudWatch keeps a metric that is of no version once."""

DIMENSIONS: Final = (*OF_ALL, ("model", "version"))
"""CloudWatch keeps each metric of a version once for all versions together, and once for each version."""


def write_metrics(namespace: str, figures: Figures) -> None:
    """Write a line for all predictions, and one for each version.

    A figure without a value is left out. The distance of each column is a member of the line, but no metric: AWS
    charges for each metric.

    Parameters
    ----------
    namespace
        The namespace of the metrics.
    figures
        The figures.
    """
    if figures.failure_share is not None:
        of_all = {"failure_share": figures.failure_share}
        logger.info("figures of all predictions", _aws=_directive(namespace, OF_ALL, of_all), **of_all)
    for version in figures.versions:
        found = {
            "accuracy": version.accuracy,
            "coverage": version.coverage,
            "drifted_columns": version.drifted_columns,
        }
        metrics = {name: value for name, value in found.items() if value is not None}
        logger.info(
            "figures of a version",
            _aws=_directive(namespace, DIMENSIONS, metrics),
            model=version.name,
            version=version.version,
            predictions=version.predictions,
            **metrics,
            jensen_shannon_distance={name: column.distance for name, column in version.drift.items()},
            drifted=sorted(name for name, column in version.drift.items() if column.drifted),
        )


def _directive(namespace: str, dimensions: Sequence[tuple[str, ...]], metrics: Mapping[str, float]) -> dict[str, Any]:
    """Say which members of a line are metrics."""
    directive = {
        "Namespace": namespace,
        "Dimensions": dimensions,
        "Metrics": [{"Name": name, "Unit": "Count" if name == "drifted_columns" else "None"} for name in metrics],
    }
    return {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
