"""The whole project as its user runs it: `python -m local` with the real functions, models and database."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.local_server import LocalServer

Serve = Callable[..., LocalServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that makes a server, in one home for the whole test."""
    servers: list[LocalServer] = []

    def make(**environment: str) -> LocalServer:
        servers.append(LocalServer(tmp_path / "home", **environment))
        return servers[-1]

    yield make
    for server in servers:
        server.clean_up()
