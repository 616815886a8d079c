"""Inputs as objects: put before the rows that name them are committed, and removed again if those are not.

An object without a row is litter, which `python -m infra.inputs reconcile` finds; a row without its object is a broken
promise. So an object is removed only where it is certain that no row names it.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from uuid import UUID

from functions.predict.request_body import ReceivedInput
from functions.shared.api.problems import Problem
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError, RecordNotFoundError
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, Replay
from functions.shared.log import logger
from functions.shared.object_storage.bucket import NewObject, ObjectStore, key_of
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreUnavailableError


def fetch_upload(
    one: ReceivedInput, input_id: UUID, ledger: Ledger, uploads: ObjectStore | None, *, user_id: str, most_bytes: int
) -> ReceivedInput:
    """Return an input as it was uploaded before.

    Parameters
    ----------
    one
        The input as the request names it.
    input_id
        Its id.
    ledger
        Knows what was to be uploaded, and by whom.
    uploads
        Where it was uploaded to.
    user_id
        Whose it must be.
    most_bytes
        The largest that is taken.

    Raises
    ------
    Problem
        404, if this user has no such upload; 413, if it is too large; 422, if it has not been uploaded, or is not what
        was announced.
    """
    try:
        upload = ledger.upload(input_id, user_id=user_id)
    except RecordNotFoundError:
        # The same words whether there is no such upload or it is somebody else's.
        raise Problem(HTTPStatus.NOT_FOUND, "There is no upload with this input_id.") from None
    if upload.size > most_bytes:
        detail = f"The upload has {upload.size} bytes: at most {most_bytes} are taken."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    if uploads is None:
        raise _refuse("this deployment has nowhere to upload to any more: send the image itself")
    try:
        key = uploads.key(upload.uri)
        size = uploads.size(key)
        if size != upload.size:
            raise _refuse(f"the upload was announced with {upload.size} bytes, and has {size}")
        content = uploads.get(key)
    except ObjectMissingError:
        raise _refuse("the upload is not there yet: PUT it to the URL of a POST /upload, before that expires") from None
    if upload.sha256 is not None and hashlib.sha256(content).digest() != upload.sha256:
        raise _refuse("the upload's SHA-256 is not the one that was announced")
    return replace(one, contenttype=upload.contenttype, content=content, filename=upload.filename, uri=upload.uri)


def _refuse(detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[("/input_id", detail)])


def new_input(one: ReceivedInput, objects: ObjectStore | None, user_id: str) -> NewInput:
    """Return an input as it is to be stored.

    Parameters
    ----------
    one
        The input. An upload's bytes are there.
    objects
        Where inputs are kept; None where the ledger keeps them itself.
    user_id
        Whose it is.
    """
    input_id = one.input_id or new_id()
    uri = None
    if objects is not None and one.content is not None:
        # What was uploaded to another bucket is not for us to keep there: its bytes go into the row.
        place = objects.uri(key_of(user_id, input_id))
        uri = place if one.uri in (None, place) else None
    return NewInput(
        content=one.content,
        contenttype=one.contenttype,
        filename=one.filename,
        features=one.features.text if one.features else None,
        input_id=input_id,
        uri=uri,
    )


class ObjectsOfCommit:
    """The objects that the rows of one commit will name.

    Parameters
    ----------
    objects
        Where inputs are kept; None where the ledger keeps them itself.
    received, inputs
        The inputs as they were sent and as they are to be stored, in the same order. One that was uploaded is where it
        belongs, and stays there whatever happens here: other predictions may have it as their input.
    """

    def __init__(
        self, objects: ObjectStore | None, received: Sequence[ReceivedInput], inputs: Sequence[NewInput]
    ) -> None:
        self._objects = objects
        self._new = []
        if objects is not None:
            self._new = [
                NewObject(objects.key(new.uri), new.content, new.contenttype, hashlib.sha256(new.content).digest())
                for one, new in zip(received, inputs, strict=True)
                if new.uri is not None and new.content is not None and one.uri is None
            ]

    def commit(self, write: Callable[[], Replay | None], ledger: Ledger, prediction_id: UUID) -> Replay | None:
        """Put the objects, then write the rows.

        Parameters
        ----------
        write
            Commits all the rows or none.
        ledger
            Where they are written to.
        prediction_id
            One of them.

        Returns
        -------
        Replay or None
            What `write` returns. After a replay, the objects are gone again.

        Raises
        ------
        ObjectStoreUnavailableError, LedgerError
            If the objects cannot be put, or the rows cannot be written. The objects are gone again then, but for one
            case: the database has fallen silent, and does not say what it has committed.
        """
        if self._objects is None or not self._new:
            return write()
        try:
            self._objects.put(self._new)
        except ObjectStoreUnavailableError:
            self.remove()  # it may have got there, and only the answer have been lost
            raise
        try:
            replay = write()
        except LedgerUnavailableError as error:
            if not error.in_doubt:
                self.remove()
                raise
            if _is_there(ledger, prediction_id):
                return None
            logger.warning("objects were left, since their rows may be there", objects=self._keys)
            raise
        except LedgerError:
            self.remove()
            raise
        if replay is not None:
            self.remove()
        return replay

    def remove(self) -> None:
        """Remove the objects: for when it is certain that no row names them."""
        if self._objects is not None and self._new and not self._objects.remove_quietly(self._keys):
            logger.warning("objects without a row could not be removed", objects=self._keys)

    @property
    def _keys(self) -> list[str]:
        return [one.key for one in self._new]


def _is_there(ledger: Ledger, prediction_id: UUID) -> bool:
    try:
        ledger.get_input(prediction_id)
    except (LedgerUnavailableError, RecordNotFoundError):
        return False
    return True
