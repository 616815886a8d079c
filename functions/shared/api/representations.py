"""The JSON of records: one record, one record with its input, a page of records."""

from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.ledger.records import Page, PredictionRecord

Status = Literal["queued", "processing", "succeeded", "failed"]

MAX_RECORD_BYTES: Final = MAX_RESPONSE_BYTES - 1_000
"""The largest record, in bytes of JSON: what stands around it in an answer needs less than the rest."""

_MAX_MEMBER_BYTES: Final = 20_000
"""The largest member of a record that cannot be shown in full: more than the metadata of a request may have."""


class _Representation(BaseModel):
    """Base class whose schema is built on first use: each function needs only some of them."""

    model_config = ConfigDict(defer_build=True)


class ServedModel(_Representation):
    """The model that made a prediction."""

    name: str = Field(examples=["mnist"])
    version: str = Field(examples=["1"])


class Tensor(_Representation):
    """A tensor, as the Open Inference Protocol has it in JSON."""

    shape: list[int] = Field(examples=[[2]])
    datatype: str = Field(examples=["FP32"])
    data: list[Any] = Field(description="The values, flat and in row-major order.", examples=[[0.25, 0.75]])


class NamedTensor(Tensor):
    """A tensor with its name."""

    name: str = Field(examples=["logits"])


class StoredTensor(_Representation):
    """A tensor that is too large for the record, and stored apart from it."""

    shape: list[int] = Field(examples=[[84, 8400]])
    datatype: str = Field(examples=["FP32"])
    size: int = Field(description="How many bytes its values have in binary.", examples=[2822400])
    sha256: str = Field(description="SHA-256 of these bytes, 64 hexadecimal digits.")
    href: str = Field(description="Where its values are, in binary or in JSON.")


class Prediction(_Representation):
    """One stored prediction, without its input. Members that do not apply are absent."""

    prediction_id: UUID
    input_id: UUID
    filename: str | None = Field(default=None, description="Absent if the input had no name.", examples=["seven.png"])
    contenttype: str = Field(description="Of an image: what its bytes are.", examples=["image/png"])
    declared_contenttype: str | None = Field(
        default=None, description="What the caller declared. Absent if that is `contenttype`, or nothing."
    )
    prediction: list[Any] | dict[str, Any] | None = Field(
        default=None,
        description="The model's output for this input, nested if it has more than one axis. Of a detection: an object "
        "for each find, with `box`, `score` and `label`. Of a model that takes tensors, and where the output is stored "
        "apart: an object with one member, `outputs`, its outputs by name. Where only the largest scores are kept: an "
        "object with their `values` and `indices`.",
    )
    outputs: dict[str, Tensor | StoredTensor] | None = Field(
        default=None, description="The model's further outputs by name. Absent if it has none."
    )
    likely_class: int | None = Field(default=None, description="Classification: the index of the most likely class.")
    label: str | None = Field(default=None, description="Classification: the name of the most likely class.")
    confidence: float | None = Field(default=None, description="Classification: the probability of that class.")
    predicted_value: Any = Field(
        default=None,
        description="Classification: the label. Regression: the number, or one number for each target. Embedding: the "
        "vector. Several targets: the class or the number of each. Detection: the label of each find.",
    )
    model: ServedModel | None = None
    user_id: str = Field(examples=["anonymous"])
    inference_id: str | None = Field(
        default=None, description="The caller's own id. Absent if the request had none.", examples=["order-17"]
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="The metadata of the request, unchanged. Absent only if `error` says so."
    )
    status: Status = Field(description="A synchronous prediction is always `succeeded`.")
    error: str | None = Field(
        default=None, description="Why the prediction failed, if it did; or which members are too large or too deep."
    )
    ground_truth: Any = Field(
        default=None,
        description="What `predicted_value` should have been. Absent if nobody has said so, and in the answer to a "
        "repeated request, which is the first answer.",
        examples=["7"],
    )
    correct: bool | None = Field(
        default=None,
        description="Whether the label is the ground truth; of several targets that are classes, whether all are. "
        "Absent without a ground truth, and for numbers.",
    )
    duration_ms: float | None = Field(default=None, description="Milliseconds that decoding and inference took.")
    decode_ms: float | None = Field(
        default=None, description="Those of decoding. Of inputs that were predicted together, the share of this one."
    )
    inference_ms: float | None = Field(default=None, description="Those of the model, likewise.")
    queue_ms: float | None = Field(
        default=None, description="Milliseconds in the queue. Absent if the prediction was synchronous."
    )
    created_at: datetime


class Accepted(_Representation):
    """A queued prediction. `GET /prediction/{prediction_id}` shows its progress."""

    prediction_id: UUID
    status: Literal["queued"]


