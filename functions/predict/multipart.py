"""Forms with files (RFC 7578, in the syntax of RFC 2046, section 5.1), out of a body that is in memory already.

python-multipart, which Starlette uses, looks at a body that comes in pieces; for one that came as one, finding its
boundaries is all there is to do, in a ninth of the time (tests/benchmarks/README.md). It still reads the headers of
parts that are not plain: names with quotes, backslashes or other encodings in them.
"""

import re
from http import HTTPStatus
from typing import Final, NamedTuple

from functions.shared.api.problems import Problem

MAX_PARTS: Final = 10_000
"""Parts of one form that are read at all."""

_PLAIN_BOUNDARY: Final = re.compile(r"multipart/form-data; ?boundary=([\w'()+,./:=?-]{1,70})", re.ASCII | re.IGNORECASE)
_PLAIN_DISPOSITION: Final = re.compile(rb' ?form-data; ?name="([^"\\]*)"(?:; ?filename="([^"\\]*)")?', re.IGNORECASE)


class Part(NamedTuple):
    """One part of a form.

    Attributes
    ----------
    name : str
        Of the field.
    filename : str or None
        The name that the part gives to a file; None for a field.
    contenttype : str or None
        As it is declared.
    content : bytes
        What it holds.
    """

    name: str
    filename: str | None
    contenttype: str | None
    content: bytes


def parse_form(header: str, body: bytes) -> list[Part]:
    """Take a form apart.

    Parameters
    ----------
    header
        The request's content type, with the boundary.
    body
        The form.

    Raises
    ------
    Problem
        400, if there is no boundary, or the body is no form, or one that breaks off.
    """
    delimiter = b"\r\n--" + _boundary(header)
    if body.startswith(delimiter[2:]):
        end = -2
    else:  # text for readers that know no forms; nobody writes one
        end = body.find(delimiter)
        if end < 0:
            raise _malformed("it is not what its content type says")
    parts: list[Part] = []
    while True:
        start = end + len(delimiter)
        if body.startswith(b"--", start):
            return parts
        line_end = body.find(b"\r\n", start)
        if line_end < 0 or body[start:line_end].strip(b" \t"):
            raise _malformed("it is not what its content type says")
        headers_end = body.find(b"\r\n\r\n", line_end)
        if headers_end < 0:
            raise _malformed("one of its parts has no headers")
        content = headers_end + 4
        end = body.find(delimiter, content)
        if end < 0:
            raise _malformed("it breaks off before its last boundary")
        if len(parts) == MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        parts.append(_part(body[line_end + 2 : headers_end], body[content:end]))


def _part(head: bytes, content: bytes) -> Part:
    headers = {}
    for line in head.split(b"\r\n"):
        field, colon, value = line.partition(b":")
        if not colon:
            raise _malformed("a header of one of its parts is none")
        headers[field.lower()] = value
    name, filename = _name_and_filename(headers.get(b"content-disposition", b""))
    contenttype = headers.get(b"content-type")
    return Part(
        name=_text(name),
        filename=None if filename is None else _text(filename),
        contenttype=None if contenttype is None else contenttype.strip().decode("latin-1"),
        content=content,
    )


def _boundary(header: str) -> bytes:
    if plain := _PLAIN_BOUNDARY.fullmatch(header):
        return plain[1].encode()
    boundary = _options(header).get(b"boundary")
    if not boundary:
        raise _malformed("its content type has no boundary")
    return boundary


def _name_and_filename(disposition: bytes) -> tuple[bytes, bytes | None]:
    if plain := _PLAIN_DISPOSITION.fullmatch(disposition):
        return plain[1], plain[2]
    options = _options(disposition)
    if b"name" not in options:
        raise _malformed("one of its parts has no name")
    return options[b"name"], options.get(b"filename")


def _options(header: str | bytes) -> dict[bytes, bytes]:
    from python_multipart.multipart import parse_options_header

    return parse_options_header(header)[1]


def _malformed(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, f"The form (multipart/form-data) is malformed: {why}.")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()  # what browsers send (RFC 7578, section 5.1)
    except UnicodeDecodeError:
        return raw.decode("latin-1")
