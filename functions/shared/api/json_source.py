"""Parse JSON and keep the source text of each member.

The ledger stores features exactly as they were sent: `0.10` stays `0.10`, and `12345678901234567890` keeps its digits.
"""

import re
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from json import JSONDecodeError, JSONDecoder
from typing import Any, NamedTuple

from functions.shared.api.problems import Problem

_SPACE = re.compile(r"[ \t\n\r]*")  # RFC 8259, section 2


class Source(NamedTuple):
    """A JSON value and its source text."""

    value: Any
    text: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = next(name for name, count in counts.items() if count > 1)
        raise Problem(HTTPStatus.BAD_REQUEST, f"The JSON body has the member {repeated[:100]!r} twice in one object.")
    return members


_decoder = JSONDecoder(object_pairs_hook=_object)


def decode(body: bytes) -> str:
    """Return the text of a body. Raises `Problem` (400) if it is not UTF-8, as JSON must be (RFC 8259, section 8.1)."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        detail = f"The body is not UTF-8 (at byte {error.start}, in line {line}): send it as UTF-8."
        raise Problem(HTTPStatus.BAD_REQUEST, detail) from None


def parse_members(text: str, *, line: int = 1) -> dict[str, Source]:
    """Parse the members of the outermost object of a JSON text.

    Parameters
    ----------
    text
        The text.
    line
        The number of its first line in the body.

    Raises
    ------
    Problem
        400, if the text is not JSON; 422, if it is not an object.
    """
    try:
        return _read_text(text)
    except JSONDecodeError as error:
        at = f"line {line + error.lineno - 1}, column {error.colno}"
        detail = f"The body is not JSON: {error.msg.removesuffix(' at')} at {at}."
        raise Problem(HTTPStatus.BAD_REQUEST, detail) from None
    except RecursionError:
        raise Problem(HTTPStatus.BAD_REQUEST, "The JSON body is nested too deeply.") from None
    except ValueError:  # not a JSONDecodeError: an integer with more digits than Python parses
        raise Problem(HTTPStatus.BAD_REQUEST, "The JSON body has an integer of too many digits.") from None


def _read_text(text: str) -> dict[str, Source]:
    start = _skip_space(text, 0)
    if not text.startswith("{", start):
        _decoder.decode(text)
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The JSON body must be an object.", errors=[("", "must be an object")]
        )
    members, end = _read_members(text, start)
    if end != len(text):
        raise JSONDecodeError("Extra data", text, end)
    return members


def _read_members(text: str, start: int) -> tuple[dict[str, Source], int]:
    members = []
    end = _skip_space(text, start + 1)
    if text.startswith("}", end):
        return {}, _skip_space(text, end + 1)
    while True:
        if not text.startswith('"', end):
            raise JSONDecodeError("Expecting property name enclosed in double quotes", text, end)
        name, end = _decoder.raw_decode(text, end)
        end = _expect(text, _skip_space(text, end), ":")
        begin = _skip_space(text, end)
        value, end = _decoder.raw_decode(text, begin)
        members.append((name, Source(value, text[begin:end])))
        end = _skip_space(text, end)
        if text.startswith("}", end):
            return _object(members), _skip_space(text, end + 1)
        end = _skip_space(text, _expect(text, end, ","))


def parse_items(source: Source) -> Iterator[Source]:
    """Yield the elements of a JSON array, which must be well-formed."""
    end = _skip_space(source.text, 1)
    while not source.text.startswith("]", end):
        begin = _skip_space(source.text, end)
        value, end = _decoder.raw_decode(source.text, begin)
        yield Source(value, source.text[begin:end])
        end = _skip_space(source.text, end)
        if source.text.startswith(",", end):
            end += 1


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _expect(text: str, position: int, character: str) -> int:
    if not text.startswith(character, position):
        raise JSONDecodeError(f"Expecting {character!r}", text, position)
    return position + 1
