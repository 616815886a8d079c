import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.ledger import Ledger
from infra.migrations import MigrationError, UnknownRevisionError, current, upgrade
from tests.support.predictions import MODEL, prediction

ROOT = Path(__file__).parents[2]
REVISIONS = sorted(file.name[:4] for file in (ROOT / "infra" / "migrations" / "versions").glob("[0-9]*.py"))
LATEST = REVISIONS[-1]
LEDGER = {"alembic_version", "idempotency_keys", "inputs", "models", "predictions"}


def tables(database_url: str) -> set[str]:
    connection = Connection(parse_database_url(database_url), longest=60)
    rows = connection.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", {})
    connection.close()
    return {row[0] for row in rows}


def test_an_empty_database_becomes_a_ledger(new_database: Callable[[], str]) -> None:
    url = new_database()
    assert current(url) is None
    said: list[str] = []
    upgrade(url, report=said.append)
    assert tables(url) >= LEDGER
    assert current(url) == LATEST
    assert [line[:4] for line in said] == REVISIONS
    assert re.fullmatch(r"0001 create the ledger … done in \d+ ms", said[0])


def test_a_second_time_there_is_nothing_to_do_and_nothing_is_lost(new_database: Callable[[], str]) -> None:
    url = new_database()
    upgrade(url)
    ledger = Ledger.at(url)
    new = prediction()
    ledger.store(MODEL, [new])
    said: list[str] = []
    upgrade(url, report=said.append)
    assert said == [f"{LATEST} is the latest, nothing to do"]
    assert ledger.get(new.prediction_id)[0] == new.record(MODEL)
    ledger.close()


def test_a_migration_that_widens_a_column_is_not_noticed_by_a_ledger_in_use(new_database: Callable[[], str]) -> None:
    url = new_database()
    upgrade(url)
    with (
        closing(Ledger.at(url, pool_size=1)) as ledger,
        closing(Connection(parse_database_url(url), longest=60)) as administrator,
    ):
        administrator.run(
            "DROP VIEW prediction_log", {}
        )  # which shows the column: a migration makes it again afterwards
        for _ in range(2):
            new = prediction()
            ledger.store(MODEL, [new])
            assert ledger.get(new.prediction_id)[0] == new.record(MODEL)
            administrator.run("ALTER TABLE predictions ALTER COLUMN likely_class TYPE bigint", {}, keep=False)


def test_two_at_once_migrate_once(new_database: Callable[[], str]) -> None:
    url = new_database()
    said: list[str] = []
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: upgrade(url, report=said.append), range(3)))
    assert sorted(line[:4] for line in said if "done" in line) == REVISIONS
    assert len([line for line in said if "nothing to do" in line]) == 2
    assert current(url) == LATEST


def test_what_is_interrupted_has_not_happened(new_database: Callable[[], str]) -> None:
    url = new_database()
    connection = Connection(parse_database_url(url), longest=60)
    connection.run("CREATE TABLE predictions ()", {})
    with pytest.raises(MigrationError, match="42P07"):
        upgrade(url)
    assert tables(url) <= {"alembic_version", "predictions"}
    connection.run("DROP TABLE predictions", {})
    connection.close()
    upgrade(url)
    assert current(url) == LATEST


def test_a_database_that_a_newer_version_has_migrated_is_left_alone_and_said_so(
    new_database: Callable[[], str],
) -> None:
    url = new_database()
    upgrade(url)
    connection = Connection(parse_database_url(url), longest=60)
    connection.run("UPDATE alembic_version SET version_num = '9999'", {})
    connection.close()
    with pytest.raises(UnknownRevisionError) as unknown:
        upgrade(url)
    assert str(unknown.value) == (
        f"the database is at revision '9999', which this version does not have (its latest is '{LATEST}')"
    )
    assert current(url) == "9999"
    for arguments, status in ((["upgrade"], 1), (["upgrade", "--or-newer"], 0)):
        done = command(*arguments, database_url=url)
        assert (done.returncode, done.stderr) == (status, f"migrations: {unknown.value}\n")


def test_every_table_and_view_is_explained_in_the_database(migrated: str) -> None:
    connection = Connection(parse_database_url(migrated), longest=60)
    rows = connection.run(
        "SELECT relname, obj_description(oid) IS NOT NULL FROM pg_class "
        "WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'",
        {},
    )
    connection.close()
    assert [name for name, explained in rows if not explained] == []


def command(*arguments: str, database_url: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    if database_url is not None:
        environment["DATABASE_URL"] = database_url
    return subprocess.run(
        [sys.executable, "-m", "infra.migrations", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_says_what_it_does(new_database: Callable[[], str]) -> None:
    url = new_database()
    done = command("upgrade", database_url=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"(\d{4} .+ … done in \d+ ms\n)+", done.stdout)
    assert command("current", database_url=url).stdout == f"{LATEST}\n"


@pytest.mark.server
@pytest.mark.parametrize(
    ("database_url", "says"),
    [
        (None, "DATABASE_URL is not set"),
        ("postgresql://anna:hunter2@localhost:1/ledger", "cannot be reached"),
        ("postgresql://anna:hunter2@db.example/ledger?sslmode=disable", "sslmode=disable"),
    ],
)
def test_the_command_fails_with_one_line(database_url: str | None, says: str) -> None:
    done = command("upgrade", database_url=database_url)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert "hunter2" not in done.stderr
