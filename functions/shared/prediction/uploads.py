"""Fetch the inputs that were uploaded before the request."""

import hashlib
from collections.abc import Iterable

from functions.shared.inference.content_types import image_contenttype
from functions.shared.ledger.errors import UploadNotAnnouncedError
from functions.shared.ledger.records import Upload
from functions.shared.object_storage.bucket import Bucket
from functions.shared.object_storage.errors import ObjectMissingError
from functions.shared.prediction.errors import UploadMismatchError, UploadNotFoundError, UploadTooLargeError
from functions.shared.prediction.requests import Input, RequestedInput, UploadReference
from functions.shared.prediction.serving import Serving


def fetch_uploads(serving: Serving, inputs: Iterable[RequestedInput], user_id: str) -> list[Input]:
    """Return the inputs, with the bytes of the uploaded ones.

    Parameters
    ----------
    serving
        The ledger with the announcements, the bucket, and the size limit.
    inputs
        The inputs as the request names them.
    user_id
        The user who must have announced the uploads.

    Raises
    ------
    UploadNotFoundError, UploadTooLargeError, UploadMismatchError
        If this user has not announced the upload; if it is too large; if it is missing or not what was announced.
    LedgerUnavailableError, ObjectStoreUnavailableError
        If the ledger or the bucket cannot be reached.
    """
    return [_fetch(serving, one, user_id) if isinstance(one, UploadReference) else one for one in inputs]


def _fetch(serving: Serving, reference: UploadReference, user_id: str) -> Input:
    try:
        upload = serving.ledger.upload(reference.input_id, user_id=user_id)
    except UploadNotAnnouncedError:
        # Use the same message for another user's upload: otherwise it would reveal that the upload exists.
        raise UploadNotFoundError("There is no upload with this input_id.") from None
    if upload.size > serving.max_upload_bytes:
        raise UploadTooLargeError(f"The upload has {upload.size} bytes: at most {serving.max_upload_bytes} are taken.")
    if serving.uploads_bucket is None:
        raise UploadMismatchError("this deployment has nowhere to upload to any more: send the image itself")
    try:
        content = _read(serving.uploads_bucket, upload)
    except ObjectMissingError:
        raise UploadMismatchError(
            "the upload is not there yet: PUT it to the URL of a POST /upload, before that expires"
        ) from None
    contenttype = image_contenttype(upload.contenttype, content) or upload.contenttype
    return Input(
        contenttype=contenttype,
        content=content,
        filename=upload.filename,
        metadata=reference.metadata,
        input_id=reference.input_id,
        uri=upload.uri,
        declared_contenttype=None if upload.contenttype == contenttype else upload.contenttype,
        inference_id=reference.inference_id,
    )


def _read(bucket: Bucket, upload: Upload) -> bytes:
    key = bucket.key(upload.uri)
    size = bucket.size(key)
    if size != upload.size:
        raise UploadMismatchError(f"the upload was announced with {upload.size} bytes, and has {size}")
    content = bucket.get(key)
    if upload.sha256 is not None and hashlib.sha256(content).digest() != upload.sha256:
        raise UploadMismatchError("the upload's SHA-256 is not the one that was announced")
    return content
