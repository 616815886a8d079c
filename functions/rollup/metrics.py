"""Writes the figures of each version to the log, as metrics of CloudWatch.

CloudWatch Logs makes metrics of lines in its embedded metric format (AWS, "Specification: Embedded metric format"). The
dimension `service`, which every line of the log has, is the function's name. The stack's alarms watch all versions
together: without `service` they would have no dimension to name.
"""

import time
from collections.abc import Iterable
from typing import Final

from functions.shared.log import logger
from functions.shared.prediction.watching import VersionFigures

DIMENSIONS: Final = (("service",), ("model", "version"))
"""CloudWatch keeps each metric once for all versions together, and once for each version."""


def write_metrics(namespace: str, versions: Iterable[VersionFigures]) -> None:
    """Write a line for each version.

    A figure without a value is left out. The distance of each column is a member of the line, but no metric: AWS
    charges for each metric.

    Parameters
    ----------
    namespace
        The namespace of the metrics.
    versions
        The figures.
    """
    for version in versions:
        figures = {
            "accuracy": version.accuracy,
            "coverage": version.coverage,
            "failure_share": version.failure_share,
            "drifted_columns": version.drifted_columns,
        }
        metrics = {name: value for name, value in figures.items() if value is not None}
        directive = {
            "Namespace": namespace,
            "Dimensions": DIMENSIONS,
            "Metrics": [{"Name": name, "Unit": "Count" if name == "drifted_columns" else "None"} for name in metrics],
        }
        logger.info(
            "figures of a version",
            _aws={"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]},
            model=version.name,
            version=version.version,
            predictions=version.predictions,
            **metrics,
            jensen_shannon_distance={name: column.distance for name, column in version.drift.items()},
            drifted=sorted(name for name, column in version.drift.items() if column.drifted),
        )
