"""A caller hears in under three seconds that something is not there, however many parts fail one after the other."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws

from functions.shared import wait_budget
from functions.shared.ledger import login
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.pool import Pool
from functions.shared.object_storage import bucket as object_storage
from functions.shared.object_storage.bucket import Bucket, NewObject
from functions.shared.object_storage.errors import ObjectStoreUnavailableError
from functions.shared.queue import predictions
from infra.migrations import upgrade
from tests.support.database_proxy import Fate, Proxy
from tests.support.faulty_proxy import FaultyProxy, Mode
from tests.support.predictions import MODEL, prediction

pytestmark = pytest.mark.slow  # most of the tests wait

LONGEST = 3.0  # seconds

TRIES = 3
"""A caller hears in time in one of so many tries. A machine that does other things meanwhile may hold up one."""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def in_time(call: Callable[[], object], longest: float = LONGEST) -> None:
    """Fail if a call takes longer than a caller waits."""
    took = []
    for _ in range(TRIES):
        began = time.monotonic()
        call()
        took.append(time.monotonic() - began)
        if took[-1] < longest:
            return
    pytest.fail(f"it took {took} seconds")


@pytest.mark.parametrize("options", ["sslmode=disable", "sslmode=verify-full"])
def test_a_database_that_takes_connections_and_says_nothing(silent: int, options: str) -> None:
    def ping() -> None:
        with pytest.raises(LedgerUnavailableError) as failed:
            ledger.ping()
        assert not failed.value.in_doubt

    with closing(Ledger.at(f"postgresql://anna@127.0.0.1:{silent}/ledger?{options}")) as ledger:
        in_time(ping)


def test_a_database_whose_network_swallows_the_first_packet() -> None:
    with FaultyProxy(("127.0.0.1", 9)) as proxy:
        proxy.mode = Mode.DEAF
        ledger = Ledger.at(f"postgresql://anna@127.0.0.1:{proxy.port}/ledger?sslmode=disable")

        def ping() -> None:
            with pytest.raises(LedgerUnavailableError, match="timed out"):
                ledger.ping()

        in_time(ping)


def test_a_name_that_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def slow(host: str, port: int, *, type: int = 0, flags: int = 0) -> object:  # noqa: A002 - the resolver's own name
        if not flags:
            time.sleep(5)
        return resolve(host, port, type=type, flags=flags)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    ledger = Ledger.at("postgresql://anna@db.internal/ledger?sslmode=disable")

    def ping() -> None:
        with pytest.raises(LedgerUnavailableError, match=r"db\.internal could not be resolved in time"):
            ledger.ping()

    in_time(ping)


def test_a_database_that_is_lost_under_a_statement_and_then_says_nothing(database_url: str, short_folder: Path) -> None:
    with Proxy(parse_database_url(database_url), short_folder) as proxy, closing(Ledger.at(proxy.url)) as ledger:

        def store() -> None:
            proxy.next_flights(Fate.REPLY_LOST, Fate.SILENCE)
            with pytest.raises(LedgerUnavailableError) as failed:
                ledger.store(MODEL, [prediction()])
            assert failed.value.in_doubt, "the first attempt may have been committed"

        def store_over_an_open_connection() -> None:
            ledger.register(MODEL)
            ledger.ping()
            store()

        in_time(store_over_an_open_connection)


def test_a_lock_is_given_up_by_the_server_so_that_the_outcome_is_certain(new_database: Callable[[], str]) -> None:
    url = new_database()
    upgrade(url)
    holder = Connection(parse_database_url(url), longest=30)
    with closing(holder), closing(Ledger.at(url)) as ledger:
        ledger.register(MODEL)
        holder.run("BEGIN", {})
        holder.run("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE", {})

        def store() -> None:
            with pytest.raises(LedgerUnavailableError, match="57014") as failed:
                ledger.store(MODEL, [prediction()])
            assert not failed.value.in_doubt

        in_time(store)
        holder.run("ROLLBACK", {})
        ledger.ping()  # on the same connection


@pytest.fixture
def silent_bucket(silent: int, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{silent}",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket("inputs")
    bucket.warm_up()
    return bucket


def objects(count: int) -> list[NewObject]:
    return [NewObject(f"inputs/{number}", b"x", "image/png", hashlib.sha256(b"x").digest()) for number in range(count)]


@pytest.mark.parametrize("count", [1, 40])
def test_s3_that_does_not_answer_is_not_asked_again_to_clean_up(silent_bucket: Bucket, count: int) -> None:
    def store() -> None:
        with wait_budget.limited():
            with pytest.raises(ObjectStoreUnavailableError):
                silent_bucket.put(objects(count))
            assert not silent_bucket.remove_quietly(["inputs/0"])
            with pytest.raises(ObjectStoreUnavailableError, match="no time is left"):
                silent_bucket.get("inputs/0")

    in_time(store)


@mock_aws
def test_creating_a_client_is_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    create = boto3.client

    def slow(*arguments: Any, **options: Any) -> object:
        time.sleep(0.6)  # which S3's longest call, in addition, would not leave of a request's budget
        return create(*arguments, **options)

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    create("s3").create_bucket(Bucket="inputs")
    queue = create("sqs").create_queue(QueueName="predictions")["QueueUrl"]
    monkeypatch.setattr(boto3, "client", slow)
    with wait_budget.limited():
        predictions.SqsQueue(queue).send([uuid4()])
        bucket = Bucket("inputs")
        bucket.put(objects(1))
        assert bucket.get("inputs/0") == b"x"


def test_a_call_that_succeeds_slowly_leaves_the_next_all_its_time(database_url: str) -> None:
    slow = "SELECT pg_sleep(0.9)"  # three of them are more than a request's budget
    address = parse_database_url(database_url)
    with closing(Pool(lambda until: Connection(address, until=until))) as pool, wait_budget.limited():
        for _ in range(3):
            pool.run(slow, {})
        assert wait_budget.allows(object_storage.LONGEST_CALL)


def test_what_a_call_takes_is_not_there_for_the_next(silent: int) -> None:
    with closing(Ledger.at(f"postgresql://anna@127.0.0.1:{silent}/ledger?sslmode=disable")) as ledger:

        def ping() -> None:
            with wait_budget.limited():
                for _ in range(3):
                    with pytest.raises(LedgerUnavailableError):
                        ledger.ping()

        in_time(ping)


def test_a_start_waits_less_than_a_request(silent: int) -> None:
    with closing(Ledger.at(f"postgresql://anna@127.0.0.1:{silent}/ledger?sslmode=disable")) as ledger:

        def ping() -> None:
            with wait_budget.limited(wait_budget.OF_A_START), pytest.raises(LedgerUnavailableError):
                ledger.ping()

        in_time(ping, LONGEST - wait_budget.OF_A_REQUEST)


def test_the_limits_fit_into_one_another() -> None:
    assert login.STATEMENT_TIMEOUT < login.LONGEST_WAIT < wait_budget.OF_A_REQUEST < LONGEST
    for client in (object_storage, predictions):
        assert client.ATTEMPTS * client.READ_TIMEOUT < object_storage.LONGEST_CALL < wait_budget.OF_A_REQUEST
