from base64 import urlsafe_b64encode
from uuid import UUID, uuid4

import pytest

from functions.shared.ledger.cursor import decode_cursor, encode_cursor
from functions.shared.ledger.errors import InvalidCursorError
from functions.shared.ledger.identifiers import new_id


def test_a_cursor_leads_back_to_where_it_came_from() -> None:
    last = new_id()
    assert decode_cursor(encode_cursor(last)) == last


def test_a_cursor_needs_no_escaping_in_a_url() -> None:
    assert encode_cursor(UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")).replace("-", "").replace("_", "").isalnum()


GOOD = encode_cursor(new_id())


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="nothing"),
        pytest.param("2", id="a number"),
        pytest.param(str(new_id()), id="an id"),
        pytest.param(GOOD[:-1], id="cut short"),
        pytest.param(GOOD + "=", id="padded"),
        pytest.param(GOOD + "AAAA", id="too long"),
        pytest.param(" " + GOOD, id="with a space before"),
        pytest.param(GOOD[:5] + "!" + GOOD[5:], id="with a foreign character inside"),
        pytest.param(GOOD[:-1] + "é", id="not ASCII"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param(encode_cursor(uuid4()), id="of an id that is not ours"),
        pytest.param(urlsafe_b64encode(b"\2" + new_id().bytes).rstrip(b"=").decode(), id="of another version"),
        pytest.param("'; DROP TABLE predictions; --", id="SQL"),
        pytest.param("A" * 100_000, id="very long"),
    ],
)
def test_what_no_page_has_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        decode_cursor(cursor)
