"""A real PostgreSQL for the tests: one server a session, one empty ledger a test."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from functions.shared.ledger.connection import Connection, parse_database_url

_EMPTY = """
DO $$ BEGIN
    EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    );
END $$
"""


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server's superuser, in a database that nobody else uses. TEST_DATABASE_URL names another server."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    from local.postgres import EmbeddedPostgres

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
    connection.run("SET lock_timeout = '5s'", {})
    connection.run(_EMPTY, {})
    connection.close()
    return migrated
