"""A real PostgreSQL for the tests: one server a session, one empty ledger a test."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from tests.support.cloudformation import CloudFormation, serve_cloudformation
from tests.support.database import in_database, run

# Three times as fast as TRUNCATE where there are a few rows, and in any order, since no foreign key is checked.
_EMPTY = """
DO $$ DECLARE name text; BEGIN
    PERFORM set_config('session_replication_role', 'replica', true), set_config('lock_timeout', '30s', true);
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE 'DELETE FROM ' || quote_ident(name);
    END LOOP;
END $$
"""


_STARTS_A_SERVER = frozenset(("postgres", "password_url", "tls_url"))

_numbers = count(1)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a database or its server, so that no module has to remember to."""
    for item in items:
        if isinstance(item, pytest.Function) and not _STARTS_A_SERVER.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.server)


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
    connection = Connection(parse_database_url(migrated), longest=60)
    connection.run(_EMPTY, {})
    connection.close()
    return migrated


@pytest.fixture
def within_one_hour() -> None:
    """Wait for the next hour if this one ends soon: counts of an hour or a day would begin anew amid a test."""
    now = datetime.now(UTC)
    left = 3600 - (now.minute * 60 + now.second)
    if left < 30:
        time.sleep(left + 1)


@pytest.fixture
def owner_url(postgres: str) -> str:
    """DATABASE_URL of an empty database that belongs to `ledger_owner`, who has the rights of a master user on RDS."""
    if not run(postgres, "SELECT 1 FROM pg_roles WHERE rolname = 'ledger_owner'"):
        run(
            postgres,
            "CREATE ROLE rds_iam NOLOGIN",
            "CREATE ROLE ledger_owner LOGIN CREATEROLE CREATEDB",
            "GRANT rds_iam TO ledger_owner WITH ADMIN OPTION",
        )
    name = f"migrated_{next(_numbers)}"
    run(postgres, f"CREATE DATABASE {name} OWNER ledger_owner")
    return in_database(postgres, name, "ledger_owner")


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    """The side of CloudFormation that a custom resource answers to."""
    with serve_cloudformation() as served:
        yield served
