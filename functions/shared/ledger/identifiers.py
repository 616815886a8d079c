"""Ids that the functions make themselves: UUID version 7 (RFC 9562, section 5.7), ordered by time, to the microsecond.

An id made by the caller makes a write repeatable: stored twice, it is stored once. Ordered by time, ids append to the
right edge of every index, and descending ids are the ledger's one order, newest first.

The 12 bits of ``rand_a`` carry the fraction of the millisecond (section 6.2, method 3) in steps of 1/4096 ms, which are
fine enough to give back the exact microsecond. The other 62 bits come from the operating system for each id: a
generator seeded at import would repeat itself in every environment restored from one snapshot.
"""

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

FIRST_ID, LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
"""Bounds that all ids lie between (the nil and max UUIDs of RFC 9562, which are nobody's)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_VERSION_7 = 7 << 76
_VARIANT = 0b10 << 62


def _at(microseconds: int, rest: int) -> UUID:
    """Build the id of a moment, in microseconds since 1970, with the 62 low bits given."""
    milliseconds, fraction = divmod(microseconds, 1000)
    return UUID(int=milliseconds << 80 | _VERSION_7 | (fraction * 4096 // 1000) << 64 | _VARIANT | rest)


def new_id() -> UUID:
    """Make an id of this moment.

    Returns
    -------
    UUID
        Version 7. Ids made in one microsecond are in no particular order.
    """
    return _at(time.time_ns() // 1000, int.from_bytes(os.urandom(8), "big") >> 2)


def created_at(identifier: UUID) -> datetime:
    """Read the moment an id was made at.

    Parameters
    ----------
    identifier : UUID
        An id of `new_id`.

    Returns
    -------
    datetime
        In UTC, exact to the microsecond that `new_id` read off the clock.
    """
    high = identifier.int >> 64
    fraction = -(-(high & 0xFFF) * 1000 // 4096)  # rounded up: the inverse of the rounding down in _at
    return _EPOCH + timedelta(milliseconds=high >> 16, microseconds=fraction)


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest id that a moment can have: ids made before it are smaller, all others are not.

    Parameters
    ----------
    moment : datetime
        With a time zone. Moments before 1970 count as 1970.

    Returns
    -------
    UUID
        A bound to compare ids with.
    """
    return _at(max((moment - _EPOCH) // _MICROSECOND, 0), 0)
