"""How the server starts, and that none of its processes runs after it has ended."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.local_server import PROJECT, LocalServer, Serve
from tests.support.waiting import soon

pytestmark = pytest.mark.server

# Seconds for all processes to end. An idle machine needs less than one. What would keep a server from ending lasts a
# minute.
SOON = 20.0

DATABASE = str(PROJECT / "database.yaml")
BROKEN = str(PROJECT / "broken.yaml")


def one_line(server: LocalServer) -> str:
    """Wait until a server has failed to start, and return the line that says why."""
    assert server.wait() == 1
    *progress, last = server.output.splitlines()
    assert last.startswith("onnx-ledger: ")
    assert not any("Traceback" in line or line.startswith(" ") for line in progress), server.output
    assert server.processes() == []
    return last.removeprefix("onnx-ledger: ")


def begin_to_sleep(server: LocalServer, seconds: float) -> socket.socket:
    """Send a request whose function sleeps, and return its connection once it does."""
    url = httpx.URL(server.address)
    begins = server.home.with_name(f"{server.home.name}.begins")
    connection = socket.create_connection((url.host, url.port))
    request = f"GET /sleep?seconds={seconds:g}&begins={begins} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connection.sendall(request.encode())
    assert soon(begins.exists)
    return connection


def hang(server: LocalServer) -> socket.socket:
    """Send a request whose function never returns, and return its connection."""
    return begin_to_sleep(server, 60)


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_leaves_no_process_and_is_no_error(serve: Serve, number: signal.Signals) -> None:
    server = serve().start()
    assert len(server.processes()) == 4  # itself and three functions
    began = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - began < SOON
    assert server.processes() == []
    assert server.output.endswith("stopping\nstopped\n")


def test_under_nohup_it_outlives_its_terminal(serve: Serve) -> None:
    server = serve().launch(under_nohup=True)
    server.wait_for("ready on")
    server.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(0.5)
    assert server.stop(signal.SIGTERM) == 0


def test_ctrl_c_reaches_the_whole_group_and_twice_is_no_worse_than_once(serve: Serve, database_home: Path) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).start()
    for _ in range(3):
        os.killpg(server.process.pid, signal.SIGINT)
        time.sleep(0.05)
    assert server.wait() == 0
    assert server.processes() == []
    assert "Traceback" not in server.output


def test_a_request_under_way_is_answered_before_the_end(serve: Serve) -> None:
    server = serve().start()
    with begin_to_sleep(server, 1) as connection:
        os.killpg(server.process.pid, signal.SIGINT)  # as a terminal does; the functions must not get it
        assert server.wait() == 0
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_request_that_never_ends_does_not_keep_the_server_from_ending(serve: Serve) -> None:
    server = serve().start()
    url = httpx.URL(server.address)
    with hang(server) as hanging, socket.create_connection((url.host, url.port)) as incomplete:
        incomplete.sendall(b"POST /behave HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < SOON
        assert hanging.recv(65536).startswith(b"HTTP/1.1 500 ")
    assert server.processes() == []
    assert "Traceback" not in server.output


def test_kill_9_of_the_server_leaves_no_process(serve: Serve, database_home: Path) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).start()
    assert any(is_postmaster(process) for process in server.processes())
    server.stop(signal.SIGKILL)
    assert server.wait_until_gone(SOON) == []


def test_kill_9_of_the_server_ends_a_function_that_is_busy(serve: Serve) -> None:
    server = serve().start()
    with hang(server):
        server.stop(signal.SIGKILL)
        assert server.wait_until_gone(SOON) == []


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2, 0.4, 0.8])
def test_a_request_to_stop_while_it_starts_leaves_no_process(serve: Serve, database_home: Path, seconds: float) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).launch()
    time.sleep(seconds)
    began = time.monotonic()
    # The signal itself ends a Python that has not yet run our first line.
    assert server.stop(signal.SIGTERM) in {0, -signal.SIGTERM}
    assert time.monotonic() - began < SOON
    assert server.processes() == []


# --- starting, and failing to ----------------------------------------------------------------------------------------


def test_a_taken_port_is_one_line_that_says_what_to_do(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = one_line(serve(PORT=str(port)).launch())
    assert line == f"port {port} on 127.0.0.1 is in use: set PORT to another port, or stop the program that uses it"


def test_a_second_server_in_the_same_home_is_refused_in_one_line(serve: Serve) -> None:
    first = serve().start()
    line = one_line(serve(home=first.home, HOST="127.0.0.2").launch())
    assert line.startswith(f"another server uses {first.home}: stop it, or set LEDGER_HOME to another folder")
    assert httpx.get(f"{first.address}/echo").status_code == 200


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("PORT", "http", "PORT='http': it must be a whole number from 0 to 65535"),
        ("ENVIRONMENTS", "0", "ENVIRONMENTS='0': it must be a whole number from 1 to 64"),
        ("AUTH", "yes", "AUTH='yes': it must be off or on"),
        ("HOST", "192.0.2.1", "HOST=192.0.2.1: this machine does not have that address"),
        ("HOST", "no such host", "HOST=no such host: no such address"),
        ("LEDGER_HOME", "/dev/null/x", "LEDGER_HOME=/dev/null/x: Not a directory"),
        ("TEMPLATE", "/nowhere.yaml", "/nowhere.yaml: No such file or directory"),
    ],
)
def test_a_setting_that_cannot_be_had_is_one_line_that_names_it(
    serve: Serve, variable: str, value: str, line: str
) -> None:
    assert one_line(serve(**{variable: value}).launch()).startswith(line)


def test_a_database_that_refuses_is_one_line_without_the_password(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    server = serve(TEMPLATE=DATABASE, DATABASE_URL=f"postgresql://anna:secret@127.0.0.1:{port}/ledger")
    assert "the database cannot be reached" in one_line(server.launch())
    assert "secret" not in server.output


def test_a_database_url_that_is_none_is_one_line_without_the_password(serve: Serve) -> None:
    server = serve(TEMPLATE=DATABASE, DATABASE_URL="mysql://anna:secret@db/ledger")
    assert "DATABASE_URL" in one_line(server.launch())
    assert "secret" not in server.output


def test_a_function_that_cannot_be_imported_is_one_line_and_the_traceback_is_in_the_log(serve: Serve) -> None:
    server = serve(TEMPLATE=BROKEN).launch()
    line = one_line(server)
    assert line.startswith("Broken cannot start: RuntimeError: the model has 9 labels and 10 outputs (more in ")
    assert "Traceback" in server.functions_log


def test_a_function_whose_process_ends_while_it_is_imported_is_one_line(serve: Serve) -> None:
    line = one_line(serve(TEMPLATE=BROKEN, BROKEN_HOW="exit").launch())
    assert "Broken cannot start: its process exited with status 7" in line


def test_a_function_that_cannot_start_any_more_fails_its_requests_and_recovers(serve: Serve, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    server = serve(TEMPLATE=BROKEN, BROKEN=str(broken)).start()
    broken.touch()
    with httpx.Client(base_url=server.address) as client:
        assert client.get("/broken").status_code == 500  # its process ends, and no other starts
        assert client.get("/broken").status_code == 500
        server.wait_for("Broken cannot start: RuntimeError")
        assert client.get("/echo").status_code == 200
        broken.unlink()
        assert client.get("/broken").status_code == 500  # it starts again, and ends again
    assert server.output.count("Broken: the process ended") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_log_line_that_cannot_be_written_ends_no_request_and_no_environment(serve: Serve) -> None:
    server = serve(ENVIRONMENTS="1")
    logs = server.home / "logs"
    logs.mkdir(parents=True)
    (logs / "functions.log").symlink_to("/dev/full")
    server.start()
    with httpx.Client(base_url=server.address) as client:
        assert client.post("/behave", json={"do": "write"}).status_code == 200
        assert client.post("/behave", json={"do": "raise", "message": "as asked"}).status_code == 500
        assert client.post("/behave", json={"do": "write"}).status_code == 200
    assert "Behave: ValueError: as asked" in server.output
    assert "a new one starts" not in server.output


# --- the database ----------------------------------------------------------------------------------------------------


def test_the_embedded_database_is_started_migrated_and_told_to_functions(serve: Serve, database_home: Path) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).start()
    environment = httpx.get(f"{server.address}/echo").json()["environment"]
    assert str(server.home) in environment["DATABASE_URL"]
    assert "schema" in server.output
    assert server.stop() == 0


def test_a_database_that_ends_is_started_again(serve: Serve, database_home: Path) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).start()
    (postmaster,) = [process for process in server.processes() if is_postmaster(process)]
    postmaster.kill()
    server.wait_for(r"PostgreSQL in \S+ has ended and is restarted")
    until = time.monotonic() + 60
    while not (another := [process for process in server.processes() if is_postmaster(process)]):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert another != [postmaster]
    assert server.stop() == 0
    assert server.processes() == []


@contextmanager
def killed_and_unable_to_start(server: LocalServer, database_home: Path) -> Iterator[None]:
    """Kill the server's PostgreSQL, which does not start again within the block."""
    version = database_home / "postgres" / "cluster" / "PG_VERSION"
    (postmaster,) = [process for process in server.processes() if is_postmaster(process)]
    version.rename(version.with_name("hidden"))
    try:
        postmaster.kill()
        yield
    finally:
        version.with_name("hidden").rename(version)


def test_a_database_that_does_not_start_again_at_once_is_tried_until_it_does(serve: Serve, database_home: Path) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).start()
    with killed_and_unable_to_start(server, database_home):
        server.wait_for(r"PostgreSQL does not start in .*; the next attempt is in 1 s")
    server.wait_for(r"PostgreSQL in \S+ runs again")
    assert httpx.get(f"{server.address}/echo").status_code == 200
    assert server.stop() == 0


def test_ctrl_c_ends_a_server_whose_database_does_not_start(serve: Serve, database_home: Path) -> None:
    server = serve(database_home, TEMPLATE=DATABASE).start()
    with killed_and_unable_to_start(server, database_home):
        server.wait_for("the next attempt is in 2 s")
        assert server.stop() == 0
    assert server.processes() == []


def is_postmaster(process: psutil.Process) -> bool:
    """Tell whether a process is the one that starts the others: for a moment, each of them has the same command."""
    try:
        parent = process.parent()
        is_child = parent is not None and parent.name() == "postgres"
        return process.name() == "postgres" and "-D" in process.cmdline() and not is_child
    except psutil.NoSuchProcess:
        return False
