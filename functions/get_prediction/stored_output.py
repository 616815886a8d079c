"""Read an output that is stored apart from its record, or sign a URL that reads it."""

import hashlib
import struct
import zlib
from typing import Any, Final

from functions.get_prediction.stored_input import REDIRECT_SECONDS
from functions.shared.ledger.records import StoredOutput
from functions.shared.object_storage.bucket import Bucket
from functions.shared.object_storage.errors import ObjectStoreUnavailableError

OCTET_STREAM: Final = "application/octet-stream"

_GZIP: Final = 31  # zlib's window bits
_LENGTH_BYTES: Final = 4

# The letters of the module struct.
_CODES: Final = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


def compressed(stored: StoredOutput, bucket: Bucket | None) -> bytes:
    """Return an output's bytes as they are stored, compressed with gzip.

    Parameters
    ----------
    stored
        The output.
    bucket
        The bucket of inputs and outputs; None if the ledger has all of them.

    Raises
    ------
    ObjectStoreUnavailableError, ObjectMissingError
        If the bucket cannot be read, or has no such object.
    """
    if stored.content is not None:
        return stored.content
    place = _bucket(bucket)
    return place.get(place.key(stored.uri or ""))


def content_of(stored: StoredOutput, packed: bytes) -> bytes:
    """Return an output's bytes out of those that are stored.

    Raises
    ------
    ObjectStoreUnavailableError
        If they are not those that were stored.
    """
    try:
        content = zlib.decompress(packed, _GZIP)
    except zlib.error as error:
        raise ObjectStoreUnavailableError(f"an output is not what was stored: {error}") from error
    if hashlib.sha256(content).digest() != stored.sha256:
        raise ObjectStoreUnavailableError("an output has other bytes than those that were stored")
    return content


def presigned_url(stored: StoredOutput, bucket: Bucket | None) -> str | None:
    """Return a URL that reads an output, compressed, for a minute; None if it is no object."""
    if stored.uri is None:
        return None
    place = _bucket(bucket)
    return place.presigned_get(
        place.key(stored.uri), contenttype=OCTET_STREAM, seconds=REDIRECT_SECONDS, encoding="gzip"
    )


def values_of(stored: StoredOutput, content: bytes) -> list[Any]:
    """Return an output's values for JSON, as the record has those of smaller ones."""
    if stored.datatype != "BYTES":
        code = _CODES[stored.datatype]
        return list(struct.unpack(f"<{len(content) // struct.calcsize(code)}{code}", content))
    texts, at = [], 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "little")
        texts.append(content[start:at].decode())
    return texts


def _bucket(bucket: Bucket | None) -> Bucket:
    if bucket is None:
        raise ObjectStoreUnavailableError("INPUTS_BUCKET is not set")
    return bucket
