"""Inputs as objects: put before the rows that name them are committed, and removed again if those are not.

An object without a row is litter, which `python -m infra.inputs reconcile` finds; a row without its object is a broken
promise. So an object is removed only where it is certain that no row names it.
"""

import hashlib
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from uuid import UUID

from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError, RecordNotFoundError
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput
from functions.shared.log import logger
from functions.shared.object_storage.bucket import Bucket, NewObject, key_of
from functions.shared.object_storage.errors import ObjectStoreUnavailableError
from functions.shared.prediction.requests import Input


def new_input(one: Input, bucket: Bucket | None, user_id: str) -> NewInput:
    """Return an input as it is to be stored.

    Parameters
    ----------
    one
        The input.
    bucket
        Where inputs are kept; None where the ledger keeps them itself.
    user_id
        Whose it is.
    """
    input_id = one.input_id or new_id()
    uri = None
    if bucket is not None and one.content is not None:
        # What was uploaded to another bucket is not for us to keep there: its bytes go into the row.
        place = bucket.uri(key_of(user_id, input_id))
        uri = place if one.uri in (None, place) else None
    return NewInput(
        content=one.content,
        contenttype=one.contenttype,
        filename=one.filename,
        features=one.features.text if one.features else None,
        input_id=input_id,
        uri=uri,
    )


class InputObjects:
    """The objects that the rows of one commit name: a context manager around that commit.

    Entering puts the objects. Leaving with an error removes them, unless the rows may have been committed. If the
    database fell silent during the commit, it is asked once more: rows that are there end the block without the error.

    Parameters
    ----------
    bucket
        Where inputs are kept; None where the ledger keeps them itself.
    inputs
        The inputs that the rows will name. Those without a URI are kept in their rows. What a caller has uploaded does
        not belong here: it stays, since other predictions may have it as their input.
    ledger
        Where the rows are written to.
    prediction_id
        The prediction of one of the rows.

    Raises
    ------
    ObjectStoreUnavailableError
        On entering, if the objects cannot be put. None of them is left then.
    """

    def __init__(self, bucket: Bucket | None, inputs: Iterable[NewInput], ledger: Ledger, prediction_id: UUID) -> None:
        self._bucket = bucket
        self._ledger = ledger
        self._prediction_id = prediction_id
        self._objects: list[NewObject] = []
        if bucket is not None:
            self._objects = [
                NewObject(bucket.key(new.uri), new.content, new.contenttype, hashlib.sha256(new.content).digest())
                for new in inputs
                if new.uri is not None and new.content is not None
            ]

    def __enter__(self) -> Self:
        """Put the objects."""
        if self._bucket is not None and self._objects:
            try:
                self._bucket.put(self._objects)
            except ObjectStoreUnavailableError:
                self.remove()  # it may have got there, and only the answer have been lost
                raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        """Remove the objects after an error of the ledger, unless their rows may be there."""
        if not self._objects or not isinstance(error, LedgerError):
            return False
        if not (isinstance(error, LedgerUnavailableError) and error.in_doubt):
            self.remove()
            return False
        if self._is_stored():
            return True
        logger.warning("objects were left, since their rows may be there", objects=self._keys)
        return False

    def remove(self) -> None:
        """Remove the objects: for when it is certain that no row names them."""
        if self._bucket is not None and self._objects and not self._bucket.remove_quietly(self._keys):
            logger.warning("objects without a row could not be removed", objects=self._keys)

    @property
    def _keys(self) -> list[str]:
        return [one.key for one in self._objects]

    def _is_stored(self) -> bool:
        try:
            self._ledger.get_input(self._prediction_id)
        except (LedgerUnavailableError, RecordNotFoundError):
            return False
        return True
