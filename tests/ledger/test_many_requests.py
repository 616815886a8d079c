"""Many requests are stored in one statement, and each is told its own outcome."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from functions.shared.ledger.errors import (
    IdempotencyConflictError,
    LedgerError,
    LedgerUnavailableError,
    UnstorableValueError,
    UploadNotAnnouncedError,
)
from functions.shared.ledger.identifiers import new_id
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.quotas import QuotaExceededError, Quotas
from functions.shared.ledger.records import (
    IdempotencyKey,
    NewInput,
    QueuedPrediction,
    Replay,
    StoredRequest,
    Upload,
)
from tests.support.database import Query
from tests.support.database_proxy import Fate, Proxy
from tests.support.predictions import MODEL, prediction

Told = Replay | LedgerError | None
MANY = 10**9  # a quota that nobody reaches


@pytest.fixture
def ledger_with(database_url: str) -> Iterator[Callable[..., Ledger]]:
    with ExitStack() as stack:

        def open_ledger(url: str = database_url, **quotas: int) -> Ledger:
            opened = Ledger.at(url, quotas=Quotas(**quotas), pool_size=8, longest=60)
            stack.callback(opened.close)
            return opened

        yield open_ledger


def key(name: str, *, asks: str = "a seven", user_id: str = "anna") -> IdempotencyKey:
    return IdempotencyKey(user_id, name, sha256(asks.encode()).digest())


def asking(
    name: str | None = None, *, asks: str = "a seven", user_id: str = "anna", size: int = 1, **changes: object
) -> StoredRequest:
    """Return a request with `size` predictions, under a key if it has a name."""
    predictions = tuple(prediction(user_id=user_id, **changes) for _ in range(size))
    return StoredRequest(predictions, None if name is None else key(name, asks=asks, user_id=user_id))


def ten_others() -> list[StoredRequest]:
    """Return requests of several users, some with keys, one of them a batch."""
    keyed = [asking(f"other {n}", user_id=f"user {n % 3}") for n in range(4)]
    return [*keyed, asking("batch", size=3), asking(size=2), *(asking(user_id=f"user {n}") for n in range(4))]


def stored_ids(query: Query) -> list[UUID]:
    """Return the ids of all predictions, each of which has its input."""
    rows = query("SELECT p.prediction_id FROM predictions p JOIN inputs USING (input_id)")
    assert query("SELECT count(*) FROM predictions") == query("SELECT count(*) FROM inputs") == [[len(rows)]]
    return sorted(row[0] for row in rows)


def ids(*requests: StoredRequest) -> list[UUID]:
    return sorted(one.prediction_id for request in requests for one in request.predictions)


def replay_of(request: StoredRequest) -> Replay:
    return Replay(tuple(one.record(MODEL) for one in request.predictions), was_queued=False)


@pytest.mark.parametrize("quotas", [{}, {"predictions_per_hour": MANY, "stored_bytes": MANY}], ids=["free", "counted"])
@pytest.mark.parametrize("keys", ["none", "some", "all"])
def test_requests_of_many_users_are_stored_in_one_round_trip(
    ledger_with: Callable[..., Ledger], proxy: Proxy, query: Query, keys: str, quotas: dict[str, int]
) -> None:
    ledger = ledger_with(proxy.url, **quotas)
    ledger.register(MODEL)
    everything: list[StoredRequest] = []
    for number in range(3):
        requests = [
            asking(
                f"{number} {n}" if keys == "all" or (keys == "some" and n % 2) else None,
                user_id=f"user {n % 5}",
                size=3 if n % 7 == 0 else 1,
                label=str(n),
            )
            for n in range(32)
        ]
        with proxy.counted(1):
            assert ledger.store_requests(MODEL, requests) == [None] * 32
        everything += requests
    assert stored_ids(query) == ids(*everything)
    for request in everything:
        for one in request.predictions:
            assert ledger.get(one.prediction_id)[0] == one.record(MODEL)
    keyed = [request for request in everything if request.idempotency is not None]
    found = ledger.replays([request.idempotency for request in keyed if request.idempotency is not None])
    assert repr(found) == repr([replay_of(request) for request in keyed])


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("name", [None, "a key"])
def test_one_request_is_told_what_store_tells_it(ledger: Ledger, query: Query, name: str | None, size: int) -> None:
    first, again = asking(name, size=size), asking(name, size=size)
    assert ledger.store_requests(MODEL, [first]) == [None]
    assert ledger.store_requests(MODEL, []) == []
    if name is not None:
        [replay] = ledger.store_requests(MODEL, [again])
        assert repr(replay) == repr(replay_of(first))
        assert stored_ids(query) == ids(first)


def test_what_many_keys_have_stored_is_looked_up_in_one_round_trip(proxied: Ledger, proxy: Proxy) -> None:
    assert proxied.replays([]) == []
    one, batch, other = asking("one"), asking("batch", size=3), asking("one", user_id="bob")
    proxied.store_requests(MODEL, [one, batch, other])
    keys = [
        key("never used"),
        key("one"),
        key("one", asks="an eight"),
        key("batch"),
        key("one", user_id="bob"),
        key("one", user_id="carol"),
        key("one"),
    ]
    with proxy.counted(1):
        found = proxied.replays(keys)
    assert isinstance(found[2], IdempotencyConflictError)
    expected = [None, replay_of(one), found[2], replay_of(batch), replay_of(other), None, replay_of(one)]
    assert repr(found) == repr(expected)


def test_a_key_that_cannot_be_looked_up_is_told_so_and_no_other(ledger: Ledger) -> None:
    one = asking("one")
    ledger.store_requests(MODEL, [one])
    keys = [key("one"), key("a\0b"), key("new"), key("one"), key("\ud800")]
    found = ledger.replays(keys)
    assert [type(answer) for answer in found] == [
        Replay,
        UnstorableValueError,
        type(None),
        Replay,
        UnstorableValueError,
    ]


def test_a_queued_prediction_that_is_found_with_others_is_not_withdrawn_any_more(ledger: Ledger, query: Query) -> None:
    queued, unseen = (QueuedPrediction(NewInput(b"x", "image/png"), "anna") for _ in range(2))
    ledger.enqueue(queued, idempotency=key("queued"))
    ledger.enqueue(unseen, idempotency=key("unseen"))
    _, found, other = ledger.replays([key("new"), key("queued"), key("queued", asks="an eight")])
    assert isinstance(found, Replay)
    assert (found.was_queued, found.records[0].prediction_id) == (True, queued.prediction_id)
    assert isinstance(other, IdempotencyConflictError)
    assert not ledger.withdraw(queued.prediction_id, idempotency=key("queued"))
    assert ledger.withdraw(unseen.prediction_id, idempotency=key("unseen"))
    assert stored_ids(query) == [queued.prediction_id]


BAD: dict[str, Callable[[], StoredRequest]] = {
    "NUL in a label": lambda: asking(label="a\0b"),
    "NUL in a label, with a key": lambda: asking("bad", label="a\0b"),
    "NUL in the user": lambda: asking("bad", user_id="a\0b"),
    "lone surrogate in the output": lambda: asking(output=["\ud800"]),
    "NaN in the output": lambda: asking("bad", output=[float("nan")]),
    "NaN in the metadata": lambda: asking(metadata={"a": float("nan")}),
    "class out of any range": lambda: asking(likely_class=2**63),
    "one of a batch": lambda: StoredRequest((*asking(size=2).predictions, prediction(label="\0")), key("bad")),
}


@pytest.mark.parametrize("place", [0, 4, 10])
@pytest.mark.parametrize("quotas", [{}, {"predictions_per_hour": MANY}], ids=["free", "counted"])
@pytest.mark.parametrize("kind", BAD)
def test_a_value_that_cannot_be_stored_refuses_its_own_request(
    ledger_with: Callable[..., Ledger], query: Query, kind: str, quotas: dict[str, int], place: int
) -> None:
    ledger = ledger_with(**quotas)
    others, bad = ten_others(), BAD[kind]()
    told = ledger.store_requests(MODEL, [*others[:place], bad, *others[place:]])
    assert isinstance(told[place], UnstorableValueError)
    assert told[:place] + told[place + 1 :] == [None] * 10
    assert stored_ids(query) == ids(*others)
    if bad.idempotency is not None and "\0" not in bad.idempotency.user_id:
        assert ledger.store_requests(MODEL, [asking("bad", asks="it again"), asking()]) == [None, None]


def test_the_one_that_is_refused_is_found_in_halves(proxied: Ledger, proxy: Proxy, query: Query) -> None:
    proxied.register(MODEL)
    requests = [asking(str(n), label="a\0b" if n == 17 else "7") for n in range(64)]
    before = proxy.flights
    told = proxied.store_requests(MODEL, requests)
    assert [n for n, answer in enumerate(told) if answer is not None] == [17]
    assert proxy.flights - before <= 13  # the whole, and two halves for each power of two
    assert len(stored_ids(query)) == 63


def test_large_inputs_do_not_share_a_statement(proxied: Ledger, proxy: Proxy, query: Query) -> None:
    proxied.register(MODEL)
    large = [asking(str(n), input=NewInput(bytes(3_000_000), "image/png")) for n in range(4)]
    larger = asking(input=NewInput(bytes(9_000_000), "image/png"))
    requests = [asking(), *large[:2], asking(), larger, *large[2:], asking()]
    with proxy.counted(3):
        assert proxied.store_requests(MODEL, requests) == [None] * 8
    assert stored_ids(query) == ids(*requests)


def test_an_upload_that_is_gone_refuses_its_own_request(ledger: Ledger, query: Query) -> None:
    there, gone = new_id(), new_id()
    upload = Upload(there, "anna", "image/png", None, 1, None, f"s3://uploads/{there}")
    ledger.announce_upload(upload, expires_at=datetime.now(UTC) + timedelta(minutes=15))
    others = ten_others()
    uploads = [
        asking("there", input=NewInput(b"x", "image/png", input_id=there, upload_id=there)),
        asking("gone", input=NewInput(b"x", "image/png", input_id=gone, upload_id=gone)),
    ]
    told = ledger.store_requests(MODEL, [*others, *uploads])
    assert told[:-1] == [None] * 11
    assert isinstance(told[-1], UploadNotAnnouncedError)
    assert stored_ids(query) == ids(*others, uploads[0])


def test_a_key_that_is_taken_answers_its_own_request(ledger: Ledger, query: Query) -> None:
    one, batch = asking("one"), asking("batch of three", size=3)
    ledger.store_requests(MODEL, [one, batch])
    queued = QueuedPrediction(NewInput(b"x", "image/png"), "anna")
    ledger.enqueue(queued, idempotency=key("queued"))
    others = ten_others()
    again = [asking("one"), asking("one", asks="an eight"), asking("batch of three", size=3), asking("queued")]
    told = ledger.store_requests(MODEL, [*others[:5], *again, *others[5:]])
    assert told[:5] + told[9:] == [None] * 10
    assert repr([told[5], told[7]]) == repr([replay_of(one), replay_of(batch)])
    assert isinstance(told[6], IdempotencyConflictError)
    assert isinstance(told[8], Replay)
    assert told[8].was_queued
    assert stored_ids(query) == sorted([*ids(one, batch, *others), queued.prediction_id])
    assert not ledger.withdraw(queued.prediction_id, idempotency=key("queued"))


def test_a_key_that_is_used_twice_at_once_answers_the_later_with_the_earlier(ledger: Ledger, query: Query) -> None:
    others, first = ten_others(), asking("k", size=2)
    requests = [*others, first, asking("k", size=2), asking("k", asks="an eight"), asking("k", user_id="bob")]
    told = ledger.store_requests(MODEL, requests)
    assert told[:11] == [None] * 11
    assert repr(told[11]) == repr(replay_of(first))
    assert repr(told[11]) == repr(ledger.replay(key("k")))
    assert isinstance(told[12], IdempotencyConflictError)
    assert told[13] is None
    assert stored_ids(query) == ids(*others, first, requests[13])


def test_a_key_that_is_taken_and_used_twice_at_once_answers_each(ledger: Ledger, query: Query) -> None:
    first = asking("k")
    ledger.store_requests(MODEL, [first])
    told = ledger.store_requests(
        MODEL, [asking("k", asks="an eight"), asking("k"), asking("k", asks="an eight"), asking("k")]
    )
    assert [type(answer) for answer in told] == [IdempotencyConflictError, Replay] * 2
    assert repr(told[1]) == repr(told[3]) == repr(replay_of(first))
    assert stored_ids(query) == ids(first)


@pytest.mark.usefixtures("within_one_hour")
def test_a_request_that_repeats_one_that_is_refused_is_tried_itself(
    ledger_with: Callable[..., Ledger], query: Query
) -> None:
    ledger = ledger_with(predictions_per_hour=1)
    requests = [
        asking("k", label="\0"),
        asking("k", size=2),  # over the quota
        asking("k", asks="an eight"),
        asking("k", asks="an eight"),
        asking("k", size=2),
    ]
    told = ledger.store_requests(MODEL, requests)
    assert [type(answer) for answer in told] == [
        UnstorableValueError,
        QuotaExceededError,
        type(None),
        Replay,
        IdempotencyConflictError,
    ]
    assert stored_ids(query) == ids(requests[2])


def test_a_key_that_has_expired_is_free(ledger: Ledger, query: Query) -> None:
    old, new = asking("k"), asking("k", asks="an eight")
    ledger.store_requests(MODEL, [old])
    query("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert ledger.replays([key("k"), key("other")]) == [None, None]
    assert ledger.store_requests(MODEL, [new, asking()]) == [None, None]
    [replay, conflict] = ledger.replays([key("k", asks="an eight"), key("k")])
    assert repr(replay) == repr(replay_of(new))
    assert isinstance(conflict, IdempotencyConflictError)


def test_servers_that_store_the_same_keys_at_once_store_each_once_and_wait_for_nobody_for_ever(
    ledger_with: Callable[..., Ledger], query: Query
) -> None:
    servers, rounds = 3, 15
    start = threading.Barrier(servers)
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = query(deadlocks)  # of other tests

    def serve(number: int) -> list[dict[str, object]]:
        ledger, shuffle = ledger_with(), random.Random(number).shuffle
        answers: list[dict[str, object]] = []
        for n in range(rounds):
            requests = [asking(f"{n} {one}", user_id=f"user {one % 3}", size=1 + one % 2) for one in range(12)]
            shuffle(requests)  # each server has them in another order
            start.wait()
            told = ledger.store_requests(MODEL, requests)
            answers.append(
                {
                    request.idempotency.key: answer or replay_of(request)
                    for request, answer in zip(requests, told, strict=True)
                    if request.idempotency is not None
                }
            )
        return answers

    with ThreadPoolExecutor(servers) as threads:
        first, *others = threads.map(serve, range(servers))
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            assert {name: repr(answer) for name, answer in ours.items()} == {
                name: repr(answer) for name, answer in theirs.items()
            }
    assert query(deadlocks) == before
    assert len(stored_ids(query)) == rounds * 18


@pytest.mark.usefixtures("within_one_hour")
def test_of_a_user_over_a_quota_only_what_goes_over_is_refused(
    ledger_with: Callable[..., Ledger], query: Query
) -> None:
    ledger = ledger_with(predictions_per_hour=5, stored_bytes=MANY)
    ledger.store(MODEL, asking(size=2, user_id="greedy").predictions)
    others = [request for request in ten_others() if request.predictions[0].user_id != "anna"]
    greedy = [asking(user_id="greedy", size=size) for size in (4, 2, 2, 1, 1)]
    told = ledger.store_requests(MODEL, [*others[:3], *greedy, *others[3:]])
    assert told[:3] + told[8:] == [None] * len(others)
    assert [type(answer) for answer in told[3:8]] == [
        QuotaExceededError,  # never fits
        type(None),
        QuotaExceededError,  # there is room for one
        type(None),
        QuotaExceededError,
    ]
    refused = told[3]
    assert isinstance(refused, QuotaExceededError)
    assert (refused.quota, refused.limit) == ("predictions_per_hour", 5)
    [[counted]] = query("SELECT predictions FROM quota_usage WHERE user_id = 'greedy'")
    [[there]] = query("SELECT count(*) FROM predictions WHERE user_id = 'greedy'")
    assert counted == there == 5


@pytest.mark.usefixtures("within_one_hour")
def test_a_user_over_a_quota_costs_the_others_no_round_trip(
    ledger_with: Callable[..., Ledger], proxy: Proxy, query: Query
) -> None:
    ledger = ledger_with(proxy.url, predictions_per_hour=3)
    ledger.store(MODEL, asking(size=3, user_id="greedy").predictions)
    requests = [asking(user_id="greedy" if n % 2 else f"user {n}") for n in range(32)]
    with proxy.counted(1):
        told = ledger.store_requests(MODEL, requests)
    assert [isinstance(answer, QuotaExceededError) for answer in told] == [False, True] * 16
    assert len(stored_ids(query)) == 3 + 16


@pytest.mark.usefixtures("within_one_hour")
def test_a_request_over_a_quota_leaves_its_key_free_and_one_that_is_repeated_is_not_over(
    ledger_with: Callable[..., Ledger], query: Query
) -> None:
    ledger = ledger_with(stored_bytes=250)
    first = asking("first", input=NewInput(b"x" * 100, "image/png"))
    assert ledger.store_requests(MODEL, [first, asking(user_id="bob")])[0] is None
    of_200 = NewInput(b"x" * 200, "image/png")
    told = ledger.store_requests(MODEL, [asking("large", input=of_200), asking("first", input=of_200), asking("other")])
    assert isinstance(told[0], QuotaExceededError)
    assert told[0].quota == "stored_bytes"
    assert repr(told[1]) == repr(replay_of(first))
    assert isinstance(told[2], QuotaExceededError)  # of 264 bytes
    small = asking("large", input=NewInput(b"x" * 150, "image/png"))
    assert ledger.store_requests(MODEL, [small, asking(user_id="carol", input=NewInput(b"x", "image/png"))])[0] is None
    assert query("SELECT stored_bytes FROM quota_usage WHERE user_id = 'anna'") == [[250]]


def test_the_bytes_of_an_upload_that_is_predicted_again_are_not_over(
    ledger_with: Callable[..., Ledger], query: Query
) -> None:
    ledger = ledger_with(stored_bytes=100)
    input_id = new_id()
    upload = Upload(input_id, "anna", "image/png", None, 90, None, f"s3://uploads/{input_id}")
    ledger.announce_upload(upload, expires_at=datetime.now(UTC) + timedelta(minutes=15))
    same = NewInput(b"x" * 90, "image/png", input_id=input_id, upload_id=input_id)
    assert (
        ledger.store_requests(MODEL, [asking(input=same), asking(user_id="bob", input=NewInput(b"x", "x/y"))])
        == [None] * 2
    )
    larger = NewInput(b"x" * 11, "image/png")
    told = ledger.store_requests(MODEL, [asking("again", input=same), asking(input=same), asking(input=larger)])
    assert told[:2] == [None, None]
    assert isinstance(told[2], QuotaExceededError)
    assert query("SELECT stored_bytes, predictions FROM quota_usage WHERE user_id = 'anna'") == [[90, 3]]


@pytest.mark.usefixtures("within_one_hour")
def test_of_servers_that_store_at_once_none_passes_the_last_place(
    ledger_with: Callable[..., Ledger], query: Query
) -> None:
    ledger = ledger_with(predictions_per_hour=20)

    def serve(number: int) -> list[Told]:
        requests = [asking(f"{number} {n}" if n % 2 else None, user_id="all" if n < 4 else "bob") for n in range(6)]
        return ledger.store_requests(MODEL, requests)

    with ThreadPoolExecutor(8) as threads:
        answers = [answer for told in threads.map(serve, range(16)) for answer in told]
    assert {type(answer) for answer in answers} == {type(None), QuotaExceededError}
    assert answers.count(None) == 40
    found = query("SELECT user_id, count(*) FROM predictions GROUP BY 1 ORDER BY 1")
    assert found == [["all", 20], ["bob", 20]]
    assert query("SELECT user_id, predictions FROM quota_usage ORDER BY 1") == found


@pytest.mark.usefixtures("within_one_hour")
@pytest.mark.parametrize("quotas", [{}, {"predictions_per_hour": 12}], ids=["free", "full"])
@pytest.mark.parametrize("keys", ["none", "some", "all"])
@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.REPLY_LOST])
def test_requests_whose_acknowledgement_was_lost_are_stored_once_and_are_no_replays_of_themselves(
    ledger_with: Callable[..., Ledger], proxy: Proxy, query: Query, fate: Fate, keys: str, quotas: dict[str, int]
) -> None:
    ledger = ledger_with(proxy.url, **quotas)
    ledger.register(MODEL)
    requests = [
        asking(str(n) if keys == "all" or (keys == "some" and n % 2) else None, size=1 + n % 2) for n in range(8)
    ]
    proxy.next_flights(fate)
    assert ledger.store_requests(MODEL, requests) == [None] * 8
    assert stored_ids(query) == ids(*requests)
    if quotas:
        assert query("SELECT predictions FROM quota_usage") == [[12]]


@pytest.mark.parametrize(("fate", "written"), [(Fate.REPLY_LOST, 5), (Fate.REQUEST_LOST, 0)])
def test_after_a_connection_that_broke_twice_each_is_told_that_nobody_knows(
    proxied: Ledger, proxy: Proxy, query: Query, fate: Fate, written: int
) -> None:
    proxied.register(MODEL)
    proxy.next_flights(fate, None, fate)
    told = proxied.store_requests(MODEL, [asking(), asking("k"), asking("k"), asking(size=3)])
    for answer in told:
        assert isinstance(answer, LedgerUnavailableError)
        assert answer.in_doubt
    assert len(stored_ids(query)) == written


def test_a_key_whose_holder_cannot_be_read_any_more_is_in_doubt(proxied: Ledger, proxy: Proxy, query: Query) -> None:
    first = asking("k")
    proxied.store_requests(MODEL, [first])
    others = [asking("other"), asking()]
    proxy.next_flights(None, Fate.REQUEST_LOST, None, Fate.REQUEST_LOST)
    told = proxied.store_requests(MODEL, [others[0], asking("k"), others[1]])
    assert [told[0], told[2]] == [None, None]
    assert isinstance(told[1], LedgerUnavailableError)
    assert told[1].in_doubt
    assert stored_ids(query) == ids(first, *others)


def test_a_database_that_goes_away_between_two_halves_leaves_no_doubt_of_what_was_not_sent(
    proxied: Ledger, proxy: Proxy, query: Query
) -> None:
    proxied.register(MODEL)
    requests = [asking(), asking(), asking(label="\0"), asking("k"), asking("k")]
    # The whole is refused, the first half is stored, the second is lost twice.
    proxy.next_flights(None, None, Fate.REQUEST_LOST, None, Fate.REQUEST_LOST)
    told = proxied.store_requests(MODEL, requests)
    assert told[:2] == [None, None]
    for answer in told[2:]:
        assert isinstance(answer, LedgerUnavailableError)
        assert answer.in_doubt
    proxied.ping()
    # The whole is refused, the first half is lost twice, and the second is not sent.
    proxy.next_flights(None, Fate.REQUEST_LOST, None, Fate.REQUEST_LOST)
    told = proxied.store_requests(MODEL, [asking(label="\0"), asking(), asking(), asking()])
    doubts = [isinstance(answer, LedgerUnavailableError) and answer.in_doubt for answer in told]
    assert doubts == [True, True, False, False]
    assert stored_ids(query) == ids(*requests[:2])


def test_without_a_database_each_is_told_that_nothing_is_stored(proxied: Ledger, proxy: Proxy, query: Query) -> None:
    proxied.register(MODEL)
    proxy.close()
    told = [
        *proxied.store_requests(MODEL, [asking("k"), asking(), asking("k")]),
        *proxied.replays([key("a"), key("b")]),
    ]
    for answer in told:
        assert isinstance(answer, LedgerUnavailableError)
        assert not answer.in_doubt
    assert stored_ids(query) == []


def test_a_database_emptied_under_a_process_gets_the_model_again(ledger: Ledger, query: Query) -> None:
    ledger.store(MODEL, [prediction()])
    query("TRUNCATE predictions, models, inputs CASCADE")
    requests = [asking("k"), asking()]
    assert ledger.store_requests(MODEL, requests) == [None, None]
    assert stored_ids(query) == ids(*requests)


def any_mix(chance: random.Random, *, counted: bool) -> list[StoredRequest]:
    """Return requests of three users, with keys that others use, and values that cannot be stored.

    Where quotas count, no key is used twice: which of a user's requests take the last places is a matter of order, and
    one that is tried after the one whose key it repeats has lost its place.
    """
    mix: dict[object, StoredRequest] = {}
    for number in range(chance.randrange(1, 16)):
        user_id = chance.choice(["anna", "bob", "carol"])
        name = chance.choice([None, None, "1", "2", "3"])
        sizes = [chance.choice([1, 40, 200]) for _ in range(chance.choice([1, 1, 1, 2, 4]))]
        label = chance.choice(["7"] * 9 + ["\0"])
        predictions = tuple(
            prediction(user_id=user_id, input=NewInput(b"x" * size, "image/png"), label=label) for size in sizes
        )
        asks = chance.choice(["a seven", "an eight"])
        idempotency = None if name is None else key(name, user_id=user_id, asks=asks)
        mix[number if name is None or not counted else (user_id, name)] = StoredRequest(predictions, idempotency)
    return list(mix.values())


def again(request: StoredRequest) -> StoredRequest:
    """Return the same request with other ids."""
    made = [
        prediction(user_id=one.user_id, label=one.label, input=NewInput(one.input.content, one.input.contenttype))
        for one in request.predictions
    ]
    return request._replace(predictions=tuple(made))


def serve(ledger: Ledger, requests: list[StoredRequest]) -> list[Told]:
    """Look the keys up and store what is new, as the use case does."""
    found = iter(ledger.replays([one.idempotency for one in requests if one.idempotency is not None]))
    told = {n: answer for n, one in enumerate(requests) if one.idempotency is not None and (answer := next(found))}
    new = [n for n in range(len(requests)) if n not in told]
    answers = dict(zip(new, ledger.store_requests(MODEL, [requests[n] for n in new]), strict=True))
    return [(told | answers)[n] for n in range(len(requests))]


def said(told: Told, places: dict[UUID, int]) -> object:
    """Say what a request was told, with predictions by their place in the order in which they were asked for."""
    if isinstance(told, Replay):
        return [places[record.prediction_id] for record in told.records]
    return type(told).__name__  # of two quotas that a request goes over, either may be named


@pytest.mark.usefixtures("within_one_hour")
@pytest.mark.parametrize("quotas", [{}, {"predictions_per_hour": 12, "stored_bytes": 900}], ids=["free", "counted"])
@pytest.mark.parametrize("seed", range(6))
def test_together_each_is_told_what_it_is_told_alone(
    ledger_with: Callable[..., Ledger], query: Query, seed: int, quotas: dict[str, int]
) -> None:
    chance = random.Random(seed)
    mixes = [any_mix(chance, counted=bool(quotas)) for _ in range(4)]
    ledger = ledger_with(**quotas)
    outcomes = []
    for together in (True, False):
        query("TRUNCATE predictions, inputs, idempotency_keys, quota_usage CASCADE")
        mine = [[again(request) for request in mix] for mix in mixes]
        parts = mine if together else [[request] for mix in mine for request in mix]
        told = [answer for part in parts for answer in serve(ledger, part)]
        order = [one.prediction_id for mix in mine for request in mix for one in request.predictions]
        places = {prediction_id: place for place, prediction_id in enumerate(order)}
        stored = sorted(places[one] for one in stored_ids(query))
        usage = query("SELECT user_id, predictions, stored_bytes FROM quota_usage ORDER BY 1")
        outcomes.append(([said(answer, places) for answer in told], stored, usage))
    assert outcomes[0] == outcomes[1]
