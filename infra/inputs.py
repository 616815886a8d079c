"""An operator's commands for inputs in S3: ``python -m infra.inputs reconcile`` and ``python -m infra.inputs move``.

``reconcile`` compares the objects in INPUTS_BUCKET, inputs and large outputs, with the rows of the ledger at
DATABASE_URL. An object without a row was left by a crash between put and commit, or is an upload that was never
predicted. A row without its object has lost its input, or an output. ``--delete`` removes the objects without a row; no
option removes a row.

``move`` moves inputs from the database to the bucket. It removes an input's bytes from the database only after it has
read them back from the bucket. You can interrupt it and run it again: it skips what it has already moved.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Final
from uuid import UUID

from functions.shared.ledger.errors import LedgerError
from functions.shared.ledger.identifiers import FIRST_ID
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import InputInDatabase
from functions.shared.object_storage.bucket import PARALLEL, Bucket, NewObject, StoredObject, input_id_of, key_of
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreError

OLDER_THAN: Final = 24.0
"""How many hours an object may exist before its row: users may predict an upload hours after they sent it."""

_TOGETHER: Final = 1000  # objects looked up in one query and removed in one request
_BAR: Final = 30  # characters
_SECONDS_BETWEEN_LINES: Final = 10.0
_LONGEST_CALL: Final = 60.0  # seconds for the database to answer: nobody waits for a response here


@dataclass(frozen=True)
class Reconciled:
    """The result of a comparison.

    Attributes
    ----------
    without_a_row
        Objects that no row names.
    without_an_object
        The id and URI from each row, of an input or an output, that names a missing object.
    removed
        How many objects were removed.
    """

    without_a_row: Sequence[StoredObject]
    without_an_object: Sequence[tuple[UUID, str]]
    removed: int = 0


def reconcile(ledger: Ledger, bucket: Bucket, *, older_than: timedelta, delete: bool) -> Reconciled:
    """Compare objects with rows.

    Parameters
    ----------
    ledger
        The rows.
    bucket
        The objects. Their ids are held in memory: 100 MB for a million.
    older_than
        The age from which an object counts. If it is too short, `delete` removes objects whose rows are about to be
        committed, and uploads that are still to be predicted.
    delete
        Whether to remove objects without a row.

    Raises
    ------
    LedgerError, ObjectStoreError
        If the database or the bucket cannot be reached. Objects that are already removed stay removed.
    """
    newest = datetime.now(UTC) - older_than
    there: set[bytes] = set()
    orphans: list[StoredObject] = []
    removed = 0
    for some in _in_lots(bucket.list()):
        ids = {one.key: input_id_of(one.key) for one in some}
        there.update(one.bytes for one in ids.values() if one is not None)
        old = [one for one in some if one.modified <= newest and ids[one.key] is not None]
        known = ledger.known_objects(input_id for one in old if (input_id := ids[one.key]) is not None)
        found = [one for one in old if ids[one.key] not in known]
        orphans += found
        if delete:
            bucket.remove([one.key for one in found])
            removed += len(found)
    lost = [
        # Ask the bucket again: the object may have been put after the listing had passed its key.
        (input_id, uri)
        for input_id, uri in _rows(ledger)
        if input_id.bytes not in there and not _is_there(bucket, uri)
    ]
    return Reconciled(orphans, lost, removed)


def _in_lots(found: Iterator[StoredObject]) -> Iterator[list[StoredObject]]:
    while some := list(islice(found, _TOGETHER)):
        yield some


def _rows(ledger: Ledger) -> Iterator[tuple[UUID, str]]:
    after = FIRST_ID
    while rows := ledger.objects(after=after):
        yield from rows
        after = rows[-1][0]


def _is_there(bucket: Bucket, uri: str) -> bool:
    try:
        return bucket.has(bucket.key(uri))
    except ObjectMissingError:
        return False  # the URI names another bucket, which the functions do not read


class MoveError(Exception):
    """An input cannot be moved. The message says which one and why; its bytes are still in the database."""


def move(ledger: Ledger, bucket: Bucket) -> Iterator[tuple[int, int]]:
    """Move inputs from the database to a bucket. Yield the number of inputs and of bytes after each batch.

    Raises
    ------
    MoveError
        If an input's bytes do not match its SHA-256, or the bucket returns other bytes than were put.
    LedgerError, ObjectStoreError
        If the database or the bucket cannot be reached.
    """
    after = FIRST_ID
    with ThreadPoolExecutor(PARALLEL) as threads:
        while found := ledger.inputs_in_database(after=after):
            # Several predictions may share one uploaded input.
            inputs = {one.input_id: one for one in found}.values()
            list(threads.map(lambda one: _move(ledger, bucket, one), inputs))
            after = found[-1].prediction_id
            yield len(inputs), sum(len(one.content) for one in inputs)


def _move(ledger: Ledger, bucket: Bucket, one: InputInDatabase) -> None:
    if sha256(one.content).digest() != one.sha256:
        raise MoveError(f"input {one.input_id} is damaged: its bytes do not have the SHA-256 that its row records")
    key = key_of(one.user_id, one.input_id)
    bucket.put([NewObject(key, one.content, one.contenttype, one.sha256)])
    if bucket.get(key) != one.content:
        raise MoveError(f"the bucket returned other bytes for input {one.input_id} than were put")
    if not ledger.move_input(one.input_id, bucket.uri(key)) and not ledger.known_objects([one.input_id]):
        bucket.remove([key])  # the input was deleted meanwhile


class _Progress:
    """Progress as a bar in a terminal, and as a line every ten seconds in a log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._watched = sys.stderr.isatty()
        self._told = 0.0

    def tell(self, count: int, size: int) -> None:
        share = min(1.0, count / max(1, self._total))
        text = f"{count} of {self._total} inputs, {size / 1e6:.1f} MB"
        if self._watched:
            bar = "#" * round(share * _BAR)
            sys.stderr.write(f"\r[{bar:<{_BAR}}] {text}")
        elif time.monotonic() - self._told > _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._watched:
            sys.stderr.write("\n")


