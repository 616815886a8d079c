"""Read the bytes of a stored input from the ledger or a bucket, or sign a URL that reads them."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import StoredInput
from functions.shared.object_storage.bucket import LARGEST_UNLENT, Bucket, NewObject, lent_key
from functions.shared.object_storage.errors import ObjectStoreUnavailableError

# Room for the member's name and the start of the data URI; no content type needs more.
_MEMBER_BYTES: Final = 400

# What a record calls an input that is JSON, by its form.
_MEMBERS: Final[Mapping[str | None, bytes]] = {None: b"features", "tensors": b"inputs", "v2": b"request"}

REDIRECT_SECONDS: Final = 60
"""Seconds for which the URL of a large input is valid."""


class StoredInputs(NamedTuple):
    """Reads stored inputs.

    Attributes
    ----------
    ledger
        Holds the rows.
    inputs_bucket
        The bucket of images; None if the ledger stores all of them.
    uploads_bucket
        The bucket of callers' uploads; None if uploads are off.
    max_inline_bytes
        The largest image, in bytes, that its record includes.
    """

    ledger: Ledger
    inputs_bucket: Bucket | None
    uploads_bucket: Bucket | None
    max_inline_bytes: int

    def member(self, prediction_id: UUID, stored: StoredInput, *, room: int) -> bytes:
        """Return the member of a record that holds its input, as JSON: `features`, `inputs`, `image` or `input_url`.

        JSON is the text that was sent. Parsing it would lose digits, and fail if it is nested too deeply.

        Parameters
        ----------
        prediction_id
            The record.
        stored
            Its input.
        room
            The bytes left in the answer.
        """
        room -= _MEMBER_BYTES
        if stored.features is not None and stored.size <= room:
            return b'"%b":' % _MEMBERS[stored.form] + stored.features.encode()
        # An inference request in binary is no image, and a link to its bytes says more than their base64.
        is_image = stored.features is None and stored.form is None
        if not is_image or stored.size > min(self.max_inline_bytes, room * 3 // 4):
            return b'"input_url":"/prediction/%b/input"' % str(prediction_id).encode()
        return b'"image":' + to_json(f"data:{stored.contenttype};base64,{b64encode(self.content(stored)).decode()}")

    def content(self, stored: StoredInput) -> bytes:
        """Return an input's bytes.

        Raises
        ------
        ObjectStoreUnavailableError, ObjectMissingError
            If the bucket cannot be read, or has no such object.
        """
        if stored.features is not None:
            return stored.features.encode()
        if stored.content is not None:
            return stored.content
        bucket, key = self._place(stored.uri or "")
        return bucket.get(key, sha256=bytes.fromhex(stored.sha256))

    def presigned_url(self, prediction_id: UUID, stored: StoredInput) -> str | None:
        """Return a URL that reads a large input for a minute; None if the input fits into the response."""
        if stored.size <= LARGEST_UNLENT:
            return None
        if stored.uri is not None:
            bucket, key = self._place(stored.uri)
            return bucket.presigned_get(key, contenttype=stored.contenttype, seconds=REDIRECT_SECONDS)
        if self.uploads_bucket is None or stored.content is None:
            return None
        # The ledger has the bytes, but they exceed Lambda's response limit. Copy them to the uploads bucket, from which
        # the bucket's lifecycle rule or a deletion removes them.
        record, _ = self.ledger.get(prediction_id)
        key = lent_key(record.input_id)
        if not self.uploads_bucket.has(key):
            self.uploads_bucket.put([NewObject(key, stored.content, stored.contenttype, bytes.fromhex(stored.sha256))])
        return self.uploads_bucket.presigned_get(key, contenttype=stored.contenttype, seconds=REDIRECT_SECONDS)

    def _place(self, uri: str) -> tuple[Bucket, str]:
        if self.inputs_bucket is None:
            raise ObjectStoreUnavailableError("INPUTS_BUCKET is not set")
        return self.inputs_bucket, self.inputs_bucket.key(uri)
