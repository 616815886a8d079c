"""An empty ledger for each test, and a proxy in front of its database."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from functions.shared.ledger.connection import Connection, parse_database_url
from functions.shared.ledger.ledger import Ledger
from tests.support.database_proxy import Proxy

Query = Callable[..., list[list[Any]]]


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    opened = Ledger.at(database_url)
    yield opened
    opened.close()


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    """Ask the database itself, on a connection of its own."""
    connection = Connection(parse_database_url(database_url))
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
    opened = Ledger.at(proxy.url)
    yield opened
    opened.close()


@pytest.fixture
def new_database(postgres: str) -> Iterator[Callable[[], str]]:
    """Make databases with nothing in them."""
    administrator = Connection(parse_database_url(postgres))
    with ExitStack() as stack:
        stack.callback(administrator.close)

        def make() -> str:
            name = f"test_{uuid4().hex}"
            administrator.run(f"CREATE DATABASE {name}", {}, keep=False)
            stack.callback(administrator.run, f"DROP DATABASE {name} WITH (FORCE)", {}, keep=False)
            return urlsplit(postgres)._replace(path=f"/{name}").geturl()

        yield make
