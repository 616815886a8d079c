"""Check one ground truth: what a prediction should have been, and who says so."""

from collections.abc import Mapping
from http import HTTPStatus
from math import isfinite
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_json

from functions.shared.api.fields import check_inference_id, check_text, refuse_unknown
from functions.shared.api.problems import Problem
from functions.shared.ledger.ground_truths import GroundTruth, Kind

SOURCES: Final = ("human", "code", "model")
"""Who or what may know what a prediction should have been."""

MAX_LABEL_LENGTH: Final = 255
"""The most characters of a label. A label that a model predicts may have as many."""

MAX_SOURCE_ID_LENGTH: Final = 255
MAX_COMMENT_LENGTH: Final = 2_000

MAX_VALUE_BYTES: Final = 65_536
"""The most bytes of JSON of a value: an answer must have room for it beside the model's output."""

MAX_VALUE_DEPTH: Final = 32
"""The most levels of nested objects and lists in a value. Metadata may have as many."""

OF_ONE: Final = ("label", "value", "source", "source_id", "comment")
"""The members of the ground truth of one prediction."""

OF_MANY: Final = ("prediction_id", "inference_id", *OF_ONE)
"""The members of a ground truth that names its prediction."""


def read_truth(members: Mapping[str, Any]) -> GroundTruth:
    """Read the ground truth of a prediction that the path names.

    Parameters
    ----------
    members
        The members of the JSON object. One that is null counts as absent.

    Raises
    ------
    Problem
        422 if they are no ground truth; it points at the wrong member.
    """
    refuse_unknown(members, OF_ONE)
    return _read(members, None, None)


def read_named_truth(members: Mapping[str, Any]) -> GroundTruth:
    """Read a ground truth that says which prediction it is of. Parameters and errors as in `read_truth`."""
    refuse_unknown(members, OF_MANY)
    prediction_id, inference_id = members.get("prediction_id"), members.get("inference_id")
    if (prediction_id is None) == (inference_id is None):
        raise refuse("", "a ground truth is of one prediction_id, or of one inference_id: send one of the two")
    if inference_id is not None:
        return _read(members, None, check_inference_id([("/inference_id", inference_id)]))
    try:
        identifier = UUID(prediction_id)
    except (ValueError, AttributeError, TypeError):
        raise refuse("/prediction_id", "prediction_id must be a UUID, as in a record") from None
    return _read(members, identifier, None)


def _read(members: Mapping[str, Any], prediction_id: UUID | None, inference_id: str | None) -> GroundTruth:
    label, value, source = members.get("label"), members.get("value"), members.get("source")
    source_id, comment = members.get("source_id"), members.get("comment")
    if (label is None) == (value is None):
        both = "are both given" if label is not None else "are both missing"
        raise refuse("", f"label and value {both}: send the label of a classification, or the value of anything else")
    kind: Kind = "value"
    if label is not None:
        kind, value = "label", _check_label(label)
    elif (wrong := _wrong(value, MAX_VALUE_DEPTH)) is not None:
        raise refuse("/value", f"value must not {wrong}")
    elif isinstance(value, str | list | dict) and (size := len(to_json(value))) > MAX_VALUE_BYTES:
        raise refuse("/value", f"value must be at most {MAX_VALUE_BYTES} bytes of JSON, and is {size}")
    if source is not None and source not in SOURCES:
        raise refuse("/source", f"source must be one of {', '.join(SOURCES)}")
    return GroundTruth(
        kind,
        value,
        prediction_id,
        inference_id,
        source=source,
        source_id=None if source_id is None else check_text("/source_id", source_id, limit=MAX_SOURCE_ID_LENGTH),
        comment=None if comment is None else _check_comment(comment),
    )


def _check_label(label: object) -> str:
    if not isinstance(label, str):
        raise refuse("/label", f"label must be a string, as in a record: {to_json(str(label)[:50]).decode()}")
    if len(label) > MAX_LABEL_LENGTH:
        raise refuse("/label", f"label must be at most {MAX_LABEL_LENGTH} characters long, and is {len(label)}")
    if (wrong := _wrong(label, 1)) is not None:
        raise refuse("/label", f"label must not {wrong}")
    return label


def _check_comment(comment: object) -> str:
    if not isinstance(comment, str):
        raise refuse("/comment", "comment must be a string")
    if len(comment) > MAX_COMMENT_LENGTH:
        raise refuse("/comment", f"comment must be at most {MAX_COMMENT_LENGTH} characters long, and is {len(comment)}")
    if (wrong := _wrong(comment, 1)) is not None:
        raise refuse("/comment", f"comment must not {wrong}")
    return comment


def _wrong(value: object, levels: int) -> str | None:
    """Say what in a value cannot be stored, read back or counted; None if all of it can."""
    if isinstance(value, str):
        if "\x00" in value:
            return "have the character U+0000"
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return "have a lone surrogate, which is no text"
    elif isinstance(value, int | float):
        try:
            if not isfinite(value):
                return "have NaN or Infinity, which JSON does not know"
        except OverflowError:
            return "have a number above 1.7e308, which no double has room for"
    elif isinstance(value, list | dict):
        if levels == 0:
            return f"be more than {MAX_VALUE_DEPTH} objects and lists deep"
        parts = value if isinstance(value, list) else [*value, *value.values()]
        return next((wrong for part in parts if (wrong := _wrong(part, levels - 1)) is not None), None)
    return None


def refuse(pointer: str, detail: str) -> Problem:
    """Return the problem of a member."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(pointer, detail)])
