"""What goes into the ledger and what comes out of it.

Named tuples where nothing has to be made for a default: Python defines ten of them in the time of one frozen dataclass,
and every cold start defines them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from functions.shared.ledger.cursor import encode_cursor
from functions.shared.ledger.identifiers import created_at, new_id

Status = Literal["queued", "processing", "succeeded", "failed"]


class ModelIdentity(NamedTuple):
    """Which model made a prediction. Two that differ in anything are two models.

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
        ONNX Runtime's execution provider that runs it.
    settings : str
        What else was decided about the model, ``model.json``'s defaults included: a JSON object. The same settings are
        always the same text, or one model would get two ids.
    """

    name: str
    version: str
    sha256: str
    labels: tuple[str, ...] | None
    task: str
    provider: str
    settings: str


@dataclass(frozen=True, slots=True)
class NewInput:
    """An input to be stored as it came. One of `content` and `features` is given.

    Attributes
    ----------
    content : bytes or None
        The uploaded file.
    contenttype : str
        Its media type.
    filename : str or None
        The name it was uploaded under.
    features : str or None
        JSON, kept to the letter.
    input_id : UUID
        Made when not given.
    uri : str or None
        Where the content has been put already, so that the ledger keeps this and not the bytes.
    """

    content: bytes | None
    contenttype: str
    filename: str | None = None
    features: str | None = None
    input_id: UUID = field(default_factory=new_id)
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """A prediction to be stored, together with its input.

    Attributes
    ----------
    input : NewInput
        What was predicted on.
    output : list
        The model's output for it: numbers or strings, nested as its axes are. No NaN, no infinity, no negative zero,
        which JSON or ``jsonb`` cannot keep.
    likely_class : int or None
        Index of the most likely class.
    label : str or None
        Its name.
    confidence : float or None
        Its probability, 0 to 1.
    predicted_value : str, float, int or list
        What the caller wants to know.
    duration_ms : float
        Time that decoding and inference took, in milliseconds.
    user_id : str
        Whose it is.
    metadata : Mapping
        What the caller wants to keep with it, JSON-ready.
    prediction_id : UUID
        Made when not given. It also says when the prediction was made.
    """

    input: NewInput
    output: list[Any]
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | float | int | list[Any]
    duration_ms: float
    user_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prediction_id: UUID = field(default_factory=new_id)

    def record(self, model: ModelIdentity) -> "PredictionRecord":
        """Return the record that the ledger will give back for this prediction.

        Parameters
        ----------
        model : ModelIdentity
            The model that made it.

        Returns
        -------
        PredictionRecord
            Equal to what `Ledger.get` answers once it is stored.
        """
        return PredictionRecord(
            prediction_id=self.prediction_id,
            input_id=self.input.input_id,
            filename=self.input.filename,
            contenttype=self.input.contenttype,
            output=self.output,
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
        )


@dataclass(frozen=True, slots=True)
class QueuedPrediction:
    """A prediction that a worker will make: its input and whose it is. Attributes as in `NewPrediction`."""

    input: NewInput
    user_id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prediction_id: UUID = field(default_factory=new_id)


class PredictionRecord(NamedTuple):
    """A prediction as the ledger has it. Attributes as in `NewPrediction` and `NewInput`.

    Until it has succeeded, `output`, `likely_class`, `label`, `confidence`, `predicted_value`, `model_name`,
    `model_version` and `duration_ms` are None; `error` says why one has failed.
    """

    prediction_id: UUID
    input_id: UUID
    filename: str | None
    contenttype: str
    output: list[Any] | None
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

    @property
    def created_at(self) -> datetime:
        """When the prediction was asked for, in UTC."""
        return created_at(self.prediction_id)


class StoredInput(NamedTuple):
    """An input as it was uploaded. Attributes as in `NewInput`, and two more.

    Attributes
    ----------
    sha256 : str
        Digest of the content, or of the features' JSON as UTF-8; 64 hexadecimal digits.
    size : int
        Length of the same, in bytes.
    """

    content: bytes | None
    contenttype: str
    filename: str | None
    features: str | None
    sha256: str
    size: int
    uri: str | None = None


class Upload(NamedTuple):
    """An input that a caller was given a URL for, to upload it to. Attributes as in `NewInput`, and three more.

    Attributes
    ----------
    user_id : str
        Whose it is: nobody else may predict it.
    size : int
        Its length in bytes, as announced.
    sha256 : bytes or None
        Its digest, where that was announced.
    """

    input_id: UUID
    user_id: str
    contenttype: str
    filename: str | None
    size: int
    sha256: bytes | None
    uri: str


class InputInDatabase(NamedTuple):
    """An input whose bytes are in the database, with what moving them out of it takes."""

    prediction_id: UUID
    input_id: UUID
    user_id: str
    contenttype: str
    content: bytes
    sha256: bytes


class PredictionFilter(NamedTuple):
    """Which records a list shows: those that meet every condition that is given.

    Attributes
    ----------
    user_id, label : str or None
        Equal to.
    model, version : str or None
        The model's name; its version. A version alone selects that version of every model.
    min_confidence, max_confidence : float or None
        Bounds, both inclusive.
    since, until : datetime or None
        Made at or after `since`, and before `until`. With a time zone.
    """

    user_id: str | None = None
    model: str | None = None
    version: str | None = None
    label: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    since: datetime | None = None
    until: datetime | None = None


class Page(NamedTuple):
    """One page of records, newest first.

    Attributes
    ----------
    records : tuple of PredictionRecord
        At most as many as were asked for.
    next_cursor : str or None
        Where the next page starts; None on the last one.
    """

    records: tuple[PredictionRecord, ...]
    next_cursor: str | None

    def first_half(self) -> "Page":
        """Return the newer half of a page of at least two records, and where the next page then starts."""
        records = self.records[: len(self.records) // 2]
        return Page(records, encode_cursor(records[-1].prediction_id))


class IdempotencyKey(NamedTuple):
    """A caller's name for a request, under which it is stored once.

    Attributes
    ----------
    user_id : str
        Keys of different users have nothing to do with each other.
    key : str
        The ``Idempotency-Key`` header.
    digest : bytes
        32 bytes, equal for two requests exactly if they ask for the same.
    """

    user_id: str
    key: str
    digest: bytes


class Replay(NamedTuple):
    """What a request stored the first time.

    Attributes
    ----------
    records : tuple of PredictionRecord
        In the order they were stored in. A record that was queued shows what has become of it.
    was_queued : bool
        Whether they were queued rather than predicted at once.
    """

    records: tuple[PredictionRecord, ...]
    was_queued: bool


class ClaimedPrediction(NamedTuple):
    """A queued prediction that this worker, and no other, is to make now, with its input as in `StoredInput`."""

    prediction_id: UUID
    content: bytes | None
    features: str | None
    uri: str | None


class Claim(NamedTuple):
    """What became of the predictions that a worker wanted.

    Attributes
    ----------
    claimed : tuple of ClaimedPrediction
        To be made by this worker.
    busy : tuple of UUID
        Another worker is at it, or was and may have died: to be asked for again later.
    done : tuple of UUID
        Already made, or failed, or not in the ledger: nothing to do.
    """

    claimed: tuple[ClaimedPrediction, ...]
    busy: tuple[UUID, ...]
    done: tuple[UUID, ...]


class Success(NamedTuple):
    """The outcome of a claimed prediction. Attributes as in `NewPrediction`."""

    prediction_id: UUID
    output: list[Any]
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | float | int | list[Any]
    duration_ms: float


class Failure(NamedTuple):
    """The reason, in words for the caller, why a claimed prediction cannot be made."""

    prediction_id: UUID
    error: str


class Sweep(NamedTuple):
    """What a sweep found.

    Attributes
    ----------
    requeue : tuple of UUID
        Queued for too long: their messages are to be sent again.
    failed : tuple of UUID
        In processing for too long: recorded as failed.
    """

    requeue: tuple[UUID, ...]
    failed: tuple[UUID, ...]
