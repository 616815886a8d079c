"""The rows of a summary, added up by measure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from functions.shared.ledger import rollups
from functions.shared.ledger.rollups import Summary

Counts = Mapping[str, Any]
"""Numbers by name, or further counts by name."""

Measures = Mapping[str, Counts]
"""The counts of each measure."""


def merged(rows: Iterable[Summary]) -> Measures:
    """Return the sum of rows, by measure."""
    parts: dict[str, list[Counts]] = {}
    for row in rows:
        parts.setdefault(row.measure, []).append(row.counts)
    return {measure: one[0] if len(one) == 1 else rollups.merged(one) for measure, one in parts.items()}


def by_start(rows: Iterable[Summary]) -> dict[datetime, Measures]:
    """Return the sum of the rows of each bucket, by its start."""
    buckets: dict[datetime, list[Summary]] = {}
    for row in rows:
        buckets.setdefault(row.starts_at, []).append(row)
    return {start: merged(those) for start, those in buckets.items()}
