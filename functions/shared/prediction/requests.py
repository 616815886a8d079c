"""What a caller asks for, decoded: inputs, whose they are, and under which idempotency key."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from functions.shared.ledger.records import IdempotencyKey

_NO_METADATA: Final[Mapping[str, Any]] = {}


class Features(NamedTuple):
    """A feature vector, and the exact JSON text it was sent as. The ledger keeps the text: `0.10` stays `0.10`."""

    value: object
    text: str


class Input(NamedTuple):
    """One input: an image's bytes, or features.

    Attributes
    ----------
    contenttype
        Its media type.
    content
        The image file; None for features.
    filename
        The name it was sent under.
    features
        The features; None for an image.
    metadata
        What the caller wants to keep with the prediction, JSON-ready.
    input_id, uri
        Of an upload: its id, and where it is. None for what came with the request.
    """

    contenttype: str
    content: bytes | None = None
    filename: str | None = None
    features: Features | None = None
    metadata: Mapping[str, Any] = _NO_METADATA
    input_id: UUID | None = None
    uri: str | None = None


class UploadReference(NamedTuple):
    """An image that was uploaded before, by the id that `POST /upload` answered."""

    input_id: UUID
    metadata: Mapping[str, Any]


RequestedInput: TypeAlias = Input | UploadReference


class PredictionRequest(NamedTuple):
    """Inputs that are predicted and stored together: all of them or none.

    Attributes
    ----------
    inputs
        At least one.
    user_id
        Whose predictions they will be.
    key
        The caller's `Idempotency-Key`.
    batch
        Whether the caller sent a batch. A batch of one and the same input alone are different requests to a key.
    """

    inputs: tuple[RequestedInput, ...]
    user_id: str
    key: str | None = None
    batch: bool = False

    def idempotency(self) -> IdempotencyKey | None:
        """Return the key with a SHA-256 that two requests share exactly if they ask for the same."""
        if self.key is None:
            return None
        asked = [_content(one) for one in self.inputs]
        return IdempotencyKey(self.user_id, self.key, hashlib.sha256(json.dumps([self.batch, asked]).encode()).digest())


def _content(one: RequestedInput) -> tuple[object, ...]:
    """Return what an input says, in the form whose digests the ledger holds: another form would refuse retries."""
    if isinstance(one, UploadReference):
        return "", None, None, None, one.metadata, str(one.input_id)
    digest = hashlib.sha256(one.content).hexdigest() if one.content is not None else None
    return one.contenttype, one.filename, digest, one.features.text if one.features else None, one.metadata, None
