"""Writes the figures of each version to the log, as metrics of CloudWatch.

CloudWatch Logs makes metrics of lines in its embedded metric format (AWS, "Specification: Embedded metric format"). The
dimension `service`, which every line of the log has, is the function's name: an alarm of the stack that watches all
versions together knows no other.
"""

import time
from collections.abc import Iterable
from typing import Final

from functions.shared.log import logger
from functions.shared.prediction.watching import VersionFigures

DIMENSIONS: Final = (("service",), ("model", "version"))
"""Each metric is kept once for all versions together, and once for each."""


def write_metrics(namespace: str, versions: Iterable[VersionFigures]) -> None:
    """Write a line for each version.

    A figure that has no value is no metric. What each column differs by is a member of the line and no metric, since
    AWS charges for each metric.

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
