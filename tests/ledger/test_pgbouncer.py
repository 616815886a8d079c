"""The ledger through a real PgBouncer in transaction mode, whose few server connections are anybody's at any time."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import IdempotencyKey, PredictionFilter, Replay
from infra.migrations import current, upgrade
from tests.support.database import Query
from tests.support.pgbouncer import PGBOUNCER, PORT, SERVER_CONNECTIONS, PgBouncer
from tests.support.predictions import MODEL, PNG, prediction

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(PGBOUNCER is None, reason="needs the pgbouncer command (apt-get install pgbouncer)"),
]


@pytest.fixture
def direct_url(database_url: str) -> str:
    return database_url


@pytest.fixture
def plain_url(direct_url: str, short_folder: Path) -> Iterator[str]:
    """URL of the same database through PgBouncer, but for the option that says so."""
    with PgBouncer(direct_url, short_folder):
        database = urlsplit(direct_url).path
        yield f"postgresql://anna@{database}?host={quote(str(short_folder))}&port={PORT}"


@pytest.fixture
def pooled_url(plain_url: str) -> str:
    return f"{plain_url}&pooler=transaction"


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[Ledger]:
    ledger = Ledger.at(pooled_url, pool_size=8)
    yield ledger
    ledger.close()


def test_many_connections_share_a_few_of_the_servers(pooled_url: str) -> None:
    connections = [Connection(parse_database_url(pooled_url)) for _ in range(8)]

    def backends(connection: Connection) -> set[int]:
        return {connection.run("SELECT pg_backend_pid(), pg_sleep(0.001)", {})[0][0] for _ in range(20)}

    with ThreadPoolExecutor(len(connections)) as threads:
        seen = list(threads.map(backends, connections))
    for connection in connections:
        connection.close()
    assert len(set[int]().union(*seen)) == SERVER_CONNECTIONS
    assert any(len(one) > 1 for one in seen), "no connection was ever served by another of the server's"


def test_without_the_option_the_pooler_refuses_the_connection(plain_url: str) -> None:
    with pytest.raises(LedgerUnavailableError, match=r"statement_timeout.*wants pooler=transaction"):
        Connection(parse_database_url(plain_url))


def test_a_pooler_that_the_url_does_not_name_runs_no_statement_in_place_of_another(
    direct_url: str, short_folder: Path
) -> None:
    ignored = "statement_timeout,idle_in_transaction_session_timeout,jit,max_parallel_workers_per_gather"
    with PgBouncer(direct_url, short_folder, ignored=ignored):
        address = parse_database_url(
            f"postgresql://anna@{urlsplit(direct_url).path}?host={quote(str(short_folder))}&port={PORT}"
        )
        assert address.prepared

        def ask(client: int) -> None:
            with closing(Connection(address)) as connection:
                for _ in range(20):
                    for number in range(3 * client, 3 * client + 3):
                        assert connection.run(f"SELECT {number}, pg_sleep(0.001)", {})[0][0] == number

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(ask, range(8)))


def test_what_many_threads_store_each_finds_again(pooled: Ledger, query: Query) -> None:
    def store_and_read(number: int) -> None:
        user_id = f"user {number}"
        one = prediction(user_id=user_id)
        batch = [prediction(user_id=user_id, label=str(label)) for label in range(3)]
        for _ in range(3):  # more statements than connections of the server's, each in a different one perhaps
            pooled.register(MODEL)
            pooled.store(MODEL, [one])
        pooled.store(MODEL, batch)
        record, stored = pooled.get(one.prediction_id, user_id=user_id)
        assert record == one.record(MODEL)
        assert stored.content == PNG
        page = pooled.list(PredictionFilter(user_id=user_id), limit=3)
        rest = pooled.list(PredictionFilter(user_id=user_id), limit=3, cursor=page.next_cursor)
        newest_first = sorted([one, *batch], key=lambda new: new.prediction_id, reverse=True)
        assert [*page.records, *rest.records] == [new.record(MODEL) for new in newest_first]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store_and_read, range(24)))
    assert query("SELECT count(*) FROM predictions") == [[24 * 4]]


def test_one_of_many_requests_with_a_key_stores_and_the_others_replay_it(pooled: Ledger, query: Query) -> None:
    key = IdempotencyKey("anna", "order-17", sha256(b"a seven").digest())
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: pooled.store(MODEL, [prediction()], idempotency=key), range(16)))
    assert query("SELECT count(*) FROM predictions") == [[1]]
    replays = [answer for answer in answers if isinstance(answer, Replay)]
    assert len(replays) == 15
    assert len({replay.records[0].prediction_id for replay in replays}) == 1


class TestMigrations:
    """Applied through the pooler too, though better past it."""

    @pytest.fixture
    def direct_url(self, new_database: Callable[[], str]) -> str:
        return new_database()

    def test_two_at_once_migrate_once_and_leave_nothing_behind_on_the_servers_connections(
        self, direct_url: str, pooled_url: str
    ) -> None:
        said: list[str] = []
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda _: upgrade(pooled_url, report=said.append), range(3)))
        assert len([line for line in said if "nothing to do" in line]) == 2
        assert current(pooled_url) == current(direct_url) is not None
        through, past = Connection(parse_database_url(pooled_url)), Connection(parse_database_url(direct_url))
        assert past.run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", {}) == [[0]]
        assert through.run("SELECT current_setting('lock_timeout')", {}) == [["0"]]
        through.close()
        past.close()
