"""Local servers: one that tests share, and some for one test alone."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.local_server import PROJECT, LocalServer, Serve


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that makes a server of the small project, by default in a new home folder."""
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
    """Return a running server of the small project, which must survive whatever a test does to it."""
    home = tmp_path_factory.mktemp("shared") / "home"
    environment = {"TEMPLATE": str(PROJECT / "template.yaml"), "ENVIRONMENTS": "2", "SECRET": "from the caller"}
    server = LocalServer(home, ALLOWED_HOSTS="api.example", **environment)
    try:
        yield server.start()
    finally:
        server.clean_up()


@pytest.fixture(scope="package")
def database_home() -> Iterator[Path]:
    """Return a home folder that tests use in turn, so that only the first of them has to make a database.

    Another server may run on it meanwhile, and do what is due for all servers of a database.
    """
    with _home() as home:
        yield home


@pytest.fixture
def own_home() -> Iterator[Path]:
    """Return a home folder that no other test's server uses."""
    with _home() as home:
        yield home


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    # Not in pytest's temporary folder: another run of pytest denies others access to that folder, and so denies it to
    # PostgreSQL's system user if we are root.
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-") as folder:
        yield Path(folder) / "home"


@pytest.fixture
def client(shared_server: LocalServer) -> Iterator[httpx.Client]:
    """Return a client of the shared server."""
    with httpx.Client(base_url=shared_server.address, timeout=60) as client:
        yield client
