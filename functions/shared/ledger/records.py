"""What goes into the ledger and what comes out of it.

Records are named tuples unless a default needs a factory: Python defines ten named tuples in the time of one dataclass,
and every cold start defines them all. The dataclasses are not frozen: a frozen one sets each field through a call, and
takes three times as long to make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from functions.shared.ledger.cursor import encode_cursor, encode_least_sure_cursor
from functions.shared.ledger.identifiers import created_at, new_id
from functions.shared.ledger.stored_json import in_jsonb_order

NO_UPLOADS: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""`Deletion.uploads_until` of one prediction: nobody has announced an upload before that."""

Status = Literal["queued", "processing", "succeeded", "failed"]

Order = Literal["newest", "confidence"]
"""What is first on the pages of a list: the newest record, or the one of least confidence."""


class ModelIdentity(NamedTuple):
    """The model that made a prediction. If any attribute but `baseline` differs, it is another model.

    Attributes
    ----------
    name, version : str
        As in ``model.json``.
    sha256 : str
        Digest of the model's files and settings, 64 hexadecimal digits.
    labels : tuple of str or None
        Names of the classes, in the order of the output.
    task : str
        ``classification`` or ``regression``.
    provider : str
        The ONNX Runtime execution provider that runs the model.
    settings : str
        All other settings of the model as a JSON object, including the defaults of ``model.json``. Equal settings must
        give equal text: otherwise one model gets two ids.
    baseline : str or None
        What its predictions are compared with, as a JSON object; None if its package has nothing.
    """

    name: str
    version: str
    sha256: str
    labels: tuple[str, ...] | None
    task: str
    provider: str
    settings: str
    baseline: str | None = None


@dataclass(slots=True)
class NewInput:
    """An input to store unchanged. Either `content` or `features` is given.

    Attributes
    ----------
    content : bytes or None
        The uploaded file.
    contenttype : str
        Its media type: of an image, what the bytes are.
    filename : str or None
        The name it was uploaded under.
    features : str or None
        JSON text, stored character for character.
    input_id : UUID
        Generated if not given.
    uri : str or None
        Where the content is already stored. If given, the ledger stores the URI and not the bytes.
    upload_id : UUID or None
        The upload that the content comes from. It must still be announced when the input is stored.
    form : str or None
        What it is if it is neither an image nor features. ``tensors``: `features` holds the text of a JSON object of
        named tensors. ``v2``: `features` holds an inference request of the Open Inference Protocol with one row.
        ``v2-binary``: `content` holds such a request with its tensors in binary after the JSON.
    header_length : int or None
        Of ``v2-binary``: how many bytes of `content` are JSON.
    declared_contenttype : str or None
        The media type that the caller declared, if it is another.
    """

    content: bytes | None
    contenttype: str
    filename: str | None = None
    features: str | None = None
    input_id: UUID = field(default_factory=new_id)
    uri: str | None = None
    upload_id: UUID | None = None
    form: str | None = None
    header_length: int | None = None
    declared_contenttype: str | None = None


class NewOutput(NamedTuple):
    """An output to store apart from the record of its prediction.

    Attributes
    ----------
    output_id : UUID
        The last part of the key of its object, if it is one.
    name : str
        Its name. A prediction has one output of a name.
    datatype, shape
        As the Open Inference Protocol writes them.
    size : int
        How many bytes it has before they are compressed.
    sha256 : bytes
        SHA-256 of these, 32 bytes.
    content : bytes
        The bytes, compressed with gzip.
    uri : str or None
        Where the content is stored. If given, the ledger stores the URI and not the bytes.
    user_id : str
        The owner of the prediction.
    """

    output_id: UUID
    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int
    sha256: bytes
    content: bytes
    uri: str | None
    user_id: str


class StoredOutput(NamedTuple):
    """A stored output. Attributes as in `NewOutput`; `content` is None if it is at `uri`."""

    datatype: str
    shape: list[int]
    size: int
    sha256: bytes
    content: bytes | None
    uri: str | None


