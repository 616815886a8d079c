"""Array parameters: with one array per column, a statement takes any number of rows.

Arrays are sent in the binary format that PostgreSQL's `array_recv` reads (src/backend/utils/adt/arrayfuncs.c), and each
element in the binary format of its type. docs/decisions/binary-arrays.md says when that pays: where rows hold bytes.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

_int32 = struct.Struct("!i").pack
_int64 = struct.Struct("!q").pack
_head = struct.Struct("!iiIii").pack
_NULL = _int32(-1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's own epoch ("Date/Time Types" in its manual)
_MICROSECOND = timedelta(microseconds=1)


class ElementType(NamedTuple):
    """An element type.

    Attributes
    ----------
    oid : int
        PostgreSQL's number for the type.
    encode : Callable
        Converts a Python value to the type's binary format. May raise `struct.error` or `UnicodeEncodeError`.
    """

    oid: int
    encode: Callable[[Any], bytes]


class Array(NamedTuple):
    """A one-dimensional array parameter.

    Attributes
    ----------
    element : ElementType
        The statement must take an array of exactly this type.
    values : Sequence
        The elements; None becomes NULL.
    """

    element: ElementType
    values: Sequence[object]


BYTEA = ElementType(17, bytes)
BIGINT = ElementType(20, _int64)
TEXT = ElementType(25, str.encode)
JSON = ElementType(114, str.encode)
DOUBLE_PRECISION = ElementType(701, struct.Struct("!d").pack)
TIMESTAMPTZ = ElementType(1184, lambda moment: _int64((moment - _EPOCH) // _MICROSECOND))
UUIDS = ElementType(2950, attrgetter("bytes"))
JSONB = ElementType(3802, lambda text: b"\1" + text.encode())  # the format's version number comes first


def encode_array(array: Array) -> bytes:
    """Encode an array in its binary format.

    Parameters
    ----------
    array : Array
        The array to send.

    Returns
    -------
    bytes
        The number of dimensions, a flag for NULLs, and the element type; then the length and first subscript of the
        dimension; then each element after its length, which is -1 for NULL.

    Raises
    ------
    struct.error
        If a number is out of the element type's range.
    UnicodeEncodeError
        If a string is not valid Unicode.
    """
    (oid, encode), values = array
    parts = [_head(1, 1, oid, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            raw = encode(value)
            parts.append(_int32(len(raw)))
            parts.append(raw)
    return b"".join(parts)
