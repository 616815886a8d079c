"""Inputs and outputs as objects: put before the rows that name them are committed, removed if the commit fails.

An object without a row only takes space, and `python -m infra.inputs reconcile` finds it. A row without its object is a
record whose input is lost. So an object is removed only if it is certain that no row names it.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from uuid import UUID

from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError, RecordNotFoundError
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, NewOutput
from functions.shared.log import logger
from functions.shared.object_storage.bucket import Bucket, NewObject, key_of
from functions.shared.object_storage.errors import ObjectStoreUnavailableError
from functions.shared.prediction.requests import Input


def new_input(one: Input, bucket: Bucket | None, user_id: str) -> NewInput:
    """Return an input in the form in which it is stored.

    Parameters
    ----------
    one
        The input.
    bucket
        The bucket for inputs; None if the ledger stores them itself.
    user_id
        The owner of the input.
    """
    input_id = one.input_id or new_id()
    uri = None
    if bucket is not None and one.content is not None:
        # Objects in another bucket are not kept for the ledger, so the bytes of such an upload go into the row.
        place = bucket.uri(key_of(user_id, input_id))
        uri = place if one.uri in (None, place) else None
    text = one.features or one.tensors
    return NewInput(
        content=one.content,
        contenttype=one.contenttype,
        filename=one.filename,
        features=text.text if text else None,
        input_id=input_id,
        uri=uri,
        upload_id=one.input_id,
        form=one.form,
        header_length=one.header_length,
        declared_contenttype=one.declared_contenttype,
    )


class Objects(ABC):
    """A context manager around a commit, for the objects that the committed rows name.

    Entering puts the objects. An error of the ledger removes them, unless the rows may have been committed. If the
    outcome of the commit is unknown, the ledger is asked once more; if the rows exist, the error is suppressed.

    Parameters
    ----------
    bucket
        The bucket for inputs; None if the ledger stores them itself.
    inputs, outputs
        What the rows will name. What has no URI is stored in its row. Do not pass a caller's uploads: an error would
        remove them, and other predictions may use them.

    Raises
    ------
    ObjectStoreUnavailableError
        On entering, if the objects cannot be put. Those already put are removed, as far as possible.
    """

    def __init__(self, bucket: Bucket | None, inputs: Iterable[NewInput], outputs: Iterable[NewOutput]) -> None:
        self._bucket = bucket
        self._objects: list[NewObject] = []
        if bucket is not None:
            self._objects = [
                NewObject(bucket.key(new.uri), new.content, new.contenttype, hashlib.sha256(new.content).digest())
                for new in inputs
                if new.uri is not None and new.content is not None
            ]
            self._objects += [
                NewObject(bucket.key(new.uri), new.content, "application/gzip", hashlib.sha256(new.content).digest())
                for new in outputs
                if new.uri is not None
            ]

    def __enter__(self) -> Self:
        """Put the objects."""
        if self._bucket is not None and self._objects:
            try:
                self._bucket.put(self._objects)
            except ObjectStoreUnavailableError:
                self.remove()  # S3 may have stored the object although its response was lost
                raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        """Remove the objects after an error of the ledger, unless the rows may exist."""
        if not self._objects or not isinstance(error, LedgerError):
            return False
        if not (isinstance(error, LedgerUnavailableError) and error.in_doubt):
            self.remove()
            return False
        if self._is_stored():
            return True
        logger.warning("objects were kept because their rows may exist", objects=self._keys)
        return False

    def remove(self, outputs: Iterable[NewOutput] | None = None) -> None:
        """Remove the objects, or only those of the given outputs. Call this only if no row can name them."""
        if self._bucket is None:
            return
        keys = self._keys if outputs is None else [self._bucket.key(one.uri) for one in outputs if one.uri is not None]
        if keys and not self._bucket.remove_quietly(keys):
            logger.warning("objects without a row could not be removed", objects=keys)

    @property
    def _keys(self) -> list[str]:
        return [one.key for one in self._objects]

    @abstractmethod
    def _is_stored(self) -> bool:
        """Tell whether the rows exist. False also if the ledger cannot say."""


class InputObjects(Objects):
    """The objects of new predictions: their inputs, and their outputs that are stored apart.

    Parameters
    ----------
    bucket, inputs, outputs
        As in `Objects`.
    ledger
        The ledger that the rows are written to.
    prediction_id
        The prediction in one of the rows: used to ask whether the rows exist.
    """

    def __init__(
        self,
        bucket: Bucket | None,
        inputs: Iterable[NewInput],
        ledger: Ledger,
        prediction_id: UUID,
        outputs: Iterable[NewOutput] = (),
    ) -> None:
        super().__init__(bucket, inputs, outputs)
        self._ledger = ledger
        self._prediction_id = prediction_id

    def _is_stored(self) -> bool:
        try:
            self._ledger.get_input(self._prediction_id)
        except (LedgerUnavailableError, RecordNotFoundError):
            return False
        return True