class Measured(NamedTuple):
    """What was measured while a prediction was made.

    Attributes
    ----------
    decode_ms, inference_ms : float
        Milliseconds that decoding and the run of the model took, as `rounded_ms` returns them. Of several that were
        made together, this one's share.
    width, height : int or None
        Of a picture, in pixels, as it was sent.
    size : int or None
        Of a picture, in bytes.
    brightness, contrast : float or None
        Mean and standard deviation of a picture's luminance, 0 to 1.
    """

    decode_ms: float
    inference_ms: float
    width: int | None = None
    height: int | None = None
    size: int | None = None
    brightness: float | None = None
    contrast: float | None = None

    @property
    def array_text(self) -> str:
        """The text of the array in ``predictions.measured``, which has the time in the queue as its third element."""
        decode_ms, inference_ms, width, height, size, brightness, contrast = self
        if width is None:
            return f"{{{decode_ms:g},{inference_ms:g}}}"
        return f"{{{decode_ms:g},{inference_ms:g},NULL,{width},{height},{size},{brightness:g},{contrast:g}}}"


def rounded_ms(value: float) -> float:
    """Return milliseconds with four digits: ``predictions.measured``, of type ``real``, returns those as they are."""
    return float(f"{value:.4g}")


@dataclass(slots=True)
class NewPrediction:
    """A prediction to store together with its input.

    Attributes
    ----------
    input : NewInput
        What was predicted on.
    output : list or dict
        The model's output for this input: numbers or strings, nested like its axes; or an object of named tensors. It
        must not contain NaN, infinity or negative zero: JSON and ``jsonb`` cannot represent them.
    likely_class : int or None
        Index of the most likely class.
    label : str or None
        Its name.
    confidence : float or None
        Its probability, 0 to 1.
    predicted_value : str, float, int, list or None
        The result: the label of a classification, the value or values of a regression. None if no output is the result.
    duration_ms : float
        Duration of decoding and inference in milliseconds.
    user_id : str
        The user who owns the prediction.
    metadata : Mapping
        The caller's metadata, ready for JSON.
    prediction_id : UUID
        Generated if not given. It also encodes the creation time.
    outputs : dict or None
        The model's further outputs, by name. The limits of `output` apply.
    large : tuple of NewOutput
        Those of `output` and `outputs` that are stored apart: there they have a `size` and a `sha256`, and no `data`.
    inference_id : str or None
        The caller's own id, at most 255 characters. Not unique.
    measured : Measured or None
        What was measured.
    """

    input: NewInput
    output: list[Any] | dict[str, Any]
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | float | int | list[Any] | None
    duration_ms: float
    user_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prediction_id: UUID = field(default_factory=new_id)
    outputs: dict[str, Any] | None = None
    large: tuple[NewOutput, ...] = ()
    inference_id: str | None = None
    measured: Measured | None = None

    def record(self, model: ModelIdentity) -> "PredictionRecord":
        """Return the record that the ledger will return for this prediction.

        Parameters
        ----------
        model : ModelIdentity
            The model that made it.

        Returns
        -------
        PredictionRecord
            Equal to the record that `Ledger.get` returns once the prediction is stored.
        """
        return PredictionRecord(
            prediction_id=self.prediction_id,
            input_id=self.input.input_id,
            filename=self.input.filename,
            contenttype=self.input.contenttype,
            output=in_jsonb_order(self.output),
            likely_class=self.likely_class,
            label=self.label,
            confidence=self.confidence,
            predicted_value=self.predicted_value,
            model_name=model.name,
            model_version=model.version,
            user_id=self.user_id,
            metadata=self.metadata,
            duration_ms=self.duration_ms,
            status="succeeded",
            error=None,
            outputs=in_jsonb_order(self.outputs),
            declared_contenttype=self.input.declared_contenttype,
            inference_id=self.inference_id,
            decode_ms=None if self.measured is None else self.measured.decode_ms,
            inference_ms=None if self.measured is None else self.measured.inference_ms,
        )


@dataclass(slots=True)
class QueuedPrediction:
    """A prediction that a worker will make: its input and its owner. Attributes as in `NewPrediction`."""

    input: NewInput
    user_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prediction_id: UUID = field(default_factory=new_id)
    inference_id: str | None = None


