"""The systems under test: `python -m local` with the real functions, and several ways to the database."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from urllib.parse import quote

import boto3
import psutil

from functions.shared.ledger.database_url import parse_database_url
from local.services.postgres import EmbeddedPostgres
from local.services.process_guard import GuardedProcess
from tests.faults.account import Account
from tests.support.database_proxy import Proxy
from tests.support.faulty_proxy import FaultyProxy
from tests.support.local_server import LocalServer
from tests.support.pgbouncer import PGBOUNCER, PORT, PgBouncer
from tests.support.repository import ROOT
from tests.support.tls import certificate

CLIENTS = 4
"""How many requests are under way at a time: each has an execution environment to itself."""

QUEUED = 8
"""How many inputs may wait in a process of the batching server: few, so that it is overloaded at once."""

STOP_SECONDS = 5
"""Seconds in which the batching server has to answer what it has taken, and stop."""

_PATIENCE = 180.0  # seconds
_DISK = 700 << 20  # bytes, for a database that may keep 512 MB of write-ahead log, and the rows of a round of faults
# A worker that was killed holds its predictions for its own time and the queue's: here seconds instead of minutes.
_SHORTER = (
    ("VisibilityTimeout: 370", "VisibilityTimeout: 6"),
    ("Timeout: 60", "Timeout: 5"),
    ("rate(1 hour)", "rate(1 minute)"),
    ('PROCESSING_SECONDS: "900"', 'PROCESSING_SECONDS: "120"'),
    ('QUEUED_SECONDS: "900"', 'QUEUED_SECONDS: "20"'),
)
_AWS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "us-east-1"}
_BUCKET = "inputs"


@dataclass
class System:
    """A running server, and all that can be made to fail in it."""

    server: LocalServer
    temporary: Path
    """The server's folder for temporary files."""

    database_url: str
    """The database, past every proxy."""

    database: FaultyProxy | None = None
    """Between the functions and the database."""

    storage: FaultyProxy | None = None
    """Between the functions and S3."""

    pooler: PgBouncer | None = None
    postgres: EmbeddedPostgres | None = None
    disk: Path | None = None
    """A small file system that holds all that the server writes; None if none can be mounted."""

    leases: bool = False
    """Whether what a killed process was at in the queue is predicted only a minute later."""

    account: Account | None = None
    """Where a fault that sends requests itself notes them."""

    objects: Callable[[], dict[str, bytes]] = field(default=dict)
    """Returns what is in S3, by URI."""

    def grow_disk(self) -> None:
        """Give the disk as much free space as it had at first: the rows of an hour would fill it."""
        assert self.disk is not None
        about = os.statvfs(self.disk)
        size = _DISK + (about.f_blocks - about.f_bfree) * about.f_frsize
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.disk)], check=True)

    def postmaster(self) -> psutil.Process | None:
        """Return the process of the embedded PostgreSQL that started the others.

        Its file names it. A session's process has the same command for a moment, and may have a smaller id.
        """
        data = self.postgres.data if self.postgres is not None else self.server.home / "postgres"
        try:
            own = (data / "cluster" / "postmaster.pid").read_text().partition("\n")[0]
        except FileNotFoundError:
            return None
        return next((one for one in self.postgres_processes() if str(one.pid) == own), None)

    def postgres_processes(self) -> list[psutil.Process]:
        """Return the processes of the embedded PostgreSQL."""
        folder = self.postgres.data if self.postgres is not None else self.server.home
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error, OSError):
                if process.name().startswith("postgres") and Path(process.cwd()).is_relative_to(folder):
                    found.append(process)
        return found

    def processes(self, module: str) -> list[psutil.Process]:
        """Return the server's processes whose command names a module."""
        return [one for one in self.server.processes() if any(part.startswith(module) for part in _command(one))]

    def workers(self) -> list[psutil.Process]:
        """Return the processes of the batching server that predict."""
        return [one for one in self.server.processes() if any("spawn_main" in part for part in _command(one))]

    def restarts(self) -> int:
        """Return how many services were started again so far."""
        return len(re.findall("runs again", self.server.output))

    def wait_for_restart(self, before: int) -> None:
        """Wait until a service has started again after there were so many."""
        try:
            wait_until(lambda: self.restarts() > before, "a service to be started again")
        except TimeoutError as error:
            error.add_note(self.server.output)
            raise

    def wait_for_database(self) -> None:
        """Wait until the database takes connections."""
        wait_until(lambda: _accepts(self.database_url), "the database")


