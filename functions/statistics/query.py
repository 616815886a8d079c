"""The queries of the routes, and what each parameter means."""

from typing import Annotated, Final, Literal

from fastapi import Path
from pydantic import Field

from functions.shared.api.query_fields import TIME, QueryFields, Time, never_null
from functions.shared.prediction.watching import FIRST
from functions.statistics.span import MOST_AUTOMATIC

_MAX_TEXT_LENGTH: Final = 255

_Text = Annotated[
    str | None,
    Field(min_length=1, max_length=_MAX_TEXT_LENGTH, pattern="^[^\\x00]*$", json_schema_extra=never_null),
]

ModelName = Annotated[str, Path(description="The model's name, as `GET /models` has it.")]
Version = Annotated[str, Path(description="The model's version.")]

_INTERVAL: Final = (
    "How long a bucket is, in UTC; a week begins on Monday (ISO 8601). `auto` takes the shortest interval that gives "
    f"at most {MOST_AUTOMATIC} buckets."
)


class _SpanQuery(QueryFields):
    since: Time = Field(default=None, description=f"From this time on{TIME}. Without it, the last 30 days.")
    until: Time = Field(default=None, description=f"Before this time{TIME}. Without it, until now.")


class StatisticsQuery(_SpanQuery):
    """Which predictions to count, and in which buckets."""

    model: _Text = Field(default=None, description="The model's name.", examples=["mnist"])
    version: _Text = Field(default=None, description="The model's version.", examples=["1"])
    interval: Literal["auto", "minute", "hour", "day", "week"] = Field(
        default="auto", description=_INTERVAL, examples=["day"]
    )
    group_by: Annotated[
        Literal["version", "label", "status", "user_id"] | None, Field(json_schema_extra=never_null)
    ] = Field(
        default=None,
        description="Also divide each bucket into groups. `version` gives all figures of each version, the other "
        "values give the count of each group.",
        examples=["label"],
    )


class ModelsQuery(QueryFields):
    """`GET /models` takes no parameter."""


class PerformanceQuery(_SpanQuery):
    """Which predictions to count, in which buckets, and which other version to compare with."""

    interval: Literal["auto", "minute", "hour", "day", "week"] = Field(
        default="auto", description=_INTERVAL, examples=["day"]
    )
    compare: _Text = Field(default=None, description="Another version of the model to compare with.", examples=["2"])


class DriftQuery(_SpanQuery):
    """Which windows to compare, and with what."""

    window: Literal["hour", "day", "week"] = Field(
        default="day", description="How long a window is, in UTC; a week begins on Monday.", examples=["day"]
    )
    baseline: _Text = Field(
        default=None,
        description=(
            "What a window is compared with: `package` (the model package's baseline.json), `first` (the version's "
            f"first {FIRST:,} predictions), `SINCE/UNTIL` (a span of time), or `version:V` (all predictions of another "
            "version). Without it, `package` if there is one, else `first`."
        ),
        examples=["2026-01-01/2026-02-01"],
    )
