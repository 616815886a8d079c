"""Inputs and outputs as objects: put before the rows that name them are committed, removed if the commit fails.

An object without a row only takes space, and `python -m infra.inputs reconcile` finds it. A row without its object is a
record whose input is lost. So an object is removed only if it is certain that no row names it.
"""

import contextlib
import hashlib
from collections.abc import Iterable
from types import TracebackType
from typing import Self
from uuid import UUID

from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
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


class InputObjects:
    """A context manager around a commit, for the objects that the committed rows name.

    Entering puts the objects. An error of the ledger removes them, unless the rows may have been committed. If the
    outcome of the commit is unknown, the ledger is asked once more; if the rows exist, the error is suppressed.

    Parameters
    ----------
    bucket
        The bucket for inputs; None if the ledger stores them itself.
    inputs
        The inputs that the rows will name. Inputs without a URI are stored in their rows. Do not pass a caller's
        uploads: an error would remove them, and other predictions may use them.
    ledger
        The ledger that the rows are written to.
    outputs
        The outputs that the rows will name, with or without a URI.

    Raises
    ------
    ObjectStoreUnavailableError
        On entering, if the objects cannot be put. Those already put are removed, as far as possible.
    """

    def __init__(
        self,
        bucket: Bucket | None,
        inputs: Iterable[NewInput],
        ledger: Ledger,
        outputs: Iterable[NewOutput] = (),
    ) -> None:
        self._bucket = bucket
        self._ledger = ledger
        self._objects: dict[UUID, NewObject] = {}
        if bucket is not None:
            self._objects = {
                new.input_id: NewObject(
                    bucket.key(new.uri), new.content, new.contenttype, hashlib.sha256(new.content).digest()
                )
                for new in inputs
                if new.uri is not None and new.content is not None
            }
            self._objects |= {
                new.output_id: NewObject(
                    bucket.key(new.uri), new.content, "application/gzip", hashlib.sha256(new.content).digest()
                )
                for new in outputs
                if new.uri is not None
            }

    def __enter__(self) -> Self:
        """Put the objects."""
        self.put()
        return self

    def put(self) -> None:
        """Put the objects. Raises as entering does."""
        if self._bucket is not None and self._objects:
            try:
                self._bucket.put(list(self._objects.values()))
            except ObjectStoreUnavailableError:
                self.remove()  # S3 may have stored the object although its response was lost
                raise

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        """Remove the objects after an error of the ledger, unless the rows may exist."""
        if not self._objects or not isinstance(error, LedgerError):
            return False
        if isinstance(error, LedgerUnavailableError) and error.in_doubt:
            return bool(self.find_rows(self._objects))
        self.remove()
        return False

    def remove(self, ids: Iterable[UUID] | None = None) -> None:
        """Remove the objects, or only those of some inputs and outputs. Call this only if no row can name them."""
        keys = self._keys(self._objects if ids is None else ids)
        if self._bucket is not None and keys and not self._bucket.remove_quietly(keys):
            logger.warning("objects without a row could not be removed", objects=keys)

    def find_rows(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the inputs and outputs whose rows exist, after a commit in doubt. All objects are kept."""
        asked = [one for one in ids if one in self._objects]
        found: set[UUID] = set()
        if asked:
            with contextlib.suppress(LedgerUnavailableError):
                found = self._ledger.known_objects(asked)
        if unknown := self._keys(one for one in asked if one not in found):
            logger.warning("objects were kept because their rows may exist", objects=unknown)
        return found

    def _keys(self, ids: Iterable[UUID]) -> list[str]:
        return [self._objects[one].key for one in ids if one in self._objects]