class PredictionRecord(NamedTuple):
    """A stored prediction. Attributes as in `NewPrediction` and `NewInput`.

    `output`, `likely_class`, `label`, `confidence`, `predicted_value`, `model_name`, `model_version`, `duration_ms` and
    `outputs` are None unless the prediction succeeded, and so are `decode_ms`, `inference_ms` and `queue_ms`, the
    milliseconds in the queue, which a synchronous prediction has not been in. `error` says why a prediction failed.
    `ground_truth` is what it should have been, and `correct` whether it was; None if nobody has said so. `Replay` has
    neither.
    """

    prediction_id: UUID
    input_id: UUID
    filename: str | None
    contenttype: str
    output: list[Any] | dict[str, Any] | None
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | float | int | list[Any] | None
    model_name: str | None
    model_version: str | None
    user_id: str
    metadata: Mapping[str, Any]
    duration_ms: float | None
    status: Status
    error: str | None
    outputs: dict[str, Any] | None = None
    declared_contenttype: str | None = None
    inference_id: str | None = None
    decode_ms: float | None = None
    inference_ms: float | None = None
    queue_ms: float | None = None
    ground_truth: Any = None
    correct: bool | None = None

    @property
    def created_at(self) -> datetime:
        """When the prediction was requested, in UTC."""
        return created_at(self.prediction_id)


class StoredInput(NamedTuple):
    """A stored input, unchanged. Attributes as in `NewInput`, and two more.

    Attributes
    ----------
    sha256 : str
        SHA-256 of the content, or of the features' JSON text in UTF-8: 64 hexadecimal digits.
    size : int
        Length of the same bytes.
    """

    content: bytes | None
    contenttype: str
    filename: str | None
    features: str | None
    sha256: str
    size: int
    uri: str | None = None
    form: str | None = None
    header_length: int | None = None


class Upload(NamedTuple):
    """An announced upload: the caller has a URL to upload it to. Attributes as in `NewInput`, and three more.

    Attributes
    ----------
    user_id : str
        The owner. No other user may predict this input.
    size : int
        The announced length in bytes.
    sha256 : bytes or None
        The announced SHA-256, 32 bytes; None if the caller announced none.
    """

    input_id: UUID
    user_id: str
    contenttype: str
    filename: str | None
    size: int
    sha256: bytes | None
    uri: str


class InputInDatabase(NamedTuple):
    """An input whose bytes are in the database, with all that is needed to move them to object storage."""

    prediction_id: UUID
    input_id: UUID
    user_id: str
    contenttype: str
    content: bytes
    sha256: bytes


class PredictionFilter(NamedTuple):
    """Conditions for a list of records. A record must meet every condition that is given.

    Attributes
    ----------
    user_id, label : str or None
        The record's value must be equal.
    model, version : str or None
        The model's name and version. A version without a name selects that version of every model.
    min_confidence, max_confidence : float or None
        Bounds of the confidence, both inclusive.
    since, until : datetime or None
        The record was created at or after `since` and before `until`. Both need a time zone.
    inference_id, status : str or None
        The record's value must be equal.
    has_ground_truth : bool or None
        Whether somebody has said what the prediction should have been.
    correct : bool or None
        Whether it was that. What cannot be either, as the value of a regression, is neither.
    ground_truth : str or None
        What it should have been, as text: of a label the label itself, else its JSON as PostgreSQL writes it.
    """

    user_id: str | None = None
    model: str | None = None
    version: str | None = None
    label: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    inference_id: str | None = None
    has_ground_truth: bool | None = None
    correct: bool | None = None
    ground_truth: str | None = None
    status: Status | None = None


class Page(NamedTuple):
    """One page of records.

    Attributes
    ----------
    records : tuple of PredictionRecord
        At most as many as the caller asked for.
    next_cursor : str or None
        Where the next page starts; None on the last page.
    order : Order
        In which order they are.
    """

    records: tuple[PredictionRecord, ...]
    next_cursor: str | None
    order: Order = "newest"

    def first(self, count: int) -> "Page":
        """Return the first records of a page, fewer than it has, and where the next page then starts."""
        return Page.of(self.records[:count], self.order, more=True)

    @classmethod
    def of(cls, records: tuple[PredictionRecord, ...], order: Order, *, more: bool) -> "Page":
        """Return a page of records. `more` says whether others come after them, at least one of which they are."""
        if not more:
            return cls(records, None, order)
        last = records[-1]
        if order == "newest":
            return cls(records, encode_cursor(last.prediction_id), order)
        return cls(records, encode_least_sure_cursor(last.confidence or 0.0, last.prediction_id), order)


class IdempotencyKey(NamedTuple):
    """A caller's key for a request: the ledger stores the request once per key.

    Attributes
    ----------
    user_id : str
        The owner of the key. Two users may use the same key independently.
    key : str
        The ``Idempotency-Key`` header.
    digest : bytes
        32 bytes. Two requests have the same digest if and only if they ask for the same predictions.
    """

    user_id: str
    key: str
    digest: bytes


