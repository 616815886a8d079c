"""The account finds what is lost, doubled and wrong: a harness that can find nothing proves nothing."""

import time
from collections.abc import Iterator
from hashlib import sha256
from uuid import uuid4

import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput
from tests.faults.account import Account, Sent, Tally
from tests.faults.pictures import Picture
from tests.support.predictions import MODEL, PNG, prediction

FAULT = "a fault"
OUTPUT = prediction().output


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    one = Ledger.at(database_url, longest=60)
    yield one
    one.close()


@pytest.fixture
def account() -> Account:
    """An account in which one picture was sent under the key `mine`."""
    picture = Picture(PNG, sha256(PNG).digest(), tuple(float(str(value)) for value in OUTPUT))
    made = Account([picture])
    made.begin(FAULT)
    made.open(Sent("mine", 0, asynchronous=False, fault=FAULT))
    return made


def checked(account: Account, database_url: str) -> Tally:
    account.check(database_url, {})
    return account.tallies[FAULT]


def answer(account: Account, ledger: Ledger, **changes: object) -> None:
    """Store a prediction under the key, and answer with its id."""
    stored = prediction(metadata={"key": "mine"}, **changes)
    ledger.store(MODEL, [stored])
    account.answered(account._sent["mine"], stored.prediction_id)


def test_what_was_answered_and_is_stored_is_good(account: Account, ledger: Ledger, database_url: str) -> None:
    answer(account, ledger)
    tally = checked(account, database_url)
    assert tally.is_good()
    assert (tally.answered, tally.stored) == (1, 1)


def test_what_is_stored_although_the_answer_denied_it_is_wrong(
    account: Account, ledger: Ledger, database_url: str
) -> None:
    ledger.store(MODEL, [prediction(metadata={"key": "mine"})])
    assert checked(account, database_url).wrong == 1


def test_what_was_answered_and_is_not_stored_is_lost(account: Account, database_url: str) -> None:
    account.answered(account._sent["mine"], uuid4())
    assert checked(account, database_url).lost == 1


def test_what_was_stored_and_never_answered_is_not_lost(account: Account, ledger: Ledger, database_url: str) -> None:
    ledger.store(MODEL, [prediction(metadata={"key": "mine"})])
    account._sent["mine"].may_be_stored = True
    tally = checked(account, database_url)
    assert tally.is_good()
    assert (tally.answered, tally.stored) == (0, 1)


def test_what_is_stored_twice_under_one_key_is_doubled(account: Account, ledger: Ledger, database_url: str) -> None:
    answer(account, ledger)
    ledger.store(MODEL, [prediction(metadata={"key": "mine"})])
    assert checked(account, database_url).doubled == 1


@pytest.mark.parametrize(
    "changes",
    [{"output": [0.1] * 10}, {"input": NewInput(PNG + b"x", "image/png", "seven.png")}],
    ids=["output", "input"],
)
def test_another_output_and_another_input_are_wrong(
    account: Account, ledger: Ledger, database_url: str, changes: dict[str, object]
) -> None:
    answer(account, ledger, **changes)
    assert checked(account, database_url).wrong == 1


def test_what_nobody_sent_is_wrong(account: Account, ledger: Ledger, database_url: str) -> None:
    ledger.store(MODEL, [prediction(metadata={"key": "whose"})])
    assert checked(account, database_url).wrong == 1


@pytest.mark.parametrize(
    ("seconds", "retry_after", "good", "in_time"),
    [(0.0, "5", True, True), (3.1, "5", True, False), (0.0, None, False, True)],
)
def test_a_503_must_come_soon_and_say_when_to_come_back(
    account: Account, seconds: float, retry_after: str | None, good: bool, in_time: bool
) -> None:
    account.attempt(0, time.monotonic() - seconds, 503, retry_after)
    tally = account.tallies[FAULT]
    assert (tally.is_good(), tally.is_in_time()) == (good, in_time)
