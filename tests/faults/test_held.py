"""What a server holds more than before its faults is found, and what it holds less is no fault."""

from tests.faults.held import Held


def test_only_what_there_is_more_of_is_left_behind() -> None:
    before = Held(
        surplus_sessions=0, descriptors=40, threads=5, server_descriptors=12, temporary_files=2, objects_without_a_row=0
    )
    after = before._replace(surplus_sessions=3, descriptors=39, threads=6, objects_without_a_row=1)
    assert after.beyond(before) == {"surplus_sessions": 3, "threads": 1}
    assert before.beyond(before) == {}
