import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import LedgerUnavailableError
from local.services.postgres import EmbeddedPostgres, PostgresError, _last_line
from tests.support.waiting import soon

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[3]

# Starts PostgreSQL in argv[1], and prints each row's number after its commit.
OWNER = """
import sys
from pathlib import Path
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from local.services.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
connection = Connection(parse_database_url(server.start()), longest=60)
print(server.pid, flush=True)
connection.run("CREATE TABLE IF NOT EXISTS committed (n int)", {})
n = 0
while True:
    connection.run("INSERT INTO committed VALUES (:n)", {"n": n})
    print(n, flush=True)
    n += 1
"""


def ask(url: str, sql: str) -> list[list[object]]:
    connection = Connection(parse_database_url(url), longest=60)
    try:
        return connection.run(sql, {})
    finally:
        connection.close()


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """The folder of a cluster that each test starts and stops."""
    with TemporaryDirectory() as folder:
        with EmbeddedPostgres(Path(folder) / "postgres", durable=False):
            pass
        yield Path(folder) / "postgres"


@pytest.fixture
def owner(data: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], int]]]:
    """Return a function that starts a process which runs PostgreSQL, and returns it with the postmaster's id."""
    started = []

    def start() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(data)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_what_was_stored_is_there_after_a_restart(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        ask(server.url, "CREATE TABLE kept AS SELECT 7 AS n")
    with EmbeddedPostgres(data) as server:
        assert ask(server.url, "SELECT n FROM kept") == [[7]]


def test_it_stops_at_once_even_with_clients_connected(data: Path) -> None:
    server = EmbeddedPostgres(data)
    connection = Connection(parse_database_url(server.start()), longest=60)
    pid = server.pid
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 10
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert server.pid is None
    connection.close()


def test_commits_reach_the_disk_before_they_are_acknowledged(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert ask(server.url, f"SHOW {setting}") == [["on"]]


def test_every_acknowledged_row_survives_the_kill_of_server_and_postgresql(
    data: Path, owner: Callable[[], tuple[subprocess.Popen[str], int]]
) -> None:
    process, postmaster = owner()
    assert process.stdout is not None
    for _ in range(50):
        acknowledged = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    os.kill(postmaster, signal.SIGKILL)
    for line in process.stdout:
        acknowledged = int(line)
    with EmbeddedPostgres(data) as server:
        rows = [row[0] for row in ask(server.url, "SELECT n FROM committed ORDER BY n")]
    assert rows[: acknowledged + 1] == list(range(acknowledged + 1))
    assert len(rows) <= acknowledged + 2  # the last one may have been committed and not acknowledged


def test_it_ends_when_its_owner_is_killed_and_starts_again_at_once(
    data: Path, owner: Callable[[], tuple[subprocess.Popen[str], int]]
) -> None:
    process, postmaster = owner()
    process.kill()
    process.wait()
    with EmbeddedPostgres(data) as server:
        assert server.pid != postmaster
        assert soon(lambda: not psutil.pid_exists(postmaster))
        assert ask(server.url, "SELECT 1") == [[1]]


def test_one_whose_guard_was_killed_too_is_ended_by_the_next_start(
    data: Path, owner: Callable[[], tuple[subprocess.Popen[str], int]]
) -> None:
    process, postmaster = owner()
    guard = psutil.Process(postmaster).parent()
    assert guard is not None
    guard.kill()
    process.kill()
    process.wait()
    assert psutil.pid_exists(postmaster)
    with EmbeddedPostgres(data) as server:
        assert not psutil.pid_exists(postmaster)
        assert ask(server.url, "SELECT 1") == [[1]]


def test_the_next_start_asks_the_postmaster_alone_to_stop_and_no_process_below_it(
    data: Path, owner: Callable[[], tuple[subprocess.Popen[str], int]]
) -> None:
    # A checkpointer that is asked by itself writes the last checkpoint while sessions still commit: that lost rows. A
    # session that is asked by itself says that its statement was cancelled; the postmaster's sessions are terminated.
    process, postmaster = owner()
    guard = psutil.Process(postmaster).parent()
    assert guard is not None
    url = f"postgresql://ledger@/ledger?host={data / 'cluster'}"
    with ThreadPoolExecutor(1) as threads:
        session = threads.submit(ask, url, "SELECT pg_sleep(60)")
        assert soon(lambda: ask(url, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == [[1]])
        guard.kill()
        process.kill()
        process.wait()
        ended = pytest.raises(LedgerUnavailableError, match="terminating connection due to administrator command")
        with EmbeddedPostgres(data), ended:
            session.result(timeout=30)


@pytest.mark.parametrize(
    "full",
    ['FATAL:  could not extend file "base/1/2610": No space left on device', "[8413] HINT:  Check free disk space."],
)
def test_a_full_disk_is_what_is_said_to_have_failed(full: str) -> None:
    wrote = 'FATAL:  could not extend file "base/1/2691": wrote only 4096 of 8192 bytes at block 10'
    assert _last_line(f"{wrote}\n{full}\nPANIC:  cannot abort transaction 1\nAborted\n") == full


def test_data_in_use_is_refused_in_one_line_that_names_the_process(
    data: Path, owner: Callable[[], tuple[subprocess.Popen[str], int]]
) -> None:
    process, postmaster = owner()
    with pytest.raises(PostgresError, match=f"^the database in .* is in use by process {process.pid}$"):
        EmbeddedPostgres(data).start()
    assert psutil.pid_exists(postmaster)


def test_a_pid_file_whose_number_is_somebody_elses_by_now_is_stale(data: Path) -> None:
    with EmbeddedPostgres(data):
        left = (data / "cluster" / "postmaster.pid").read_text()
    _, _, rest = left.partition("\n")
    owner = (data / "cluster").stat()
    ids = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    stranger = subprocess.Popen(["sleep", "60"], **ids)  # type: ignore[call-overload]  # keyword arguments of Popen
    try:
        (data / "cluster" / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
        with EmbeddedPostgres(data) as server:
            assert ask(server.url, "SELECT 1") == [[1]]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_an_interrupted_first_start_has_left_is_in_nobodys_way() -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "cluster.unfinished").mkdir(mode=0o700)
        (Path(folder) / "cluster.unfinished" / "base").write_text("half a cluster")
        with EmbeddedPostgres(Path(folder), durable=False) as server:
            assert ask(server.url, "SELECT 1") == [[1]]
        assert not (Path(folder) / "cluster.unfinished").exists()


@pytest.fixture
def long(data: Path) -> Iterator[Path]:
    """Another path of the same folder, too long for a socket and with unusual characters."""
    name = data.parent / ("a long and winding road " * 5) / "é?&#%20"
    name.parent.mkdir()
    name.symlink_to(data)
    yield name
    name.unlink()
    name.parent.rmdir()


def test_a_path_that_is_too_long_for_a_socket_is_worked_around_and_cleaned_up(long: Path) -> None:
    server = EmbeddedPostgres(long)
    directory = Path(parse_database_url(server.start()).socket_directory or "")
    assert ask(server.url, "SELECT current_database()") == [["ledger"]]
    assert directory != long / "cluster"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    server.stop()
    assert not directory.exists()


def test_a_socket_folder_that_somebody_else_has_made_is_not_used(long: Path) -> None:
    with EmbeddedPostgres(long) as server:
        directory = Path(parse_database_url(server.url).socket_directory or "")
    directory.mkdir()
    directory.chmod(0o777)
    try:
        with pytest.raises(PostgresError, match="is not ours"):
            EmbeddedPostgres(long).start()
    finally:
        directory.rmdir()


def test_only_its_own_user_gets_at_data_and_socket(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        assert stat.S_IMODE((data / "cluster").stat().st_mode) == 0o700
        assert parse_database_url(server.url).socket_directory == str(data / "cluster")
        assert ask(server.superuser_url, "SHOW listen_addresses") == [[""]]


def test_the_ledgers_role_is_no_superuser(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        assert ask(server.url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [[False]]


def test_a_cluster_that_does_not_start_says_why_in_one_line_and_leaves_nothing_behind(data: Path) -> None:
    (data / "cluster" / "PG_VERSION").write_text("9.6\n")
    server = EmbeddedPostgres(data)
    with pytest.raises(PostgresError, match=r"FATAL: .*incompatible") as refused:
        server.start()
    assert "\n" not in str(refused.value)
    assert server.pid is None
    (data / "cluster" / "PG_VERSION").write_text("18\n")
    with server:
        assert ask(server.url, "SELECT 1") == [[1]]


def test_a_folder_that_cannot_be_made_says_so_in_one_line(data: Path) -> None:
    with pytest.raises(PostgresError, match="cannot be started in") as refused:
        EmbeddedPostgres(data / "postgres.log" / "below a file").start()
    assert "\n" not in str(refused.value)


def test_the_log_tells_of_errors_and_not_of_users_values(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        for wrong in ("SELECT 'of-a-user'::int", "INSERT INTO no_such_table VALUES ('of-a-user')"):
            with pytest.raises(Exception, match="SQLSTATE"):
                ask(server.url, wrong)
        log = server.log.read_text()
    assert "no_such_table" in log
    assert "STATEMENT" not in log


def test_told_to_listen_it_takes_connections_over_tcp_from_those_who_know_the_password(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with EmbeddedPostgres(data, listen="127.0.0.1", port=port) as server:
        assert ask(server.tcp_url, "SELECT current_user") == [["ledger"]]
        assert ask(server.url, "SELECT current_user") == [["ledger"]]
        for who in ("ledger", "ledger:guess"):
            with pytest.raises(LedgerUnavailableError, match="28P01"):
                ask(f"postgresql://{who}@127.0.0.1:{port}/ledger", "SELECT 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_root_opens_the_way_for_postgresql_alone_and_says_where(data: Path) -> None:
    locked = data.parent / "locked"
    locked.mkdir(mode=0o700)
    moved = data.rename(locked / "postgres")
    secret = locked / "secret"
    secret.write_text("")
    secret.chmod(0o644)
    try:
        with EmbeddedPostgres(moved) as server:
            assert any(f"may pass through {locked}, until: setfacl -b {locked}" in line for line in server.left_behind)
            assert ask(server.url, "SELECT 1") == [[1]]
            account = psutil.Process(server.pid).uids().real
            for command, user in ((["cat", str(secret)], "nobody"), (["ls", str(locked)], account)):
                tried = subprocess.run(command, user=user, extra_groups=[], capture_output=True, check=False)
                assert tried.returncode != 0
        with EmbeddedPostgres(moved) as server:
            assert server.left_behind == []
    finally:
        moved.rename(data)
