"""A caller's decoded request: the inputs, their owner and the idempotency key."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from functions.shared.inference.content_types import OCTET_STREAM
from functions.shared.ledger.records import IdempotencyKey

if TYPE_CHECKING:  # it would load the inference runtime
    from functions.shared.inference.model import Instance

NO_METADATA: Final[Mapping[str, Any]] = {}
"""The metadata of an input that has none."""


class Features(NamedTuple):
    """Features, or named tensors, and their exact JSON text. The ledger stores the text, so `0.10` stays `0.10`."""

    value: object
    text: str


class Input(NamedTuple):
    """One input: an image's bytes, features, or tensors.

    Attributes
    ----------
    contenttype
        Its media type: of an image, what the bytes are.
    content
        The image file; None for features and tensors.
    filename
        The file name in the request.
    features
        The features; None for anything else.
    metadata
        The caller's metadata for the prediction, ready for JSON.
    input_id, uri
        The id and location of an upload; None for an input inside the request.
    declared_contenttype
        The media type that the caller declared, if it is another than `contenttype`.
    tensors
        The tensors by the names of the model's inputs; None for anything else.
    form, header_length
        As in `NewInput`.
    instance
        What the model runs on, if it is decoded already.
    inference_id
        The caller's own id of the prediction.
    """

    contenttype: str
    content: bytes | None = None
    filename: str | None = None
    features: Features | None = None
    metadata: Mapping[str, Any] = NO_METADATA
    input_id: UUID | None = None
    uri: str | None = None
    declared_contenttype: str | None = None
    tensors: Features | None = None
    form: str | None = None
    header_length: int | None = None
    instance: "Instance | None" = None
    inference_id: str | None = None


class UploadReference(NamedTuple):
    """A reference to an uploaded image: the id that `POST /upload` returned. The others are as in `Input`."""

    input_id: UUID
    metadata: Mapping[str, Any]
    inference_id: str | None = None


RequestedInput: TypeAlias = Input | UploadReference


class PredictionRequest(NamedTuple):
    """Inputs that are predicted and stored together, all or none.

    Attributes
    ----------
    inputs
        At least one.
    user_id
        The owner of the predictions.
    key
        The caller's `Idempotency-Key`.
    batch
        Whether the caller sent a batch. For an idempotency key, a batch of one input differs from that input alone.
    request_id
        The id of the request in the log, where several requests are predicted together; else the log knows it.
    """

    inputs: tuple[RequestedInput, ...]
    user_id: str
    key: str | None = None
    batch: bool = False
    request_id: str | None = None

    def idempotency(self) -> IdempotencyKey | None:
        """Return the key with a SHA-256 that is equal for two requests if and only if they ask for the same."""
        if self.key is None:
            return None
        asked = [_asked(one) for one in self.inputs]
        return IdempotencyKey(self.user_id, self.key, hashlib.sha256(json.dumps([self.batch, asked]).encode()).digest())


def _asked(one: RequestedInput) -> tuple[object, ...]:
    """Return what an idempotency digest covers. In another form, the ledger would refuse retries of old requests."""
    content = _content(one)
    return content if one.inference_id is None else (*content, {"inference_id": one.inference_id})


def _content(one: RequestedInput) -> tuple[object, ...]:
    if isinstance(one, UploadReference):
        return "", None, None, None, one.metadata, str(one.input_id)
    digest = hashlib.sha256(one.content).hexdigest() if one.content is not None else None
    text = one.features or one.tensors
    # It covers what the caller declared. Bytes that were declared to be no more than that counted as what they are.
    declared = one.declared_contenttype
    contenttype = one.contenttype if declared in (None, OCTET_STREAM) else declared
    asked = contenttype, one.filename, digest, text.text if text else None, one.metadata, None
    return asked if one.form is None else (*asked, one.form, one.header_length)
