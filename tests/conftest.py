"""A real PostgreSQL for the tests: one server a session, one empty ledger a test."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from functions.shared.ledger.connection import Connection, parse_database_url

# Three times as fast as TRUNCATE where there are a few rows, and in any order, since no foreign key is checked.
_EMPTY = """
DO $$ DECLARE name text; BEGIN
    PERFORM set_config('session_replication_role', 'replica', true), set_config('lock_timeout', '5s', true);
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE 'DELETE FROM ' || quote_ident(name);
    END LOOP;
END $$
"""


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server's superuser, in a database that nobody else uses. TEST_DATABASE_URL names another server."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    from local.services.postgres import EmbeddedPostgres

    with TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder), durable=False) as server:
        yield server.superuser_url


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """The same with the ledger's tables."""
    from infra.migrations import upgrade

    upgrade(postgres)
    return postgres


@pytest.fixture
def database_url(migrated: str) -> str:
    """DATABASE_URL of an empty ledger."""
    connection = Connection(parse_database_url(migrated))
    connection.run(_EMPTY, {})
    connection.close()
    return migrated
