"""`make psql`: the database that `make serve` stores in, whether it runs or not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from functions.shared.ledger.database_url import parse_database_url
from local.commands.psql import connection_environment
from tests.support.local_server import PROJECT, Serve
from tests.support.make import MAKE
from tests.support.repository import ROOT
from tests.support.waiting import soon

pytestmark = pytest.mark.server

DATABASE = str(PROJECT / "database.yaml")


def launch(home: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local", "psql", *arguments],
        cwd=ROOT,
        env={**os.environ, "LEDGER_HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def psql(home: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run it to its end; return its exit status, what it printed, and what it complained about."""
    with launch(home, *arguments, **environment) as process:
        out, error = process.communicate(timeout=60)
    return process.returncode, out, error


def postmaster(home: Path) -> int | None:
    """Return the process id of the PostgreSQL that runs in a home folder."""
    file = home / "postgres" / "cluster" / "postmaster.pid"
    try:
        number = int(file.read_text().split()[0])
    except (FileNotFoundError, IndexError):  # it is just being written
        return None
    return number if psutil.pid_exists(number) else None


@pytest.fixture
def used_home(serve: Serve, database_home: Path) -> Path:
    """Return a home folder with a database in it, and no server."""
    serve(database_home, TEMPLATE=DATABASE).start().stop()
    return database_home


def asleep(home: Path) -> bool:
    """Tell whether a session sleeps in the database of a home folder, which somebody else must have started."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    return postmaster(home) is not None and psql(home, "-Atc", count)[1] == "1\n"


def test_the_database_of_a_server_that_runs_is_opened_and_left_running(serve: Serve, database_home: Path) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).start()
    running = postmaster(database_home)

    done = psql(database_home, "-Atc", "SELECT current_user, to_regclass('predictions')")

    assert done == (0, "ledger|predictions\n", "")
    assert running is not None
    assert postmaster(database_home) == running
    assert server.stop() == 0


def test_a_database_that_nobody_runs_is_started_and_stopped_again(used_home: Path) -> None:
    assert psql(used_home, "-Atc", "SELECT current_user, to_regclass('predictions')") == (0, "ledger|predictions\n", "")
    assert postmaster(used_home) is None


def test_where_database_url_is_set_that_database_is_opened(tmp_path: Path, database_url: str) -> None:
    ledger = parse_database_url(database_url)
    query = "SELECT current_user, current_database()"
    expected = (0, f"{ledger.user}|{ledger.database}\n", "")

    assert psql(tmp_path, "-Atc", query, DATABASE_URL=database_url) == expected
    # What sends other clients of the caller's elsewhere does not send this one there.
    assert psql(tmp_path, "-Atc", query, DATABASE_URL=database_url, PGHOSTADDR="192.0.2.1", PGDATABASE="x") == expected


def test_what_psql_is_told_and_how_it_ends_is_what_it_would_be_without_us(tmp_path: Path, database_url: str) -> None:
    help_line = psql(tmp_path, "--help", DATABASE_URL=database_url)[1].splitlines()[0]
    assert help_line == "psql is the PostgreSQL interactive terminal."

    csv = psql(tmp_path, "--csv", "-c", "SELECT 'a b' AS one, 2 AS two", DATABASE_URL=database_url)
    assert csv == (0, "one,two\na b,2\n", "")

    status, out, error = psql(tmp_path, "-c", "SELECT wrong", DATABASE_URL=database_url)
    assert (status, out) == (1, "")
    assert error.startswith('ERROR:  column "wrong" does not exist')


def test_ctrl_c_cancels_the_statement_and_leaves_no_database_running(used_home: Path) -> None:
    with launch(used_home, "-c", "SELECT pg_sleep(60)") as process:
        assert soon(lambda: asleep(used_home), 60)
        os.killpg(process.pid, signal.SIGINT)
        assert "canceling statement due to user request" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert postmaster(used_home) is None


def test_a_session_that_is_told_to_end_leaves_no_database_running(used_home: Path) -> None:
    with launch(used_home, "-c", "SELECT pg_sleep(60)") as process:
        assert soon(lambda: asleep(used_home), 60)
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert postmaster(used_home) is None


def test_a_home_without_a_database_is_said_to_be_one_and_nothing_is_made_there(tmp_path: Path) -> None:
    home = tmp_path / "mistyped"
    assert psql(home) == (1, "", f"onnx-ledger: there is no ledger in {home} yet: `make serve` makes one\n")
    assert not home.exists()


def test_a_server_says_who_has_its_database_while_psql_runs_it(serve: Serve, used_home: Path) -> None:
    with launch(used_home, "-c", "SELECT pg_sleep(60)") as process:
        assert soon(lambda: asleep(used_home), 60)
        server = serve(used_home, TEMPLATE=DATABASE).launch()
        assert server.wait() == 1
        assert f"is in use by process {process.pid}" in server.output.splitlines()[-1]
        process.terminate()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://", "DATABASE_URL names no user"),
        # The bundled psql has no TLS, and what is not this machine gets TLS only.
        (
            "postgresql://anna:hunter2@db.example/ledger",
            "connect to host db.example, port 5432, database ledger, user anna, with sslmode verify-full",
        ),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path, url: str, says: str) -> None:
    status, out, error = psql(tmp_path, DATABASE_URL=url, PATH=str(tmp_path))
    assert (status, out) == (1, "")
    assert error.startswith("onnx-ledger: ")
    assert error.count("\n") == 1
    assert says in error
    assert "hunter2" not in error


def test_all_that_database_url_says_goes_to_psql_by_its_environment() -> None:
    address = parse_database_url(
        "postgresql://anna:p%40ss@db.example:6432/ledger?sslrootcert=/certificates/ca.pem"
        "&options=-c%20search_path%3Dpredictions&channel_binding=require&target_session_attrs=read-write"
    )
    assert connection_environment(address) == {
        "PGHOST": "db.example",
        "PGPORT": "6432",
        "PGUSER": "anna",
        "PGPASSWORD": "p@ss",
        "PGDATABASE": "ledger",
        "PGOPTIONS": "-c search_path=predictions",
        "PGTARGETSESSIONATTRS": "read-write",
        "PGCHANNELBINDING": "require",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/certificates/ca.pem",
    }


def test_make_hands_its_args_to_psql_as_they_stand(tmp_path: Path, database_url: str) -> None:
    command = f"""{MAKE} psql ARGS='--csv -c "SELECT 1 AS two"'"""
    environment = {**os.environ, "DATABASE_URL": database_url, "LEDGER_HOME": str(tmp_path)}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "two\n1\n", "")
