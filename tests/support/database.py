"""Queries that go to the database directly, past the ledger."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url

Query = Callable[..., list[list[Any]]]
"""Runs a statement with named parameters, and returns its rows."""


def in_database(url: str, database: str, user: str | None = None) -> str:
    """Return the URL of another database on the same server, as another user if one is named."""
    parts = urlsplit(url)
    netloc = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


@contextmanager
def connected(url: str) -> Iterator[Query]:
    """Ask a database on a connection of its own."""
    connection = Connection(parse_database_url(url), longest=60)
    try:
        yield lambda sql, **values: connection.run(sql, values, keep=False)
    finally:
        connection.close()


def run(url: str, *statements: str) -> list[list[object]]:
    """Run statements in a transaction each, and return the rows of the last."""
    with connected(url) as query:
        return [query(statement) for statement in statements][-1]


def inputs(database_url: str) -> list[list[Any]]:
    """Return the row of each input."""
    connection = Connection(parse_database_url(database_url), longest=60)
    rows = connection.run("SELECT uri, content, size, encode(sha256, 'hex') FROM inputs", {})
    connection.close()
    return rows


def predictions(database_url: str) -> int:
    """Return the number of predictions."""
    connection = Connection(parse_database_url(database_url), longest=60)
    [[count]] = connection.run("SELECT count(*) FROM predictions", {})
    connection.close()
    return int(count)
