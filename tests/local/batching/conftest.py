"""The application of the server that batches, with a real model and a real PostgreSQL, in an event loop of a thread."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from tests.support.batching_transport import BatchingTransport, Start
from tests.support.collector import Collector
from tests.support.database import Query
from tests.support.event_transport import forget_environment
from tests.support.repository import DIGIT, ROOT


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment variables of the functions, which a test may change before it starts an application."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MODEL", str(ROOT / "model_artifacts" / "mnist"))
    forget_environment()
    yield monkeypatch
    forget_environment()


@pytest.fixture
def start(environment: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start an application, and return a client of it."""
    assert environment is not None
    clients: list[httpx.Client] = []

    def started(**settings: Any) -> httpx.Client:
        transport = BatchingTransport(**settings)
        clients.append(httpx.Client(transport=transport, base_url="https://api.example"))
        assert clients[-1].get("/health").status_code == 200
        return clients[-1]

    yield started
    for client in clients:
        client.close()


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    """Ask the database itself, on a connection of its own."""
    connection = Connection(parse_database_url(database_url), longest=60)
    yield lambda sql, **parameters: connection.run(sql, parameters, keep=False)
    connection.close()


@pytest.fixture
def digit() -> bytes:
    """The sample image that the repository ships, a 7."""
    return DIGIT.read_bytes()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A receiver of traces."""
    with Collector() as collector:
        yield collector
