"""An empty ledger for each test, and a proxy between the two."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.ledger import Ledger
from local.services.postgres import EmbeddedPostgres
from tests.support.database import Query
from tests.support.database_proxy import Proxy

_LONGEST = 60.0  # seconds for a statement of a test's own


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    opened = Ledger.at(database_url, longest=60)
    yield opened
    opened.close()


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    """Ask the database itself, on a connection of its own."""
    connection = Connection(parse_database_url(database_url), longest=_LONGEST)
    yield lambda sql, **parameters: connection.run(sql, parameters, keep=False)
    connection.close()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def proxy(database_url: str, short_folder: Path) -> Iterator[Proxy]:
    with Proxy(parse_database_url(database_url), short_folder) as running:
        yield running


@pytest.fixture
def proxied(proxy: Proxy) -> Iterator[Ledger]:
    """A ledger that reaches its database through `proxy`."""
    opened = Ledger.at(proxy.url, longest=60)
    yield opened
    opened.close()


@pytest.fixture
def new_database(postgres: str) -> Iterator[Callable[[], str]]:
    """Make databases with nothing in them."""
    administrator = Connection(parse_database_url(postgres), longest=_LONGEST)
    with ExitStack() as stack:
        stack.callback(administrator.close)

        def make() -> str:
            name = f"test_{uuid4().hex}"
            administrator.run(f"CREATE DATABASE {name}", {}, keep=False)
            stack.callback(administrator.run, f"DROP DATABASE {name} WITH (FORCE)", {}, keep=False)
            return urlsplit(postgres)._replace(path=f"/{name}").geturl()

        yield make


@pytest.fixture(scope="session")
def password_url() -> Iterator[str]:
    """DATABASE_URL of a server that asks for a password (SCRAM-SHA-256) over TCP, and has no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder), durable=False, listen="127.0.0.1", port=port) as server,
    ):
        yield server.tcp_url
