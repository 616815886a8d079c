"""What many requests that share a statement are told, each its own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from functions.shared.ledger.errors import IdempotencyConflictError, LedgerError, LedgerUnavailableError
from functions.shared.ledger.records import ModelIdentity, Replay, StoredRequest

Told: TypeAlias = Replay | LedgerError | None
"""What a request is told: None if its predictions are stored."""

_Found = TypeVar("_Found")

MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of inputs and outputs in one statement, unless one request has more: PostgreSQL holds all of them in memory,
several times over."""


def in_halves(
    run: Callable[[Sequence[int]], Mapping[int, _Found]], *parts: Sequence[int]
) -> dict[int, _Found | LedgerError]:
    """Run a statement for each part, and where it is refused for its halves, until what it refuses is alone.

    Parameters
    ----------
    run : Callable
        Runs the statement for some of the numbers. A statement that it raises `LedgerError` for had no effect, or one
        that is in doubt for all of them.
    *parts : Sequence of int
        Numbers of requests.

    Returns
    -------
    dict
        What `run` has returned for each number, or its error. If the database cannot be reached, those that it has not
        been asked for are told so, too: nobody waits for it again.
    """
    told: dict[int, _Found | LedgerError] = {}
    left = [part for part in reversed(parts) if part]
    while left:
        part = left.pop()
        try:
            told |= run(part)
        except LedgerUnavailableError as error:
            told |= dict.fromkeys(part, error)
            not_sent = LedgerUnavailableError(f"not sent, because of those before it: {error}")
            return told | {number: not_sent for other in left for number in other}
        except LedgerError as error:
            if len(part) == 1:
                told[part[0]] = error
            else:
                middle = len(part) // 2
                left += [part[middle:], part[:middle]]
    return told


def first_of_each_key(requests: Mapping[int, StoredRequest]) -> tuple[list[int], dict[int, int]]:
    """Tell requests that repeat another one's key from all others: a statement cannot take a key twice.

    Returns
    -------
    list of int
        The numbers of those that repeat none.
    dict
        For each of those that repeat one, by its number, that of the first with this key.
    """
    first: list[int] = []
    repeated: dict[int, int] = {}
    seen: dict[tuple[str, str], int] = {}
    for number, (_, idempotency) in requests.items():
        if idempotency is None or (earlier := seen.setdefault(idempotency[:2], number)) == number:
            first.append(number)
        else:
            repeated[number] = earlier
    return first, repeated


def of_moderate_size(requests: Sequence[StoredRequest], numbers: Sequence[int]) -> list[list[int]]:
    """Divide requests into those that share a statement: all of them, unless inputs and outputs are too large."""
    parts: list[list[int]] = []
    size = 0
    for number in numbers:
        inputs = [one.input for one in requests[number].predictions]
        own = sum(len(one.content or one.features or "") for one in inputs if one.uri is None)
        outputs = [output for one in requests[number].predictions for output in one.large]
        own += sum(len(one.content) for one in outputs if one.uri is None)
        if not parts or size + own > MOST_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(number)
        size += own
    return parts


def answer_of_repetition(
    model: ModelIdentity, repetition: StoredRequest, first: StoredRequest, told: Told
) -> Replay | LedgerError | None:
    """Return what a request is told that repeats the key of another one, which was told something.

    Returns
    -------
    Replay or LedgerError or None
        None if the key may be free, so that it is not known before the request is tried.
    """
    if isinstance(told, LedgerUnavailableError):
        return told  # in doubt, if the other one is: the key finds out what is stored under it
    asks_the_same = repetition.idempotency == first.idempotency
    if isinstance(told, LedgerError):
        return told if asks_the_same and isinstance(told, IdempotencyConflictError) else None
    if not asks_the_same:
        return IdempotencyConflictError("this idempotency key was used for another request at the same time")
    return told or Replay(tuple(prediction.record(model) for prediction in first.predictions), was_queued=False)