def wait_until(happens: Callable[[], bool], what: str) -> None:
    """Wait for something.

    Raises
    ------
    TimeoutError
        If it does not happen within three minutes.
    """
    until = time.monotonic() + _PATIENCE
    while not happens():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {_PATIENCE:g} s for {what}")
        time.sleep(0.05)


def _accepts(database_url: str) -> bool:
    from functions.shared.ledger.connection import Connection
    from functions.shared.ledger.errors import LedgerError

    try:
        Connection(parse_database_url(database_url)).close()
    except LedgerError:
        return False
    return True


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _project(folder: Path, receives: int) -> Path:
    """Make a project with the functions of this one, and return its template: with shorter times for the worker."""
    project = folder / "project"
    project.mkdir()
    for name in ("functions", "model_artifacts"):
        (project / name).symlink_to(ROOT / name)
    text = (ROOT / "template.yaml").read_text()
    for longer, shorter in (*_SHORTER, ("maxReceiveCount: 5", f"maxReceiveCount: {receives}")):
        assert longer in text, longer
        text = text.replace(longer, shorter, 1)  # the worker's comes before the sweep's
    (project / "template.yaml").write_text(text)
    return project / "template.yaml"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="onnx-ledger-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _started(folder: Path, receives: int, **environment: str) -> Iterator[LocalServer]:
    """Start the server. A message is given up after so many deliveries."""
    template = _project(folder, receives)
    temporary = folder / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)  # PostgreSQL runs as another user where the server is started by root
    settings = {
        "TEMPLATE": str(template),
        "ENVIRONMENTS": str(CLIENTS),
        "TMPDIR": str(temporary),
        **environment,
    }
    server = LocalServer(folder / "home", **settings)
    try:
        server.start()
        yield server
        status = server.stop()
        assert status == 0, server.output
        assert server.wait_until_gone(60) == [], "a process outlives the server"
    finally:
        server.clean_up()


@contextlib.contextmanager
def embedded(receives: int) -> Iterator[System]:
    """Run the server with the database and the queue that it starts itself."""
    with _folder() as folder, contextlib.ExitStack() as cleanup:
        home = folder / "home"
        home.mkdir()
        disk = None
        mounted = os.geteuid() == 0 and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "none", str(home)], check=False
        )
        if mounted and mounted.returncode == 0:
            disk = home
            cleanup.callback(subprocess.run, ["umount", "--lazy", str(home)], check=False)
        server = cleanup.enter_context(_started(folder, receives))
        url = EmbeddedPostgres(home / "postgres").running_url()
        assert url is not None
        yield System(server, folder / "tmp", url, disk=disk)


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[EmbeddedPostgres]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with EmbeddedPostgres(folder / "postgres", listen="127.0.0.1", port=port) as postgres:
        yield postgres


