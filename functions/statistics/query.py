"""What a request asks for."""

from typing import Annotated, Final, Literal

from fastapi import Path
from pydantic import Field

from functions.shared.api.query_fields import TIME, QueryFields, Time, never_null

_MAX_TEXT_LENGTH: Final = 255

_Text = Annotated[
    str | None,
    Field(min_length=1, max_length=_MAX_TEXT_LENGTH, pattern="^[^\\x00]*$", json_schema_extra=never_null),
]

ModelName = Annotated[str, Path(description="The model's name, as `GET /models` has it.")]
Version = Annotated[str, Path(description="The model's version.")]

_INTERVAL: Final = (
    "How long a bucket is, in UTC; a week begins on Monday (ISO 8601). `auto` takes the shortest of which "
)


class _SpanQuery(QueryFields):
    since: Time = Field(default=None, description=f"From this time on{TIME}. Without it, the last 30 days.")
    until: Time = Field(default=None, description=f"Before this time{TIME}. Without it, until now.")


class StatisticsQuery(_SpanQuery):
    """Of which predictions, and in which buckets."""

    model: _Text = Field(default=None, description="The model's name.", examples=["mnist"])
    version: _Text = Field(default=None, description="The model's version.", examples=["1"])
    interval: Literal["auto", "minute", "hour", "day", "week"] = Field(
        default="auto", description=_INTERVAL, examples=["day"]
    )
    group_by: Annotated[
        Literal["version", "label", "status", "user_id"] | None, Field(json_schema_extra=never_null)
    ] = Field(
        default=None,
        description="Divide each bucket, too. `version` gives all figures of each version, the others a count of each.",
        examples=["label"],
    )


class ModelsQuery(QueryFields):
    """No parameter: all models."""


class PerformanceQuery(_SpanQuery):
    """Of which predictions, in which buckets, and beside which other version."""

    interval: Literal["auto", "minute", "hour", "day", "week"] = Field(
        default="auto", description=_INTERVAL, examples=["day"]
    )
    compare: _Text = Field(default=None, description="Another version of the model, to set beside it.", examples=["2"])


class DriftQuery(_SpanQuery):
    """Which windows are compared with what."""

    window: Literal["hour", "day", "week"] = Field(
        default="day", description="How long a window is, in UTC; a week begins on Monday.", examples=["day"]
    )
    baseline: _Text = Field(
        default=None,
        description=(
            "What a window is compared with: `package` (the model package's baseline.json), `first` (the version's "
            "first 1,000 predictions), `SINCE/UNTIL` (a span of time), or `version:V` (all of another version). "
            "Without it, `package` if there is one, else `first`."
        ),
        examples=["2026-01-01/2026-02-01"],
    )
