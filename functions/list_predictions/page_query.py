"""The query of a list: which predictions, in which order, and how many of them."""

from typing import Annotated, Final
from urllib.parse import urlencode

from pydantic import Field

from functions.shared.api.fields import MAX_INFERENCE_ID_LENGTH
from functions.shared.api.query_fields import TIME, QueryFields, Time, TrueOrFalse, UserId, never_null
from functions.shared.api.representations import Status
from functions.shared.ledger.records import Order, PredictionFilter

_MAX_TEXT_LENGTH: Final = 255


_Text = Annotated[str | None, Field(max_length=_MAX_TEXT_LENGTH, pattern="^[^\\x00]*$", json_schema_extra=never_null)]
_Status = Annotated[Status | None, Field(json_schema_extra=never_null)]
_Cursor = Annotated[str | None, Field(min_length=1, max_length=_MAX_TEXT_LENGTH, json_schema_extra=never_null)]
_InferenceId = Annotated[
    str | None,
    Field(min_length=1, max_length=MAX_INFERENCE_ID_LENGTH, pattern="^[^\\x00]*$", json_schema_extra=never_null),
]
_Share = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False, json_schema_extra=never_null)]


class PageQuery(QueryFields):
    """Which predictions, and how many of them."""

    limit: int = Field(default=50, ge=1, le=1000, description="The most records on a page.", examples=[50])
    cursor: _Cursor = Field(default=None, description="`next_cursor` of the previous page.")
    user_id: UserId = None
    model: _Text = Field(default=None, description="The model's name.", examples=["mnist"])
    version: _Text = Field(default=None, description="The model's version.", examples=["1"])
    label: _Text = Field(default=None, examples=["7"])
    min_confidence: _Share = Field(default=None, examples=[0.9])
    max_confidence: _Share = Field(default=None, examples=[0.5])
    since: Time = Field(default=None, description=f"Created at this time or later{TIME}.")
    until: Time = Field(default=None, description=f"Created before this time{TIME}.")
    inference_id: _InferenceId = Field(default=None, description="The caller's own id.", examples=["order-17"])
    has_ground_truth: TrueOrFalse = Field(default=None, description="Whether it has a ground truth.", examples=["true"])
    correct: TrueOrFalse = Field(
        default=None,
        description="Whether the label is the ground truth. What has no ground truth is neither.",
        examples=["false"],
    )
    ground_truth: _Text = Field(
        default=None, description="What the prediction should have been: the label, or its JSON.", examples=["7"]
    )
    status: _Status = Field(default=None, examples=["failed"])
    order: Order = Field(
        default="newest",
        description="Newest first; or least sure first, without those that have no confidence.",
        examples=["confidence"],
    )

    def matching(self, own: str | None) -> PredictionFilter:
        """Return the filter for a reader who may see the records of one user, or everybody's if that is None."""
        wanted = PredictionFilter(**{name: getattr(self, name) for name in PredictionFilter._fields})
        return wanted if own is None else wanted._replace(user_id=own)

    def next_url(self, cursor: str) -> str:
        """Return the path of the next page."""
        asked = self.model_dump(mode="json", exclude_unset=True, exclude={"cursor"})
        written = {name: str(value).lower() if isinstance(value, bool) else value for name, value in asked.items()}
        return f"/predictions?{urlencode({**written, 'cursor': cursor})}"
