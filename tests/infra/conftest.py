"""A database for a test to break, and a bucket of CloudFormation's that keeps the answers it gets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url

_numbers = count(1)


def in_database(url: str, database: str, user: str | None = None) -> str:
    """Return the URL of another database on the same server, as another user where one is named."""
    parts = urlsplit(url)
    netloc = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


def run(url: str, *statements: str) -> list[list[object]]:
    """Run statements, one transaction each; return the rows of the last."""
    connection = Connection(parse_database_url(url))
    try:
        rows = [connection.run(statement, {}) for statement in statements]
    finally:
        connection.close()
    return rows[-1]


@pytest.fixture
def owner_url(postgres: str) -> str:
    """DATABASE_URL of an empty database that belongs to `ledger_owner`, who has the rights of a master user on RDS."""
    if not run(postgres, "SELECT 1 FROM pg_roles WHERE rolname = 'ledger_owner'"):
        run(
            postgres,
            "CREATE ROLE rds_iam NOLOGIN",
            "CREATE ROLE ledger_owner LOGIN CREATEROLE CREATEDB",
            "GRANT rds_iam TO ledger_owner WITH ADMIN OPTION",
        )
    name = f"migrated_{next(_numbers)}"
    run(postgres, f"CREATE DATABASE {name} OWNER ledger_owner")
    return in_database(postgres, name, "ledger_owner")


@dataclass
class CloudFormation:
    """Where answers are sent.

    Attributes
    ----------
    url
        The presigned URL.
    answers
        Bodies that arrived.
    contenttypes
        Their content types.
    refusals
        So many requests are answered 503 first.
    """

    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    contenttypes: list[str | None] = field(default_factory=list)
    refusals: int = 0


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    """A server on this machine in place of the bucket."""
    kept = CloudFormation()

    class Bucket(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if kept.refusals:
                kept.refusals -= 1
                self.send_error(503)
                return
            kept.answers.append(body)
            kept.contenttypes.append(self.headers["Content-Type"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}/answer?signature=abc"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield kept
        server.shutdown()
        thread.join()
