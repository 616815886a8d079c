"""Forms with files (RFC 7578), out of a body that is in memory already.

python-multipart reads the syntax. Starlette's parser on top of it would spool each file to disk, in a thread, which an
event that came as one piece gains nothing from; and it takes a form that breaks off for one that ends.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from functions.shared.api.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS: Final = 10_000
"""Parts of one form that are read at all."""


class Part:
    """One part of a form."""

    __slots__ = ("content", "contenttype", "filename", "name")

    def __init__(self) -> None:
        self.name = ""
        self.filename: str | None = None
        """The name that the part gives to a file; None for a field."""
        self.contenttype: str | None = None
        self.content = b""


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
    boundary = parse_options_header(header)[1].get(b"boundary")
    if not boundary:
        raise _malformed("its content type has no boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise _malformed("it is not what its content type says") from None
    if not reader.ended:
        raise _malformed("it breaks off before its last boundary")
    return reader.parts


def _malformed(why: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, f"The form (multipart/form-data) is malformed: {why}.")


class _Reader:
    """Puts together what python-multipart reports piece by piece."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._pieces: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self._headers = {}
        self._pieces = []

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _on_part_end(self) -> None:
        options = parse_options_header(self._headers.get(b"content-disposition"))[1]
        if b"name" not in options:
            raise _malformed("one of its parts has no name")
        part = Part()
        part.name = _text(options[b"name"])
        if b"filename" in options:
            part.filename = _text(options[b"filename"])
        if b"content-type" in self._headers:
            part.contenttype = self._headers[b"content-type"].decode("latin-1")
        part.content = b"".join(self._pieces)
        self.parts.append(part)

    def _on_end(self) -> None:
        self.ended = True


def _text(raw: bytes) -> str:
    try:
        return raw.decode()  # what browsers send (RFC 7578, section 5.1)
    except UnicodeDecodeError:
        return raw.decode("latin-1")
