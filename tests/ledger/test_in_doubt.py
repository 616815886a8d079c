"""An error says whether what was to be written may be there all the same: what hangs on that can be undone or not."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from functions.shared.ledger import login
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import LedgerUnavailableError, refusal
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, QueuedPrediction
from infra.migrations import upgrade
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy


def queued() -> QueuedPrediction:
    return QueuedPrediction(NewInput(b"x", "image/png"), "anna")


def test_a_database_that_cannot_be_reached_has_written_nothing() -> None:
    ledger = Ledger.at("postgresql://anna@127.0.0.1:1/ledger")

    with pytest.raises(LedgerUnavailableError) as caught:
        ledger.enqueue(queued())

    assert not caught.value.in_doubt


@pytest.mark.parametrize(("fate", "written"), [(Fate.REPLY_LOST, 1), (Fate.REQUEST_LOST, 0)])
def test_after_a_connection_that_broke_nobody_knows(
    proxied: Ledger, proxy: Proxy, query: Query, fate: Fate, written: int
) -> None:
    proxied.ping()
    proxy.next_flights(fate, None, fate)

    with pytest.raises(LedgerUnavailableError) as caught:
        proxied.enqueue(queued())

    assert caught.value.in_doubt
    assert query("SELECT count(*) FROM predictions") == [[written]]


def test_nor_where_the_database_cannot_be_reached_any_more(
    proxied: Ledger, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxied.ping()
    proxy.next_flights(Fate.REPLY_LOST)

    def refuse(*_: object) -> None:
        raise LedgerUnavailableError("gone")

    monkeypatch.setattr(login, "open_socket", refuse)
    with pytest.raises(LedgerUnavailableError) as caught:
        proxied.enqueue(queued())

    assert caught.value.in_doubt


@pytest.fixture
def own_ledger(new_database: Callable[[], str]) -> str:
    """URL of a ledger that a test may do to what it likes."""
    url = new_database()
    upgrade(url)
    return url


def make_read_only(query: Query, url: str) -> None:
    """Let new sessions not write, as a failover does that makes the server a standby."""
    query(f"ALTER DATABASE {parse_database_url(url).database} SET default_transaction_read_only = on")


def test_a_database_that_is_read_only_has_written_nothing(own_ledger: str, query: Query) -> None:
    make_read_only(query, own_ledger)
    with closing(Ledger.at(own_ledger)) as ledger, pytest.raises(LedgerUnavailableError, match="25006") as caught:
        ledger.enqueue(queued())
    assert not caught.value.in_doubt


def test_unless_it_became_read_only_after_a_first_try_that_nobody_has_heard_of(
    own_ledger: str, query: Query, short_folder: Path
) -> None:
    with Proxy(parse_database_url(own_ledger), short_folder) as proxy, closing(Ledger.at(proxy.url)) as ledger:
        ledger.ping()
        make_read_only(query, own_ledger)
        proxy.next_flights(Fate.REPLY_LOST)
        with pytest.raises(LedgerUnavailableError, match="25006") as caught:
            ledger.enqueue(queued())
    assert caught.value.in_doubt


@pytest.mark.parametrize(
    ("sqlstate", "in_doubt"),
    [
        ("25006", False),
        ("25P03", False),
        ("25P04", False),
        ("40001", False),
        ("40P01", False),
        ("57014", False),
        ("57P05", False),
        ("57P01", True),
        ("57P02", True),
    ],
)
def test_the_servers_own_word_that_nothing_was_done_is_taken(sqlstate: str, in_doubt: bool) -> None:
    error = refusal({"C": sqlstate, "M": "no"})
    assert isinstance(error, LedgerUnavailableError)
    assert error.in_doubt == in_doubt
