import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions.shared.ledger import login
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import (
    LedgerNotMigratedError,
    LedgerUnavailableError,
    StatementInterruptedError,
    StatementRefusedError,
    UnstorableValueError,
)
from functions.shared.ledger.identifiers import new_id
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.waiting import soon


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    opened = Connection(parse_database_url(database_url))
    yield opened
    opened.close()


@pytest.mark.parametrize("again", [False, True], ids=["first run", "later run"])
def test_values_come_back_as_they_went_in(connection: Connection, again: bool) -> None:
    sql = """SELECT :text::text, :bytes::bytea, :id::uuid, :int::bigint, :float::float8, :yes::bool, :none::text,
                    :json::json, (:moment::timestamptz)::text"""
    identifier = new_id()
    moment = datetime(2026, 11, 22, 10, 38, 1, 123456, UTC)
    values = {
        "text": "'; DROP TABLE predictions; -- \\ é 漢 🙂 :name $1",
        "bytes": bytes(range(256)),
        "id": identifier,
        "int": -(2**63),
        "float": 0.1 + 0.2,
        "yes": True,
        "none": None,
        "json": '{"b": [1.5], "a": null}',
        "moment": moment,
    }
    if again:
        connection.run(sql, values)
    (row,) = connection.run(sql, values)
    assert row[:7] == list(values.values())[:7]
    assert row[7] == {"b": [1.5], "a": None}
    assert row[8] == "2026-11-22 10:38:01.123456+00"


def test_a_megabyte_of_bytes_takes_a_megabyte_on_the_wire(connection: Connection) -> None:
    million = bytes(range(256)) * 4096
    for _ in range(2):
        assert connection.run("SELECT :content::bytea", {"content": million}) == [[million]]


def test_a_statement_takes_one_round_trip_the_first_time_too(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(proxy.url))
    for _ in range(3):
        with proxy.counted(1):
            opened.run("SELECT :x::int", {"x": 1})
    opened.close()


def test_a_statement_takes_one_round_trip_where_nothing_may_be_prepared(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(f"{proxy.url}&pooler=transaction"))
    for _ in range(3):
        with proxy.counted(1):
            opened.run("SELECT :x::int", {"x": 1})
    assert opened.run("SELECT count(*) FROM pg_prepared_statements", {}) == [[0]]
    opened.close()


def test_a_statement_that_depends_on_its_values_is_not_kept(connection: Connection) -> None:
    connection.run("SELECT :x::int", {"x": 1}, keep=False)
    assert connection.run("SELECT count(*) FROM pg_prepared_statements", {}, keep=False) == [[0]]


def test_a_statement_that_was_refused_the_first_time_can_be_run_again(connection: Connection) -> None:
    with pytest.raises(UnstorableValueError):
        connection.run("SELECT 1 / :x::int", {"x": 0})
    connection.run("SELECT :y::text", {"y": "another one in between"})
    assert connection.run("SELECT 1 / :x::int", {"x": 1}) == [[1]]
    assert connection.is_usable()


@pytest.fixture
def widening(proxy: Proxy, query: Query) -> Iterator[Connection]:
    """A connection with two prepared statements about a table, one of whose columns is then widened."""
    query("CREATE TABLE counts (count int, unit text)")
    query("INSERT INTO counts VALUES (7, 'mm')")
    opened = Connection(parse_database_url(proxy.url))
    for _ in range(2):
        assert opened.run(COUNT, {}) == [[7]]
        assert opened.run(UNIT, {}) == [["mm"]]
    query("ALTER TABLE counts ALTER COLUMN count TYPE bigint")
    yield opened
    opened.close()
    query("DROP TABLE counts")


COUNT, UNIT = "SELECT count FROM counts", "SELECT unit FROM counts"


def test_a_statement_whose_column_was_widened_is_prepared_anew(widening: Connection, proxy: Proxy) -> None:
    for round_trips in (2, 1):
        with proxy.counted(round_trips):
            assert widening.run(COUNT, {}) == [[7]]
        with proxy.counted(1):
            assert widening.run(UNIT, {}) == [["mm"]]
    assert widening.is_usable()


def test_a_widened_column_takes_what_its_former_type_could_not_hold(widening: Connection, query: Query) -> None:
    insert = "INSERT INTO counts (count) VALUES (:count)"
    query("ALTER TABLE counts ALTER COLUMN count TYPE int")
    widening.run(insert, {"count": 1})
    query("ALTER TABLE counts ALTER COLUMN count TYPE bigint")
    widening.run(insert, {"count": 2**40})
    assert query("SELECT count FROM counts ORDER BY count") == [[1], [7], [2**40]]


def test_a_statement_is_prepared_anew_once_and_not_for_ever(proxy: Proxy) -> None:
    with closing(Connection(parse_database_url(proxy.url))) as opened:
        opened.run("SELECT :x::int", {"x": 1})
        with proxy.counted(2), pytest.raises(UnstorableValueError, match="22003"):
            opened.run("SELECT :x::int", {"x": 2**40})
        assert opened.run("SELECT :x::int", {"x": 2}) == [[2]]


