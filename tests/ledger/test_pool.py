import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import LedgerUnavailableError, StatementRefusedError
from functions.shared.ledger.pool import Pool
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.waiting import soon

WHO = "SELECT pg_backend_pid()"


@pytest.fixture
def pool(proxy: Proxy) -> Iterator[Pool]:
    address = parse_database_url(proxy.url)
    made = Pool(lambda until: Connection(address, until=until), size=2, acquire_timeout=0.2)
    yield made
    made.close()


def hung_up(pool: Pool) -> bool:
    """Whether the other end of the idle connection has gone, or has said that it will."""
    [(idle, _)] = pool._idle
    return not idle.is_usable()


def test_nothing_is_opened_before_it_is_needed(pool: Pool, proxy: Proxy) -> None:
    assert proxy.sessions == 0
    pool.run("SELECT 1", {})
    assert proxy.sessions == 1


def test_a_connection_is_used_again(pool: Pool) -> None:
    assert pool.run(WHO, {}) == pool.run(WHO, {})


def test_when_all_connections_are_lent_the_next_caller_waits_in_vain_for_a_while(pool: Pool) -> None:
    with pool.connection(), pool.connection():
        started = time.monotonic()
        with pytest.raises(LedgerUnavailableError, match=r"all 2 connections have been busy for 0\.2 s"):
            pool.run("SELECT 1", {})
        assert time.monotonic() - started >= 0.2


def test_a_caller_that_waits_gets_the_connection_that_becomes_free(proxy: Proxy) -> None:
    address = parse_database_url(proxy.url)
    pool = Pool(lambda until: Connection(address, until=until), size=2, acquire_timeout=30, longest=60)
    with closing(pool), ThreadPoolExecutor() as threads, pool.connection():
        with pool.connection():
            waiting = threads.submit(pool.run, "SELECT 7", {})
            time.sleep(0.05)
            assert not waiting.done()
        assert waiting.result(timeout=30) == [[7]]


def test_a_failed_attempt_to_connect_gives_its_place_back(proxy: Proxy, pool: Pool) -> None:
    proxy.close()
    for _ in range(3):
        with pytest.raises(LedgerUnavailableError, match="cannot be reached"):
            pool.run("SELECT 1", {})


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT 1 / 0"], ids=["open", "failed"])
def test_a_connection_given_back_inside_a_transaction_is_not_lent_again(pool: Pool, statement: str) -> None:
    with pool.connection() as lent:
        lent.run("BEGIN", {})
        before = lent.run(WHO, {}) if statement == "SELECT 1" else None
        if before is None:
            with pytest.raises(Exception, match="22012"):
                lent.run(statement, {})
    assert not lent.is_usable()
    assert pool.run("SELECT 1", {}) == [[1]]
    assert pool.run("SELECT pg_current_xact_id_if_assigned()", {}) == [[None]]


def test_a_connection_whose_statement_was_refused_is_lent_again(pool: Pool) -> None:
    before = pool.run(WHO, {})
    with pytest.raises(StatementRefusedError):
        pool.run("SELECT no_such_function()", {})
    assert pool.run(WHO, {}) == before


def test_a_connection_ended_while_nobody_used_it_is_replaced_and_no_call_fails(pool: Pool, query: Query) -> None:
    ((backend,),) = pool.run(WHO, {})
    query("SELECT pg_terminate_backend(:pid, 30000)", pid=backend)
    assert soon(lambda: hung_up(pool))
    with pool.connection() as lent:
        assert lent.run(WHO, {}) != [[backend]]


def test_a_connection_whose_network_died_while_nobody_used_it_is_replaced(pool: Pool, proxy: Proxy) -> None:
    pool.run(WHO, {})
    proxy.cut()
    assert soon(lambda: hung_up(pool))
    with pool.connection() as lent:
        assert lent.run("SELECT 1", {}) == [[1]]


@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.REPLY_LOST])
def test_a_connection_that_breaks_under_a_statement_is_replaced_and_the_statement_repeated(
    pool: Pool, proxy: Proxy, fate: Fate
) -> None:
    pool.run(WHO, {})
    proxy.next_flights(fate)
    assert pool.run("SELECT 1", {}) == [[1]]
    assert proxy.sessions == 2


def test_a_session_that_is_terminated_under_its_statement_is_replaced_and_the_statement_repeated(
    pool: Pool, query: Query
) -> None:
    ((backend,),) = pool.run(WHO, {})
    asleep = "SELECT CASE WHEN pg_backend_pid() = :pid THEN pg_sleep(5)::text ELSE 'on another one' END"
    with ThreadPoolExecutor() as threads:
        running = threads.submit(pool.run, asleep, {"pid": backend})
        while not query("SELECT 1 FROM pg_stat_activity WHERE pid = :pid AND wait_event = 'PgSleep'", pid=backend):
            time.sleep(0.01)
        query("SELECT pg_terminate_backend(:pid)", pid=backend)
        assert running.result(timeout=30) == [["on another one"]]


def test_a_statement_is_repeated_once_and_not_for_ever(pool: Pool, proxy: Proxy) -> None:
    pool.run(WHO, {})
    proxy.next_flights(Fate.REQUEST_LOST, None, Fate.REQUEST_LOST)
    with pytest.raises(LedgerUnavailableError, match="closed the connection"):
        pool.run("SELECT 1", {})
    assert proxy.sessions == 2
    assert pool.run("SELECT 1", {}) == [[1]]


def test_when_one_connection_has_died_its_idle_siblings_are_not_trusted(pool: Pool, proxy: Proxy) -> None:
    with pool.connection(), pool.connection():
        pass
    proxy.next_flights(Fate.REQUEST_LOST)
    pool.run("SELECT 1", {})
    assert proxy.sessions == 3
    with pool.connection(), pool.connection():
        assert proxy.sessions == 4


def test_a_connection_that_was_idle_for_too_long_is_replaced(proxy: Proxy) -> None:
    address = parse_database_url(proxy.url)
    pool = Pool(lambda until: Connection(address, until=until), max_idle=0.05)
    before = pool.run(WHO, {})
    time.sleep(0.06)
    assert pool.run(WHO, {}) != before
    pool.close()


def test_a_closed_pool_opens_anew(pool: Pool) -> None:
    ((backend,),) = pool.run(WHO, {})
    pool.close()
    ((successor,),) = pool.run(WHO, {})
    assert successor != backend


def test_threads_that_share_a_pool_get_their_own_answers(proxy: Proxy) -> None:
    address = parse_database_url(proxy.url)
    pool = Pool(lambda until: Connection(address, until=until), size=3)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda x: pool.run("SELECT :x::int", {"x": x}), range(400)))
    assert answers == [[[x]] for x in range(400)]
    assert proxy.sessions == 3
    pool.close()
