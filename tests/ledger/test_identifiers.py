import time
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

import pytest

from functions.shared.ledger.identifiers import FIRST_ID, LAST_ID, created_at, first_id_at, new_id

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = new_id()
    assert (made.version, made.variant) == (7, RFC_4122)


def test_an_id_gives_back_the_microsecond_it_was_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for microsecond in range(1000):
        nanoseconds = 1_795_000_000_000_000_000 + microsecond * 1000 + 999
        monkeypatch.setattr(time, "time_ns", lambda now=nanoseconds: now)
        expected = datetime.fromtimestamp(1_795_000_000, UTC) + microsecond * MICROSECOND
        assert created_at(new_id()) == expected


def test_ids_of_later_microseconds_are_greater(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for microsecond in range(2500):
        monkeypatch.setattr(time, "time_ns", lambda now=microsecond: 1_795_000_000_000_000_000 + now * 1000)
        made.append(new_id())
    assert made == sorted(made)


def test_ten_thousand_ids_are_all_different() -> None:
    assert len({new_id() for _ in range(10_000)}) == 10_000


def test_a_moment_bounds_the_ids_made_in_it_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: int(NOON.timestamp()) * 1_000_000_000)
    made = new_id()
    assert first_id_at(NOON) <= made < first_id_at(NOON + MICROSECOND)


def test_a_moment_of_another_time_zone_is_the_same_moment() -> None:
    assert first_id_at(datetime.fromisoformat("2026-11-22T14:00:00+02:00")) == first_id_at(NOON)


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_every_moment_that_python_knows_has_a_bound(moment: datetime) -> None:
    assert FIRST_ID < first_id_at(moment) < LAST_ID
