"""Migrate from every earlier version while clients store and read: ``python -m tests.faults.migrations [ROWS]``.

For each revision there is a copy of a database with so many predictions, 1,000,000 by default, at that revision.
Clients store and read by statements that every version can run, and the copy is migrated to the latest revision
meanwhile. A line says how long that took, how long the slowest statement was, and how many failed. None may fail, and
what was stored before and meanwhile is there afterwards, and is read by this version.

A million rows take five minutes and 5 GB of disk.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import LedgerError
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.pool import Pool
from functions.shared.ledger.records import PredictionFilter
from infra.migrations import current, upgrade
from local.services.postgres import EmbeddedPostgres
from tests.support.database import in_database, run
from tests.support.predictions import MODEL, prediction
from tests.support.repository import ROOT

REVISIONS = sorted(file.name[:4] for file in (ROOT / "infra/migrations/versions").glob("[0-9]*.py"))

_CLIENTS = 4
_LONGEST = 60.0  # seconds for a statement
_LEAD = 0.5  # seconds of load before and after a migration
_MODEL = """
INSERT INTO models (model_id, name, version, sha256, task, provider)
VALUES (1, 'mnist', '1', sha256('x'), 'classification', 'CPU')
"""
# Of the columns of the first revision, so that every version has them. A hundredth is still queued.
_FILL = """
WITH numbered AS (
    SELECT n, (lpad(to_hex(1764000000000 + n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid AS id
    FROM generate_series(1, :rows::int) n
), input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, filename, content)
    SELECT id, 1, sha256(id::text::bytea), 'image/png', 'seven.png', '\\x00' FROM numbered
), key AS (
    INSERT INTO idempotency_keys (user_id, key, was_queued, digest, prediction_ids)
    SELECT 'user ' || n % 1000, n::text, FALSE, sha256('x'), ARRAY[id] FROM numbered WHERE n % 10 = 0
)
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class, status,
                         status_since, user_id, label, predicted_value, output, metadata)
SELECT id, id, 1, to_timestamp((1764000000000 + n) / 1000.0), 0.1, 0.5, 7,
       CASE n % 100 WHEN 0 THEN 'queued' ELSE 'succeeded' END, now(), 'user ' || n % 1000, '7', '"7"',
       CASE n % 100 WHEN 0 THEN NULL ELSE '[0.1, 0.9]'::jsonb END, '{}'
FROM numbered
"""
_STORE = """
WITH input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, filename, content)
    VALUES (:id::uuid, 1, sha256('x'), 'image/png', 'seven.png', '\\x00') ON CONFLICT (input_id) DO NOTHING
)
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class, status,
                         user_id, label, predicted_value, output, metadata)
