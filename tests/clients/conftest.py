"""The local server as its user runs it, and a Python for each client library."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.clients import ClientPython, ServeModel, python_with
from tests.support.local_server import LocalServer


@pytest.fixture(scope="module")
def serve_model() -> Iterator[ServeModel]:
    """Return a function that starts the local server for a model, once a module. Each has a database of its own.

    The folder is not in pytest's temporary folder, which PostgreSQL's system user cannot read if we are root.
    """
    servers: list[LocalServer] = []
    with TemporaryDirectory(prefix="onnx-ledger-") as folder:

        @cache
        def serve(model: Path, **settings: str) -> LocalServer:
            servers.append(LocalServer(Path(folder) / f"home-{len(servers)}", MODEL=str(model), **settings))
            return servers[-1].start()

        yield serve
        for server in servers:
            server.clean_up()


@pytest.fixture(scope="session")
def client_python() -> ClientPython:
    """Return a function that returns the Python of a virtual environment with a client library and nothing of ours.

    The environment is kept in a folder that git ignores, and made again when its requirements or our Python change.
    """
    return cache(python_with)
