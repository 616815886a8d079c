"""The database's schema, as Alembic revisions, and the one way to apply them: `upgrade`.

Configured here and not by an ``alembic.ini``, so that command line, tests, local server and the deployed function do
the same. Run by its own command (``python -m infra.migrations upgrade``), never by a request.
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

# Any number, as long as nothing else takes an advisory lock of that number in this database.
_LOCK = 0x1ED6E7
# A migration that waits for a busy table makes everything behind it wait too; better that it fails and is run again.
_LOCK_TIMEOUT = "30s"


class MigrationError(Exception):
    """The migrations cannot be applied; the message is one line for the operator."""


class UnknownRevisionError(MigrationError):
    """The database is at a revision that is not among ours, as after a newer version has migrated it."""


def upgrade(database_url: str, *, report: Callable[[str], None] = lambda _: None) -> None:
    """Bring the schema up to date. Safe to run twice, and from several places at a time.

    Each revision is one transaction: one that is interrupted has not happened, and the next run goes on from there.
    Through a pooler (``pooler=transaction``) all of them are one transaction, since nothing else is sure to stay on one
    connection of the server's.

    Parameters
    ----------
    database_url : str
        ``DATABASE_URL``, of a role that may create tables.
    report : Callable
        Gets a line for each thing done.

    Raises
    ------
    UnknownRevisionError
        If the database is at a revision that this version does not have.
    MigrationError
        If the database cannot be reached or refuses.
    """
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
        lock = sqlalchemy.func.pg_advisory_lock if has_session else sqlalchemy.func.pg_advisory_xact_lock
        connection.execute(sqlalchemy.select(lock(_LOCK)))
        connection.execute(
            sqlalchemy.select(sqlalchemy.func.set_config("lock_timeout", _LOCK_TIMEOUT, not has_session))
        )
        if has_session:
            connection.commit()
        started = time.perf_counter()
        config.attributes.update(connection=connection, on_version_apply=report_step)
        try:
            alembic.command.upgrade(config, "head")
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


def current(database_url: str) -> str | None:
    """Return the revision that a database is at, None before the first.

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
    """Connect as the ledger does, say in one line what goes wrong, and tell whether the session is ours alone."""
    try:
        address = parse_database_url(database_url)
        engine = sqlalchemy.create_engine("postgresql+pg8000://", creator=lambda: _open(address), poolclass=NullPool)
        with engine.connect() as connection:
            yield connection, address.prepared
    except DBAPIError as error:
        fields = error_fields(error.orig or error)
        reason = refusal(fields) if "C" in fields else fields["M"]
        raise MigrationError(f"the database refuses: {reason}") from error
    except LedgerError as error:
        raise MigrationError(str(error)) from error


def _open(address: DatabaseAddress) -> Any:  # noqa: ANN401  # pg8000 has no types
    session, connected = start_session(DbapiSession, address, application_name=f"{address.application_name} migrations")
    connected.settimeout(None)  # an index over ten million rows takes its time
    return session