def _run_reconcile(ledger: Ledger, bucket: Bucket, arguments: argparse.Namespace) -> int:
    hours: float = arguments.older_than
    found = reconcile(ledger, bucket, older_than=timedelta(hours=hours), delete=arguments.delete)
    _list(
        "object without a row", (f"{one.key}\t{one.size} bytes\t{one.modified:%FT%TZ}" for one in found.without_a_row)
    )
    _list("row without an object", (f"{input_id}\t{uri}" for input_id, uri in found.without_an_object))
    print(
        f"{len(found.without_a_row)} objects without a row (older than {hours:g} h), {found.removed} of them removed; "
        f"{len(found.without_an_object)} rows without an object"
    )
    return int(len(found.without_a_row) > found.removed or bool(found.without_an_object))


def _list(what: str, lines: Iterable[str]) -> None:
    for line in lines:
        print(f"{what}\t{line}")


def _run_move(ledger: Ledger, bucket: Bucket, _: argparse.Namespace) -> int:
    total, size = ledger.count_inputs_in_database()
    print(f"{total} inputs with {size / 1e6:.1f} MB are in the database", flush=True)
    progress = _Progress(total)
    moved = moved_size = 0
    try:
        for count, some in move(ledger, bucket):
            moved, moved_size = moved + count, moved_size + some
            progress.tell(moved, moved_size)
    finally:
        progress.end()
        print(f"{moved} inputs with {moved_size / 1e6:.1f} MB moved to {bucket.uri('')}", flush=True)
    return 0


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours < 1e6:  # a century, which a timedelta can hold
        raise ValueError(text)
    return hours


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 1 if the command failed or found objects and rows that differ."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.inputs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("reconcile", help="compare objects with rows")
    command.add_argument("--delete", action="store_true", help="remove objects that have no row")
    command.add_argument(
        "--older-than",
        type=_hours,
        default=OLDER_THAN,
        metavar="HOURS",
        help="ignore newer objects (default: %(default)g); use less than 1 only while no function runs",
    )
    command.set_defaults(run=_run_reconcile)
    command = commands.add_parser("move", help="move inputs from the database to the bucket")
    command.set_defaults(run=_run_move)
    chosen = parser.parse_args(arguments)

    settings = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "INPUTS_BUCKET")}
    if missing := [name for name, value in settings.items() if not value]:
        print(f"{' and '.join(missing)} must be set", file=sys.stderr)
        return 2
    try:
        with closing(Ledger.at(settings["DATABASE_URL"], longest=_LONGEST_CALL)) as ledger:
            code: int = chosen.run(ledger, Bucket(settings["INPUTS_BUCKET"]), chosen)
    except (LedgerError, ObjectStoreError, MoveError) as error:
        print(f"infra.inputs: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what is done stays done; run the command again for the rest", file=sys.stderr)
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