def test_a_statement_that_the_server_no_longer_has_is_prepared_anew(connection: Connection) -> None:
    for _ in range(3):
        assert connection.run("SELECT :x::int", {"x": 1}) == [[1]]
        connection.run("DEALLOCATE ALL", {}, keep=False)


def test_inside_a_transaction_an_outdated_statement_is_refused_as_what_it_is(widening: Connection) -> None:
    widening.run("BEGIN", {}, keep=False)
    with pytest.raises(StatementRefusedError) as refused:
        widening.run(COUNT, {})
    assert refused.value.sqlstate == "0A000"


def test_a_closed_connection_is_gone_at_once(database_url: str, query: Query) -> None:
    opened = Connection(parse_database_url(database_url))
    ((backend,),) = opened.run("SELECT pg_backend_pid()", {})
    descriptor = opened._socket.fileno()
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert soon(lambda: not query("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=backend))
    opened.close()
    assert not opened.is_usable()


def test_a_connection_that_broke_is_gone_at_once_when_it_is_closed(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(proxy.url))
    descriptor = opened._socket.fileno()
    proxy.next_flights(Fate.REPLY_LOST)
    with pytest.raises(StatementInterruptedError) as interrupted:
        opened.run("SELECT 1", {})
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert interrupted


def test_a_violated_constraint_is_named(connection: Connection) -> None:
    with pytest.raises(StatementRefusedError) as refused:
        connection.run(
            "INSERT INTO inputs (input_id, size, sha256, contenttype) VALUES (:id, 0, :sha256, 'image/png')",
            {"id": new_id(), "sha256": bytes(32)},
        )
    assert (refused.value.sqlstate, refused.value.constraint) == ("23514", "inputs_complete")
    assert connection.is_usable()


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "lone surrogate"])
def test_a_text_that_postgresql_cannot_hold_is_refused_and_the_connection_stays(
    connection: Connection, text: str
) -> None:
    with pytest.raises(UnstorableValueError):
        connection.run("SELECT :text::text", {"text": text})
    assert connection.is_usable()


def test_a_missing_table_says_that_the_migrations_have_to_be_run(new_database: Callable[[], str]) -> None:
    opened = Connection(parse_database_url(new_database()))
    with pytest.raises(LedgerNotMigratedError, match=r"python -m infra\.migrations upgrade"):
        opened.run("SELECT * FROM predictions", {})
    opened.close()


def test_a_statement_that_takes_too_long_is_given_up_and_the_connection_stays(connection: Connection) -> None:
    connection.run("SET statement_timeout = '50ms'", {})
    with pytest.raises(LedgerUnavailableError, match="57014"):
        connection.run("SELECT pg_sleep(5)", {})
    assert connection.is_usable()


def test_a_transaction_that_takes_too_long_is_given_up_and_has_done_nothing(connection: Connection) -> None:
    connection.run("SET transaction_timeout = '50ms'", {})
    with pytest.raises(LedgerUnavailableError, match="25P04") as given_up:
        connection.run("SELECT pg_sleep(5)", {})
    assert not given_up.value.in_doubt
    assert not connection.is_usable()


def test_the_server_gives_a_statement_up_before_the_client_gives_the_server_up(connection: Connection) -> None:
    ((timeout,),) = connection.run(
        "SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'statement_timeout'", {}
    )
    assert 0 < timeout < login.LONGEST_WAIT


def test_a_server_that_does_not_answer_is_given_up(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(proxy.url), longest=0.6)
    proxy.next_flights(Fate.SILENCE)
    started = time.monotonic()
    with pytest.raises(LedgerUnavailableError, match=r"not answered for 0\.6 s"):
        opened.run("SELECT 1", {})
    assert time.monotonic() - started < 10
    assert not opened.is_usable()
    opened.close()


def test_a_connection_that_breaks_under_a_statement_is_not_usable(proxy: Proxy) -> None:
    opened = Connection(parse_database_url(proxy.url))
    proxy.next_flights(Fate.REPLY_LOST)
    with pytest.raises(StatementInterruptedError):
        opened.run("SELECT 1", {})
    assert not opened.is_usable()
    opened.close()


def test_a_connection_that_the_server_has_ended_is_seen_to_be_of_no_use(
    connection: Connection, database_url: str
) -> None:
    ((backend,),) = connection.run("SELECT pg_backend_pid()", {})
    other = Connection(parse_database_url(database_url))
    other.run("SELECT pg_terminate_backend(:pid, 5000)", {"pid": backend})
    other.close()
    assert not connection.is_usable()


def test_a_server_that_is_not_there_is_unavailable(short_folder: Path) -> None:
    with pytest.raises(LedgerUnavailableError, match="cannot be reached"):
        Connection(parse_database_url(f"postgresql://anna@/ledger?host={short_folder}"))


def test_a_refused_login_says_why(database_url: str) -> None:
    address = parse_database_url(
        database_url.replace(f"/{parse_database_url(database_url).database}?", "/no_such_one?")
    )
    with pytest.raises(LedgerUnavailableError, match=r"no_such_one.*3D000"):
        Connection(address)