class StoredRequest(NamedTuple):
    """The predictions of one request, to be stored all or not at all.

    Attributes
    ----------
    predictions : Sequence of NewPrediction
        At least one.
    idempotency : IdempotencyKey or None
        If given, nothing is stored when this key has already stored something.
    """

    predictions: Sequence[NewPrediction]
    idempotency: IdempotencyKey | None = None


class Replay(NamedTuple):
    """What a request stored the first time.

    Attributes
    ----------
    records : tuple of PredictionRecord
        In the order they were stored. A record that was queued has its current status.
    was_queued : bool
        Whether the request was queued rather than predicted synchronously.
    """

    records: tuple[PredictionRecord, ...]
    was_queued: bool


class ClaimedPrediction(NamedTuple):
    """A queued prediction that this worker alone must make now. The input is as in `StoredInput`."""

    prediction_id: UUID
    content: bytes | None
    features: str | None
    uri: str | None
    sha256: bytes | None = None
    """As 32 bytes."""
    form: str | None = None
    header_length: int | None = None
    user_id: str = ""
    """Its owner."""
    attempt: int = 1
    """Which attempt this is, as far as the ledger counts them: SQS counts its own."""
    since: datetime | None = None
    """When it was claimed, where the ledger counts attempts."""


class Claim(NamedTuple):
    """The result of a worker's attempt to claim predictions.

    Attributes
    ----------
    claimed : tuple of ClaimedPrediction
        This worker must make them.
    busy : tuple of UUID
        Another worker has claimed them and may have died: try again later.
    done : tuple of UUID
        Already succeeded or failed, or not in the ledger: nothing to do.
    """

    claimed: tuple[ClaimedPrediction, ...]
    busy: tuple[UUID, ...]
    done: tuple[UUID, ...]


class Success(NamedTuple):
    """The outcome of a claimed prediction. Attributes as in `NewPrediction`."""

    prediction_id: UUID
    output: list[Any] | dict[str, Any]
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | float | int | list[Any] | None
    duration_ms: float
    outputs: dict[str, Any] | None = None
    large: tuple[NewOutput, ...] = ()
    measured: Measured | None = None


class Failure(NamedTuple):
    """Why a claimed prediction cannot be made.

    Attributes
    ----------
    error : str
        For the caller.
    kind : str
        The same as one word, which figures count: ``undecodable``, ``too_large``, ``refused_by_model``,
        ``output_too_large``, ``unpredictable``, ``unstorable``, ``input_missing``, ``too_slow``, ``gave_up``. The sweep
        records ``too_late``.
    """

    prediction_id: UUID
    error: str
    kind: str = "refused_by_model"


class Sweep(NamedTuple):
    """The result of a sweep.

    Attributes
    ----------
    requeue : tuple of UUID
        Queued for too long: send their messages again.
    failed : tuple of UUID
        In processing for too long: the sweep has recorded them as failed.
    """

    requeue: tuple[UUID, ...]
    failed: tuple[UUID, ...]


class Deletion(NamedTuple):
    """The deletion of predictions, with their inputs, objects, uploads and idempotency keys.

    Attributes
    ----------
    user_id : str or None
        Whose predictions; None for everybody's, and once it is finished.
    erases_user : bool
        Whether everything of the user is deleted, so that nothing may be left with their name.
    position, last_id : UUID
        The predictions with ids above `position` and up to `last_id` are still to be deleted.
    uploads_until : datetime
        Uploads that were announced up to then are deleted too.
    deleted : int
        How many predictions are deleted.
    requested_at, finished_at : datetime
        When it was asked for, and when nothing was left; None if something is.
    """

    deletion_id: UUID
    user_id: str | None
    erases_user: bool
    position: UUID
    last_id: UUID
    uploads_until: datetime
    deleted: int
    requested_at: datetime
    finished_at: datetime | None

    @property
    def is_of_one(self) -> bool:
        """Whether it is the deletion of one prediction, whose id it has."""
        return self.uploads_until == NO_UPLOADS


class DeletedObject(NamedTuple):
    """An object that no row names any more. `for_ever` says that nobody can put it again once it is removed."""

    uri: str
    for_ever: bool