VALUES (:id::uuid, :id::uuid, 1, now(), 0.1, 0.5, 7, 'succeeded', 'anna', '7', '"7"', '[0.1, 0.9]', '{}')
ON CONFLICT (prediction_id) DO NOTHING
"""
_READ = """
SELECT p.prediction_id, p.output, i.content FROM predictions p JOIN inputs i ON i.input_id = p.input_id
WHERE p.user_id = 'anna' ORDER BY p.prediction_id DESC LIMIT 20
"""


@dataclass
class Migrated:
    """What became of a migration under load."""

    revision: str
    seconds: float
    """How long it took."""

    statements: int
    slowest: float
    """Seconds of the slowest statement of a client."""

    failed: list[str]
    missing: int
    """Predictions that were stored and are not there."""

    def __str__(self) -> str:
        """Return a line for the table."""
        failed = f", failed: {self.failed}" if self.failed else ""
        return (
            f"{self.revision}: migrated in {self.seconds:.2f} s, {self.statements} statements meanwhile, "
            f"the slowest {self.slowest:.2f} s, {len(self.failed)} failed, {self.missing} missing{failed}"
        )


class _Load:
    """Clients that store and read as long as the block runs."""

    def __init__(self, url: str) -> None:
        self.stored: list[UUID] = []
        self.failed: list[str] = []
        self.slowest = 0.0
        self.statements = 0
        self._url = url
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work) for _ in range(_CLIENTS)]

    def __enter__(self) -> "_Load":
        for thread in self._threads:
            thread.start()
        time.sleep(_LEAD)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(_LEAD)
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        address = parse_database_url(self._url)

        def connect(until: float) -> Connection:
            return Connection(address, until=until, longest=_LONGEST)

        # As the ledger does, it repeats what was interrupted: a migration may deadlock with a statement.
        with closing(Pool(connect, size=1, longest=_LONGEST)) as pool:
            while not self._over.is_set():
                made = new_id()
                for sql, parameters in ((_STORE, {"id": made}), (_READ, {})):
                    began = time.monotonic()
                    try:
                        pool.run(sql, parameters)
                    except LedgerError as error:
                        self.failed.append(str(error))
                        return
                    seconds = time.monotonic() - began
                    with self._lock:
                        self.statements += 1
                        self.slowest = max(self.slowest, seconds)
                self.stored.append(made)


def migrate_from_each(url: str, rows: int) -> Iterator[Migrated]:
    """Yield what became of a migration from each revision but the latest.

    Parameters
    ----------
    url : str
        A server, as a user who may create databases.
    rows : int
        Predictions that there are before.
    """
    with _database(url, "at_revision") as base:
        upgrade(base, revision=REVISIONS[0])
        run(base, _MODEL)
        with closing(Connection(parse_database_url(base), longest=3600)) as connection:
            connection.run(_FILL, {"rows": rows}, keep=False)
            connection.run("VACUUM ANALYZE", {}, keep=False)
        for revision in REVISIONS[:-1]:
            upgrade(base, revision=revision)
            with _database(url, "migrated", template="at_revision") as copy:
                yield _migrate(copy, revision, rows)


def _migrate(url: str, revision: str, rows: int) -> Migrated:
    if current(url) != revision:
        raise RuntimeError(f"the copy is at {current(url)}, not at {revision}")
    with _Load(url) as load:
        began = time.monotonic()
        upgrade(url)
        seconds = time.monotonic() - began
    if current(url) != REVISIONS[-1]:
        raise RuntimeError(f"the copy is at {current(url)}, not at {REVISIONS[-1]}")
    [[there]] = run(url, "SELECT count(*) FROM predictions p JOIN inputs i ON i.input_id = p.input_id")
    missing = rows + len(load.stored) - int(str(there))
    with closing(Ledger.at(url, longest=_LONGEST)) as ledger:
        new = prediction(user_id="anna")
        ledger.store(MODEL, [new])
        for prediction_id in (new.prediction_id, *load.stored[:3]):
            ledger.get(prediction_id)
        listed = ledger.list(PredictionFilter(user_id="anna"), limit=100).records
        # Newest first by id: a client that waited for the migration has come to its end later than others.
        missing += len({*sorted(load.stored)[-50:]} - {record.prediction_id for record in listed})
        ledger.list(PredictionFilter(user_id="user 7"), limit=10)
    return Migrated(revision, seconds, load.statements, load.slowest, load.failed, missing)


@contextmanager
def _database(url: str, name: str, template: str | None = None) -> Iterator[str]:
    """Create a database, as a copy of another one if that is named, and drop it at the end."""
    with closing(Connection(parse_database_url(url), longest=3600)) as administrator:
        copied = "" if template is None else f" TEMPLATE {template} STRATEGY file_copy"
        administrator.run(f"CREATE DATABASE {name}{copied}", {}, keep=False)
        try:
            yield in_database(url, name)
        finally:
            administrator.run(f"DROP DATABASE {name} WITH (FORCE)", {}, keep=False)


def main(rows: int = 1_000_000) -> int:
    """Print a line for each revision, and return 0 if nothing failed and nothing is missing, 1 otherwise."""
    good = True
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder)) as server:
        print(f"{rows} predictions", flush=True)
        for migrated in migrate_from_each(server.superuser_url, rows):
            print(migrated, flush=True)
            good &= not migrated.failed and not migrated.missing
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
