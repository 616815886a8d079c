"""Whose ground truths a caller may see or give: their own, and by a scope those of everybody."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar
from uuid import UUID

from functions.shared.api.auth import Caller, find_readable
from functions.shared.api.scopes import Scope
from functions.shared.ledger.errors import RecordNotFoundError
from functions.shared.log import logger

Found = TypeVar("Found")

_IDS_OF_A_LINE: Final = 1_000
"""The most ids in one line of the log: CloudWatch cuts a line above 256 kB."""


def own_or_by_scope(reader: Caller, prediction_id: UUID, find: Callable[[str | None], Found]) -> Found:
    """Return what belongs to a record, if the caller may read or judge it. Log it if it is not the caller's own.

    Parameters and errors as in `find_readable`.
    """
    try:
        return find_readable(reader, prediction_id, find)
    except RecordNotFoundError:
        if reader.user_id is None or not reader.may(Scope.WRITE_GROUND_TRUTH):
            raise
    found = find(None)
    log_judged_by_scope(reader, [str(prediction_id)])
    return found


def log_judged_by_scope(judge: Caller, prediction_ids: Sequence[str]) -> None:
    """Log which records of other users a caller has judged by scope, or seen the ground truth of."""
    if judge.user_id is None:
        return
    for start in range(0, len(prediction_ids), _IDS_OF_A_LINE):
        some = prediction_ids[start : start + _IDS_OF_A_LINE]
        logger.warning(
            "judged others' records", scope=Scope.WRITE_GROUND_TRUTH, judged_by=judge.user_id, prediction_ids=some
        )