@contextlib.contextmanager
def proxied(receives: int) -> Iterator[System]:
    """Run the server with a proxy before the database, and another before S3, which holds the inputs."""
    with _folder() as folder, _database(folder) as postgres, _storage(folder) as port:
        address = parse_database_url(postgres.tcp_url + "?sslmode=disable")
        with FaultyProxy(("127.0.0.1", address.port)) as database, FaultyProxy(("127.0.0.1", port)) as storage:
            url = f"{postgres.tcp_url}?sslmode=disable".replace(f":{address.port}/", f":{database.port}/")
            s3 = boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name=_AWS["AWS_REGION"],
                aws_access_key_id="local",
                aws_secret_access_key="local",
            )
            s3.create_bucket(Bucket=_BUCKET)

            def objects() -> dict[str, bytes]:
                pages = s3.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET)
                keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
                return {f"s3://{_BUCKET}/{key}": s3.get_object(Bucket=_BUCKET, Key=key)["Body"].read() for key in keys}

            s3_url = f"http://127.0.0.1:{storage.port}"
            with _started(
                folder, receives, DATABASE_URL=url, INPUTS_BUCKET=_BUCKET, AWS_ENDPOINT_URL_S3=s3_url, **_AWS
            ) as server:
                yield System(
                    server,
                    folder / "tmp",
                    postgres.url,
                    database=database,
                    storage=storage,
                    postgres=postgres,
                    objects=objects,
                )


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = cast("int", free.getsockname()[1])
    with (folder / "moto.log").open("wb") as log:
        moto = GuardedProcess([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    with moto:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "moto")
        yield port


@contextlib.contextmanager
def encrypted(receives: int) -> Iterator[System]:
    """Run the server with TLS between it and the database, and a proxy that forwards the encrypted bytes."""
    with _folder() as folder, _database(folder) as postgres:
        context, authority = certificate(folder, "localhost")
        with Proxy(parse_database_url(postgres.url), folder, tls=context) as terminator:
            tls_port = parse_database_url(terminator.url).port
            with FaultyProxy(("127.0.0.1", tls_port)) as database:
                url = f"postgresql://ledger@localhost:{database.port}/ledger?sslmode=verify-full&sslrootcert={quote(str(authority))}"
                with _started(folder, receives, DATABASE_URL=url) as server:
                    yield System(server, folder / "tmp", postgres.url, database=database, postgres=postgres)


@contextlib.contextmanager
def pooled(receives: int) -> Iterator[System | None]:
    """Run the server with PgBouncer in transaction mode before the database; None where there is no PgBouncer."""
    if PGBOUNCER is None:
        yield None
        return
    with _folder() as folder, _database(folder) as postgres:
        folder.chmod(0o711)
        place = folder / "pgbouncer"
        place.mkdir()
        url = f"postgresql://anna@/ledger?host={quote(str(place))}&port={PORT}&pooler=transaction"
        with PgBouncer(postgres.url, place) as pooler, _started(folder, receives, DATABASE_URL=url) as server:
            yield System(server, folder / "tmp", postgres.url, pooler=pooler, postgres=postgres)


_BATCHING = {
    "SERVER": "batching",
    "WORKERS": "2",
    "MAX_QUEUED_INPUTS": str(QUEUED),
    "STOP_SECONDS": str(STOP_SECONDS),
}


@contextlib.contextmanager
def batching(receives: int) -> Iterator[System]:
    """Run the batching server with the database that it starts itself, on a port that it keeps when it starts again."""
    with _folder() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with _started(folder, receives, **_BATCHING, PORT=str(port)) as server:
            url = EmbeddedPostgres(folder / "home" / "postgres").running_url()
            assert url is not None
            yield System(server, folder / "tmp", url, leases=True)


@contextlib.contextmanager
def proxied_batching(receives: int) -> Iterator[System]:
    """Run the batching server with a proxy before the database."""
    with _folder() as folder, _database(folder) as postgres:
        address = parse_database_url(postgres.tcp_url)
        with FaultyProxy(("127.0.0.1", address.port)) as database:
            url = f"{postgres.tcp_url}?sslmode=disable".replace(f":{address.port}/", f":{database.port}/")
            with _started(folder, receives, **_BATCHING, DATABASE_URL=url) as server:
                yield System(server, folder / "tmp", postgres.url, database=database, postgres=postgres, leases=True)
