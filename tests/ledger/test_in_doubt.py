"""An error says whether what was to be written may be there all the same: what hangs on that can be undone or not."""

import pytest

from functions.shared.ledger import connection
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, QueuedPrediction
from tests.ledger.conftest import Query
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

    monkeypatch.setattr(connection.DatabaseAddress, "open_socket", refuse)
    with pytest.raises(LedgerUnavailableError) as caught:
        proxied.enqueue(queued())

    assert caught.value.in_doubt
