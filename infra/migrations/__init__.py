"""The database schema as Alembic revisions, and `upgrade`, the only way to apply them.

Alembic is configured here and not in an ``alembic.ini``, so that the command line, the tests, the local server and the
deployed function all do the same. An operator or a deployment runs the migrations, never a request.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import sqlalchemy
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util.exc import CommandError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from functions.shared.ledger.database_url import DatabaseAddress, parse_database_url
from functions.shared.ledger.driver import DbapiSession, error_fields
from functions.shared.ledger.errors import LedgerError, refusal
from functions.shared.ledger.login import start_session

# Any number will do, as long as nothing else in this database takes an advisory lock with it.
_LOCK = 0x1ED6E7
# While a migration waits for a busy table, every statement behind it waits too. It is better to fail and run it again.
_LOCK_TIMEOUT = "30s"
_SECONDS_BETWEEN_TRIES = 0.1
_ATTEMPTS = 10
_DEADLOCK = "40P01"


class MigrationError(Exception):
    """The migrations cannot be applied; the message is one line for the operator."""


class _DeadlockError(MigrationError):
    """A revision and a statement of a function waited for each other. The revision was rolled back."""


class UnknownRevisionError(MigrationError):
    """The database is at a revision that this version does not have, because a newer version has migrated it."""


def upgrade(database_url: str, *, report: Callable[[str], None] = lambda _: None, revision: str = "head") -> None:
    """Bring the schema up to date. It is safe to run this again, and from several places at once.

    Each revision is one transaction: an interrupted one is rolled back, and the next run starts with it. So one that
    deadlocks with a statement of a function that is in use is tried again. Through a
    pooler (``pooler=transaction``) all revisions are one transaction, since the pooler may change the server connection
    after each transaction, and the lock would stay behind.

    Parameters
    ----------
    database_url : str
        A ``DATABASE_URL`` whose role may create tables.
    report : Callable
        Called with one line for each revision applied, or with one that says there was none.
    revision : str
        The last revision to apply. Another one than the latest is for tests.

    Raises
    ------
    UnknownRevisionError
        If the database is at a revision that this version does not have.
    MigrationError
        If the database cannot be reached or refuses.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            _upgrade(database_url, report, revision)
        except _DeadlockError:
            time.sleep(_SECONDS_BETWEEN_TRIES)
        else:
            return
    _upgrade(database_url, report, revision)


def _upgrade(database_url: str, report: Callable[[str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    applied = 0
    started = time.perf_counter()

    def report_step(*, step: Any, **_: object) -> None:  # noqa: ANN401  # alembic does not export the type
        nonlocal applied, started
        now = time.perf_counter()
        report(f"{step.up_revision_id} {step.up_revision.doc.rstrip('.')} … done in {(now - started) * 1000:.0f} ms")
        applied, started = applied + 1, now

    with _connected(database_url) as (connection, has_session):
        _lock(connection, has_session=has_session)
        connection.execute(
            sqlalchemy.select(sqlalchemy.func.set_config("lock_timeout", _LOCK_TIMEOUT, not has_session))
        )
        if has_session:
            connection.commit()
        started = time.perf_counter()
        config.attributes.update(connection=connection, on_version_apply=report_step, has_session=has_session)
        try:
            alembic.command.upgrade(config, revision)
        except CommandError as error:
            if not isinstance(error.__cause__, ResolutionError):
                raise
            raise UnknownRevisionError(
                f"the database is at revision {error.__cause__.argument!r}, which this version does not have "
                f"(its latest is {scripts.get_current_head()!r})"
            ) from error
        connection.commit()
    if not applied:
        report(f"{scripts.get_current_head()} is the latest, nothing to do")


def _lock(connection: sqlalchemy.Connection, *, has_session: bool) -> None:
    """Wait until nobody else migrates this database.

    It asks again and again: whoever waits for a lock holds a snapshot, and an index that is built concurrently waits
    for all snapshots, so the two would wait for each other.
    """
    if not has_session:
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(_LOCK)))
        return
    while not connection.scalar(sqlalchemy.select(sqlalchemy.func.pg_try_advisory_lock(_LOCK))):
        connection.rollback()
        time.sleep(_SECONDS_BETWEEN_TRIES)


def current(database_url: str) -> str | None:
    """Return the revision that a database is at, or None if no migration has run yet.

    Parameters
    ----------
    database_url : str
        As for `upgrade`.

    Raises
    ------
    MigrationError
        If the database cannot be reached or refuses.
    """
    with _connected(database_url) as (connection, _):
        return MigrationContext.configure(connection).get_current_revision()


@contextmanager
def _connected(database_url: str) -> Iterator[tuple[sqlalchemy.Connection, bool]]:
    """Connect as the ledger does, and yield whether the session is ours alone. Report failures as `MigrationError`."""
    try:
        address = parse_database_url(database_url)
        engine = sqlalchemy.create_engine("postgresql+pg8000://", creator=lambda: _open(address), poolclass=NullPool)
        with engine.connect() as connection:
            yield connection, address.prepared
    except DBAPIError as error:
        fields = error_fields(error.orig or error)
        reason = refusal(fields) if "C" in fields else fields["M"]
        kind = _DeadlockError if fields.get("C") == _DEADLOCK else MigrationError
        raise kind(f"the database refuses: {reason}") from error
    except LedgerError as error:
        raise MigrationError(str(error)) from error


def _open(address: DatabaseAddress) -> Any:  # noqa: ANN401  # pg8000 has no types
    session, connected = start_session(DbapiSession, address, application_name=f"{address.application_name} migrations")
    connected.settimeout(None)  # building an index over ten million rows takes minutes
    return session