class PredictionWithInput(Prediction):
    """One stored prediction with its input: one of `image`, `input_url`, `features`, `inputs` and `request`."""

    image: str | None = Field(default=None, description="The original bytes, as a base64 data URI.")
    input_url: str | None = Field(
        default=None, description="The path of the original bytes, if the image is too large to be included."
    )
    features: list[Any] | dict[str, Any] | None = Field(default=None, description="The features as they were sent.")
    inputs: dict[str, Any] | None = Field(default=None, description="The tensors by name, as they were sent.")
    request: dict[str, Any] | None = Field(
        default=None, description="A request of one row, as the Open Inference Protocol has it in JSON."
    )


class Predictions(_Representation):
    """Several predictions, in the order of their inputs."""

    predictions: list[Prediction]


class PredictionPage(_Representation):
    """A page of predictions, newest first."""

    predictions: list[Prediction]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null on the last page.")


def members(record: PredictionRecord) -> dict[str, Any]:
    """Return the members of `Prediction` that apply to a record, in their order.

    The values were validated before they were stored, and are not validated again.
    """
    model, prediction_id = None, record.prediction_id
    if record.model_name is not None:
        model = {"name": record.model_name, "version": record.model_version}
    given: dict[str, Any] = {
        "prediction_id": prediction_id,
        "input_id": record.input_id,
        "filename": record.filename,
        "contenttype": record.contenttype,
        "declared_contenttype": record.declared_contenttype,
        "prediction": record.output if isinstance(record.output, list) else _prediction(record.output, prediction_id),
        "outputs": record.outputs and _with_links(record.outputs, prediction_id),
        "likely_class": record.likely_class,
        "label": record.label,
        "confidence": record.confidence,
        "predicted_value": record.predicted_value,
        "model": model,
        "user_id": record.user_id,
        "inference_id": record.inference_id,
        "metadata": record.metadata,
        "status": record.status,
        "error": record.error,
        "ground_truth": record.ground_truth,
        "correct": record.correct,
        "duration_ms": record.duration_ms,
        "decode_ms": record.decode_ms,
        "inference_ms": record.inference_ms,
        "queue_ms": record.queue_ms,
        "created_at": record.created_at,
    }
    return {name: value for name, value in given.items() if value is not None}


def _prediction(output: Any, prediction_id: UUID) -> Any:  # noqa: ANN401 - as it is stored
    """Return what a record shows as the prediction."""
    if not isinstance(output, dict) or "outputs" not in output:
        return output
    return {"outputs": _with_links(output["outputs"], prediction_id)}


def _with_links(outputs: Any, prediction_id: UUID) -> Any:  # noqa: ANN401 - as it is stored
    """Return outputs by name, with the paths of those that are stored apart: these have no data."""
    if not isinstance(outputs, dict):
        return outputs  # there are none, or they cannot be read
    return {name: one if "data" in one else _reference(name, one, prediction_id) for name, one in outputs.items()}


def _reference(name: str, one: dict[str, Any], prediction_id: UUID) -> dict[str, Any]:
    members = {member: one[member] for member in ("shape", "datatype", "size", "sha256")}
    return {**members, "href": f"/prediction/{prediction_id}/output/{quote(name, safe='')}"}


def record_json(record: PredictionRecord) -> bytes:
    """Return a record as JSON of at most `MAX_RECORD_BYTES`.

    Today's limits refuse a record that does not fit, but an older version may have stored one. Such a record lacks the
    members that are too large or too deep, and its `error` names them.
    """
    given = members(record)
    content = _json_or_none(given, MAX_RECORD_BYTES)
    if content is not None:
        return content
    left_out = [name for name, value in given.items() if _json_or_none(value, _MAX_MEMBER_BYTES) is None]
    shown = {name: value for name, value in given.items() if name not in left_out}
    reason = f"This record cannot be shown in full: {', '.join(left_out)} cannot be part of an answer."
    return to_json(shown | {"error": f"{shown['error']} {reason}" if "error" in shown else reason})


def page_json(page: Page) -> tuple[Page, bytes]:
    """Return as much of a page as fits into an answer, at least one record, and its JSON."""
    records, room = [], MAX_RECORD_BYTES
    for record in page.records:
        records.append(record_json(record))
        room -= len(records[-1]) + 1
        if room < 0 and len(records) > 1:
            records.pop()
            page = page.first(len(records))
            break
    return page, b'{"predictions":[%b],"next_cursor":%b}' % (b",".join(records), to_json(page.next_cursor))


def _json_or_none(value: object, limit: int) -> bytes | None:
    try:
        content = to_json(value)
    except ValueError:  # pydantic_core's error: nested too deeply, or not parsed in the first place
        return None
    return content if len(content) <= limit else None
