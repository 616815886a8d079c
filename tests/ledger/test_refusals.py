"""Refused requests are counted in memory, and added to the ledger over a connection that is open anyway."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from functions.shared.ledger import refusals as refusals_module
from functions.shared.ledger.refusals import MOST_KINDS, Refusals
from functions.shared.ledger.statistics import StatisticsLedger
from tests.support.database import run
from tests.support.waiting import soon

pytestmark = pytest.mark.usefixtures("within_one_hour")  # they are counted by day

ROUTE = "GET /prediction/{prediction_id}"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a write take as long as a busy machine wants."""
    monkeypatch.setattr(refusals_module, "LONGEST_WRITE", 30.0)


@pytest.fixture
def ledger(database_url: str) -> Iterator[StatisticsLedger]:
    """A ledger without an open connection."""
    ledger = StatisticsLedger.at(database_url, longest=60)
    yield ledger
    ledger.close()


def stored(ledger: StatisticsLedger) -> dict[str, int]:
    now = datetime.now(UTC)
    return ledger.refused(since=now, until=now).statuses


def rows(database_url: str) -> list[list[object]]:
    return run(database_url, "SELECT day = current_date, route, status, requests FROM refused_requests ORDER BY status")


def test_a_refusal_opens_no_connection(ledger: StatisticsLedger, database_url: str) -> None:
    assert ledger.refusals.add(ROUTE, 404)

    assert not ledger.refusals.write()

    assert ledger.connections == (0, 0)
    assert rows(database_url) == []


def test_what_has_waited_is_written_once_a_connection_is_open(ledger: StatisticsLedger, database_url: str) -> None:
    for status in (404, 404, 422):
        ledger.refusals.add(ROUTE, status)
    ledger.refusals.write()
    ledger.ping()

    assert ledger.refusals.write()
    assert ledger.refusals.write()

    assert rows(database_url) == [[True, ROUTE, 404, 2], [True, ROUTE, 422, 1]]
    assert ledger.connections == (1, 0)


def test_it_is_time_to_write_once_a_second_at_most(
    ledger: StatisticsLedger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "WRITE_EVERY", 3600.0)
    ledger.ping()
    assert ledger.refusals.add(ROUTE, 404)
    assert ledger.refusals.write()

    assert [ledger.refusals.add(ROUTE, 404) for _ in range(1000)] == [False] * 1000

    assert rows(database_url) == [[True, ROUTE, 404, 1]]
    monkeypatch.setattr(refusals_module, "WRITE_EVERY", 0.0)
    ledger.refusals.write()
    assert rows(database_url) == [[True, ROUTE, 404, 1001]]
    assert ledger.refusals.add(ROUTE, 404)


def test_the_counts_of_several_environments_are_added(ledger: StatisticsLedger, database_url: str) -> None:
    def refuse(_: int) -> None:
        own = StatisticsLedger.at(database_url, longest=60)
        own.ping()
        for number in range(200):
            own.refusals.add(ROUTE, 400 + number % 10)
            soon(own.refusals.write)
        own.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(refuse, range(4)))

    assert stored(ledger) == {str(status): 80 for status in range(400, 410)}


def test_what_the_database_does_not_take_waits(
    ledger: StatisticsLedger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "WAIT_AFTER_FAILURE", 0.0)
    ledger.ping()
    run(database_url, "ALTER TABLE refused_requests RENAME TO away")
    try:
        assert ledger.refusals.add(ROUTE, 404)
        assert not ledger.refusals.write()
    finally:
        run(database_url, "ALTER TABLE away RENAME TO refused_requests")
    assert ledger.refusals.add(ROUTE, 404)

    assert soon(ledger.refusals.write)

    assert rows(database_url) == [[True, ROUTE, 404, 2]]


def test_a_write_does_not_keep_a_connection_open_for_longer(
    ledger: StatisticsLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.ping()
    [(_, before)] = ledger._pool._idle
    ledger.refusals.add(ROUTE, 404)

    assert ledger.refusals.write()

    [(_, after)] = ledger._pool._idle
    assert after == before
    monkeypatch.setattr(ledger._pool, "_max_idle", 0.0)
    ledger.refusals.add(ROUTE, 404)
    assert not ledger.refusals.write()
    assert ledger.connections == (0, 0)


def test_a_request_that_runs_has_all_connections_to_itself(ledger: StatisticsLedger) -> None:
    with ledger._pool.connection(), ledger._pool.connection(), ledger._pool.connection(), ledger._pool.connection():
        ledger.refusals.add(ROUTE, 404)
        assert not ledger.refusals.write()
    assert ledger.refusals.write()


def test_the_kinds_that_wait_are_bounded(ledger: StatisticsLedger) -> None:
    for number in range(MOST_KINDS + 100):
        ledger.refusals.add(f"GET /{number}", 404)

    assert len(ledger.refusals._waiting) == MOST_KINDS


def test_a_count_that_may_be_written_is_not_written_again(
    ledger: StatisticsLedger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends while the statement waits for a lock: whether it was committed is then not known."""
    monkeypatch.setattr(refusals_module, "LONGEST_WRITE", 0.5)
    ledger.ping()
    ledger.refusals.add(ROUTE, 404)
    with ThreadPoolExecutor(1) as threads:
        blocker = StatisticsLedger.at(database_url)
        with blocker._pool.connection() as connection:
            connection.run("BEGIN", {})
            connection.run("LOCK TABLE refused_requests", {})
            writing = threads.submit(ledger.refusals.write)
            assert writing.result(30)
            connection.run("ROLLBACK", {})
        blocker.close()
    ledger.ping()

    ledger.refusals.add(ROUTE, 422)
    soon(ledger.refusals.write)

    assert stored(ledger).get("404", 0) <= 1
    assert isinstance(ledger.refusals, Refusals)
