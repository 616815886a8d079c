"""The whole project as its user runs it: `python -m local` with the real functions, models and database."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.local_server import LocalServer, Serve


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """What `SERVER` is; `tests.support.local_server.both_servers` runs a test with each."""
    return getattr(request, "param", "lambda")


@pytest.fixture
def serve(server: str) -> Iterator[Serve]:
    """Return a function that makes a server. All servers of a test share a home folder.

    The folder is not in pytest's temporary folder. Another run of pytest denies others access to that folder, and so
    denies it to PostgreSQL's system user if we are root.
    """
    servers: list[LocalServer] = []
    with TemporaryDirectory(prefix="onnx-ledger-") as folder:

        def make(**environment: str) -> LocalServer:
            servers.append(LocalServer(Path(folder) / "home", **{"SERVER": server, **environment}))
            return servers[-1]

        yield make
        for one in servers:
            one.clean_up()
