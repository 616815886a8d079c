"""Every earlier version is migrated while clients store and read. `python -m tests.faults.migrations` has more rows."""

import pytest

from tests.faults.migrations import REVISIONS, migrate_from_each

ROWS = 2_000


@pytest.mark.slow
def test_nothing_fails_and_nothing_is_lost_from_any_revision(postgres: str) -> None:
    migrated = list(migrate_from_each(postgres, ROWS))
    assert [one.revision for one in migrated] == REVISIONS[:-1]
    for one in migrated:
        assert one.failed == [], one
        assert one.missing == 0, one
        assert one.statements > 0, one
