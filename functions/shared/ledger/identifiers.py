"""Ids that the functions generate: UUID version 7 (RFC 9562, section 5.7), ordered by time to the microsecond.

Generating the id before the write makes the write idempotent: a repeated write stores nothing more. Ids ordered by time
append to the right edge of every index, and descending ids list the newest records first.

The 12 bits of ``rand_a`` hold the fraction of the millisecond (section 6.2, method 3) in steps of 1/4096 ms, which is
fine enough to recover the exact microsecond. The operating system supplies the other 62 bits for each id: a generator
seeded at import would produce the same ids in every environment restored from one snapshot.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
"""Every id lies between these bounds: the nil and max UUIDs of RFC 9562, which identify no record."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_VERSION_7 = 7 << 76
_VARIANT = 0b10 << 62


def _at(microseconds: int, rest: int) -> UUID:
    """Build the id for a time in microseconds since 1970, with the given 62 low bits."""
    milliseconds, fraction = divmod(microseconds, 1000)
    return UUID(int=milliseconds << 80 | _VERSION_7 | (fraction * 4096 // 1000) << 64 | _VARIANT | rest)


def new_id() -> UUID:
    """Generate an id for the current time.

    Returns
    -------
    UUID
        Version 7. Ids generated within one microsecond have no particular order.
    """
    return _at(time.time_ns() // 1000, int.from_bytes(os.urandom(8), "big") >> 2)


def created_at(identifier: UUID) -> datetime:
    """Return the time at which an id was generated.

    Parameters
    ----------
    identifier : UUID
        An id from `new_id`.

    Returns
    -------
    datetime
        In UTC, exact to the microsecond.
    """
    high = identifier.int >> 64
    fraction = -(-(high & 0xFFF) * 1000 // 4096)  # rounded up: the inverse of the rounding down in _at
    return _EPOCH + timedelta(milliseconds=high >> 16, microseconds=fraction)


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest possible id for a time. Every id generated earlier is smaller.

    Parameters
    ----------
    moment : datetime
        With a time zone. Times before 1970 count as 1970.

    Returns
    -------
    UUID
        A bound to compare ids with.
    """
    return _at(max((moment - _EPOCH) // _MICROSECOND, 0), 0)
