"""Servers for the tests: one that all share, and one's own."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.local_server import PROJECT, LocalServer

Serve = Callable[..., LocalServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that makes a server of the small project, in a home of its own unless it is given one."""
    servers: list[LocalServer] = []

    def make(home: Path | None = None, **environment: str) -> LocalServer:
        environment = {"TEMPLATE": str(PROJECT / "template.yaml"), **environment}
        servers.append(LocalServer(home or tmp_path / f"home{len(servers)}", **environment))
        return servers[-1]

    yield make
    for server in servers:
        server.clean_up()


@pytest.fixture(scope="package")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Return a server of the small project that serves, and is to survive whatever a test does to it."""
    home = tmp_path_factory.mktemp("shared") / "home"
    server = LocalServer(home, TEMPLATE=str(PROJECT / "template.yaml"), ENVIRONMENTS="2", SECRET="from the caller")
    try:
        yield server.start()
    finally:
        server.clean_up()


@pytest.fixture(scope="package")
def database_home() -> Iterator[Path]:
    """Return a home for all tests that start a database, one after the other: only the first has to make it.

    It is not below pytest's own temporary folder: another run of pytest, as it begins, closes that folder to everybody
    else, and so to the user that PostgreSQL runs as where we are root.
    """
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-") as folder:
        yield Path(folder) / "home"


@pytest.fixture
def client(shared_server: LocalServer) -> Iterator[httpx.Client]:
    """Return a client of the shared server."""
    with httpx.Client(base_url=shared_server.address, timeout=10) as client:
        yield client
