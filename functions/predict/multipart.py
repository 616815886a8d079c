"""Parse multipart forms (RFC 7578; RFC 2046, section 5.1) from a body that is already in memory.

Why not python-multipart: see docs/decisions/multipart.md. It still reads names with quotes, backslashes or encodings.
"""

import re
from http import HTTPStatus
from typing import Final, NamedTuple

from functions.shared.api.problems import Problem

MAX_PARTS: Final = 10_000
"""The most parts that a form may have. A form with more is refused."""

MAX_HEADER_BYTES: Final = 1_000_000
"""The most bytes that the headers of a form's parts may have together. python-multipart takes 2 s for as many."""

_PLAIN_BOUNDARY: Final = re.compile(r"multipart/form-data; ?boundary=([\w'()+,./:=?-]{1,70})", re.ASCII | re.IGNORECASE)
_PLAIN_DISPOSITION: Final = re.compile(rb' ?form-data; ?name="([^"\\]*)"(?:; ?filename="([^"\\]*)")?', re.IGNORECASE)


class Part(NamedTuple):
    """One part of a form.

    Attributes
    ----------
    name : str
        The name of the form field.
    filename : str or None
        The file name; None for a text field.
    contenttype : str or None
        The declared content type.
    content : bytes
        The part's bytes.
    """

    name: str
    filename: str | None
    contenttype: str | None
    content: bytes


def parse_form(header: str, body: bytes) -> list[Part]:
    """Split a form into its parts.

    Parameters
    ----------
    header
        The request's Content-Type header, which names the boundary.
    body
        The request's body.

    Raises
    ------
    Problem
        400, if the header names no boundary, or the body is malformed or truncated.
    """
    delimiter = b"\r\n--" + _boundary(header)
    if body.startswith(delimiter[2:]):
        end = -2
    else:  # a preamble (RFC 2046, section 5.1.1), which is ignored
        end = body.find(delimiter)
        if end < 0:
            raise _malformed("it is not what its content type says")
    parts: list[Part] = []
    header_bytes = 0
    while True:
        start = end + len(delimiter)
        if body.startswith(b"--", start):
            return parts
        line_end = body.find(b"\r\n", start)
        if line_end < 0 or body[start:line_end].strip(b" \t"):
            raise _malformed("it is not what its content type says")
        headers_end = body.find(b"\r\n\r\n", line_end)
        if headers_end < 0:
            raise _malformed("a part has no headers")
        content = headers_end + 4
        end = body.find(delimiter, content)
        if end < 0:
            raise _malformed("it ends before its last boundary")
        if len(parts) == MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        header_bytes += headers_end - line_end
        if header_bytes > MAX_HEADER_BYTES:
            raise _malformed(f"the headers of its parts have more than {MAX_HEADER_BYTES} bytes")
        parts.append(_part(body[line_end + 2 : headers_end], body[content:end]))


def _part(head: bytes, content: bytes) -> Part:
    headers = {}
    for line in head.split(b"\r\n"):
        field, colon, value = line.partition(b":")
        if not colon:
            raise _malformed("a part has a header line without a colon")
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
        raise _malformed("its content type names no boundary")
    return boundary


def _name_and_filename(disposition: bytes) -> tuple[bytes, bytes | None]:
    if plain := _PLAIN_DISPOSITION.fullmatch(disposition):
        return plain[1], plain[2]
    options = _options(disposition)
    if b"name" not in options:
        raise _malformed("a part has no name")
    return options[b"name"], options.get(b"filename")


def _options(header: str | bytes) -> dict[bytes, bytes]:
    from python_multipart.multipart import parse_options_header

    return parse_options_header(header)[1]


def _malformed(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, f"The form (multipart/form-data) is malformed: {why}.")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()  # browsers send UTF-8 (RFC 7578, section 5.1)
    except UnicodeDecodeError:
        return raw.decode("latin-1")
