"""What `driver` takes from pg8000 undocumented still does what it did: each test has the name of a part of pg8000.

Where one of these fails after an upgrade, pg8000 has changed that part: read its release notes, and mend `driver`.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pg8000.core
import pg8000.native
import pytest
import scramp

from functions.shared.ledger import driver
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.login import close_socket, open_socket

_QUERY = b"Q\0\0\0\x0dSELECT 1\0"


@contextlib.contextmanager
def logged_in(url: str, kind: type[Any] = pg8000.native.Connection) -> Iterator[tuple[Any, socket.socket]]:
    address = parse_database_url(url)
    connected = open_socket(address)
    session = kind(
        address.user, database=address.database, password=address.password, ssl_context=False, sock=connected
    )
    try:
        yield session, connected
    finally:
        session.close()


def described(name: bytes, oid: int) -> bytes:
    """A RowDescription of one column."""
    return struct.pack("!h", 1) + name + b"\0" + struct.pack("!ihihih", 0, 0, oid, -1, -1, 0)


def test_core_context_holds_the_answer_to_a_statement() -> None:
    new = driver.Context("SELECT 1")
    known = driver.Context("SELECT 1", columns=[], input_funcs=[int])
    assert (new.rows, new.columns, new.input_funcs, new.error) == (None, None, [], None)
    assert (known.rows, known.columns, known.input_funcs, known.error) == ([], [], [int], None)


def test_native_to_statement_numbers_the_parameters_and_puts_their_values_in_order() -> None:
    text, values_in_order = driver.to_statement("SELECT :b::int, ':no', :a, :b")
    assert text == "SELECT $1::int, ':no', $2, $1"
    assert values_in_order({"a": 1, "b": 2}) == (2, 1)


def test_connection_message_types_handle_the_messages_of_a_statement(postgres: str) -> None:
    with logged_in(postgres) as (session, _):
        handlers = driver.message_handlers(session)
        context = driver.Context("SELECT 1")
        for code in (b"1", b"2", b"3", b"n"):  # ParseComplete, BindComplete, CloseComplete, NoData
            handlers[code](b"", context)
        handlers[b"T"](described(b"one", 23), context)
        assert [(column["name"], column["type_oid"]) for column in context.columns] == [("one", 23)]
        assert [convert("17") for convert in context.input_funcs] == [17]
        assert context.rows == []
        handlers[b"D"](struct.pack("!hi", 1, 2) + b"17", context)
        assert context.rows == [[17]]
        handlers[b"C"](b"SELECT 1\0", context)
        handlers[b"N"](b"SNOTICE\0Mlisten\0\0", context)
        handlers[b"S"](b"TimeZone\0UTC\0", context)
        assert session.parameter_statuses["TimeZone"] == "UTC"
        handlers[b"E"](b"SERROR\0C22012\0Mdivision by zero\0\0", context)
        assert driver.error_fields(context.error) == {"S": "ERROR", "C": "22012", "M": "division by zero"}


def test_connection_message_types_can_be_replaced(postgres: str) -> None:
    seen = []
    with logged_in(postgres) as (session, _):
        driver.message_handlers(session)[b"D"] = lambda data, _: seen.append(data)
        session.run("SELECT 17")
    assert seen == [struct.pack("!hi", 1, 2) + b"17"]


def test_connection_transaction_status_is_that_of_the_last_ready_for_query(postgres: str) -> None:
    with logged_in(postgres) as (session, _):
        assert driver.transaction_status(session) is None
        for statement, status in (("SELECT 1", b"I"), ("BEGIN", b"T"), ("ROLLBACK", b"I")):
            session.run(statement)
            assert driver.transaction_status(session) == status
        driver.message_handlers(session)[b"Z"](b"E", driver.Context(None))
        assert driver.transaction_status(session) == b"E"


def test_connection_sock_has_read_nothing_ahead_of_the_log_ins_end(postgres: str) -> None:
    with logged_in(postgres) as (_, connected):
        connected.sendall(_QUERY)
        assert connected.recv(1) == b"T"  # RowDescription: neither is it read already nor is anything before it


@pytest.mark.parametrize("kind", [pg8000.native.Connection, pg8000.dbapi.Connection])
def test_connection_handle_authentication_request_is_asked_at_log_in_and_auth_is_scramps(
    password_url: str, kind: type[Any]
) -> None:
    asked = []

    class Asked(kind):  # type: ignore[misc]
        def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: driver.Context) -> None:  # noqa: N802
            super().handle_AUTHENTICATION_REQUEST(data, context)
            asked.append((int.from_bytes(data[:4]), self.auth.mechanism_name))

    with logged_in(password_url, Asked):
        assert asked == [(code, "SCRAM-SHA-256") for code in (10, 11, 12, 0)]


def test_connection_parameter_statuses_say_whether_the_server_is_a_standby(postgres: str) -> None:
    with logged_in(postgres) as (session, _):
        assert session.parameter_statuses["in_hot_standby"] == "off"
        assert session.parameter_statuses["default_transaction_read_only"] == "off"


def test_database_error_carries_the_fields_of_the_refusal(postgres: str) -> None:
    with pytest.raises(driver.DatabaseError) as refused, logged_in(postgres) as (session, _):
        session.run("SELECT 1 / 0")
    assert driver.error_fields(refused.value)["C"] == "22012"
    assert driver.error_fields(pg8000.native.InterfaceError("network error")) == {"M": "network error"}


@pytest.mark.parametrize(
    ("answer", "raises"),
    [
        (b"", pg8000.native.InterfaceError),
        (b"R\0\0", pg8000.native.InterfaceError),
        (b"R\0\0\0\4", struct.error),
        (b"j\0\0\0\4", KeyError),
        (b"R\0\0\0\x0e" + b"\0\0\0\x0a" + b"NO\0\0\0\0", scramp.ScramException),
    ],
    ids=["hangs up", "hangs up within a message", "short message", "unknown message", "unknown mechanism"],
)
def test_what_logging_in_raises_is_what_broken_names(answer: bytes, raises: type[Exception]) -> None:
    ours, servers = socket.socketpair()
    with ours, servers:
        servers.sendall(answer)
        servers.shutdown(socket.SHUT_WR)
        with pytest.raises(raises) as raised:
            pg8000.native.Connection("anna", password="", ssl_context=False, sock=ours)
        close_socket(ours)  # closing it would wait for the file that pg8000 has over it
    assert isinstance(raised.value, driver.BROKEN)


def test_no_other_file_names_them() -> None:
    undocumented = ("pg8000.core", "_transaction_status", "message_types", "handle_AUTHENTICATION", "_usock")
    root = Path(__file__).parents[2]
    allowed = {Path(driver.__file__), Path(__file__)}
    files = [file for folder in ("functions", "infra", "local", "tests") for file in (root / folder).rglob("*.py")]
    assert [
        str(file.relative_to(root))
        for file in files
        if file not in allowed and any(name in file.read_text() for name in undocumented)
    ] == []
