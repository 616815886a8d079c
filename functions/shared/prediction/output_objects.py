"""Outputs that are stored apart from their records: compressed, and as objects where there is a bucket."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from functions.shared.inference.errors import OutputTooLargeError
from functions.shared.inference.output_size import MAX_STORED_BYTES
from functions.shared.inference.prediction import LargeTensor
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.records import NewOutput
from functions.shared.object_storage.bucket import Bucket, key_of

# Floats hardly get smaller at any level: those of a YOLO to 93 % in 0.1 s, at level 1 as at level 9. Masks get to a
# hundredth at level 1 already (docs/decisions/large-outputs.md).
_LEVEL: Final = 1
_GZIP: Final = 31  # zlib's window bits: a gzip header, so that HTTP clients can read it as it is


def new_outputs(large: Sequence[LargeTensor], bucket: Bucket | None, user_id: str) -> tuple[NewOutput, ...]:
    """Return outputs in the form in which the ledger stores them.

    The key of an object has an id of its own, not that of the prediction: two workers may make the same prediction, and
    the one whose outcome does not count must not remove the other's objects.

    Parameters
    ----------
    large
        The outputs.
    bucket
        The bucket for inputs; None if the ledger stores them itself.
    user_id
        The owner of their prediction.
    """
    made = []
    for one in large:
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        content = compressor.compress(one.content) + compressor.flush()
        output_id = new_id()
        uri = None if bucket is None else bucket.uri(key_of(user_id, output_id))
        size = len(one.content)
        made.append(NewOutput(output_id, one.name, one.datatype, one.shape, size, one.sha256, content, uri, user_id))
    return tuple(made)


def too_large_together(large: Iterable[NewOutput]) -> OutputTooLargeError | None:
    """Return why outputs cannot be stored at once, if they are too large for that."""
    size = sum(one.size for one in large)
    if size <= MAX_STORED_BYTES:
        return None
    return OutputTooLargeError(
        f"the model's outputs for these inputs are {size} bytes, and at most {MAX_STORED_BYTES} can be stored at once: "
        "send fewer inputs"
    )
