"""Parse multipart forms (RFC 7578; RFC 2046, section 5.1) from a body that is already in memory.

Why not python-multipart: see docs/decisions/multipart.md. It still reads names with quotes or backslashes. Names in
other encodings (RFC 8187, RFC 2231, RFC 2047), transfer encodings and folded headers are not for forms. Mail libraries
write them nevertheless.
"""

import binascii
import re
from collections.abc import Sequence
from encodings import normalize_encoding
from encodings.aliases import aliases
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from functions.shared.api.problems import Problem

MAX_PARTS: Final = 10_000
"""The most parts that a form may have. A form with more is refused."""

MAX_HEADER_BYTES: Final = 1_000_000
"""The most bytes that the headers of a form's parts may have together. python-multipart takes 2 s for as many."""

_PLAIN_BOUNDARY: Final = re.compile(r"multipart/form-data; ?boundary=([\w'()+,./:=?-]{1,70})", re.ASCII | re.IGNORECASE)
# Of a disposition: `name=value`, whose value may be quoted. Every byte is looked at once, also if a quote has no end.
_OPTION: Final = re.compile(rb';((?:"(?:[^"\\]|\\.)*+"?+|[^";])*+)', re.DOTALL)
_EXTENDED: Final = re.compile(rb"(name|filename)\*(?:(\d{1,3})(\*)?)?")
_QUOTED_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_ENCODED_WORD: Final = re.compile(r"=\?([\w-]+)(?:\*[\w-]*)?\?([bq])\?([^?]*)\?=", re.ASCII | re.IGNORECASE)
# Those that Python has aliases of. Others may take quadratic time: punycode takes minutes for a name of 1 MB. And any
# name that `codecs.lookup` is asked for is remembered as long as the process lives, even if there is none.
_CHARSETS: Final = frozenset((*aliases.values(), "koi8_u", "cp874")) - {"mbcs"}
_BETWEEN_WORDS: Final = re.compile(r"(?<=\?=)[ \t]+(?==\?)")
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
    for line in _FOLD.sub(b" ", head).split(b"\r\n"):
        field, colon, value = line.partition(b":")
        if not colon:
            raise _malformed("a part has a header line without a colon")
        headers[field.lower()] = value
    name, filename = _name_and_filename(headers.get(b"content-disposition", b""))
    contenttype = headers.get(b"content-type")
    coding = headers.get(b"content-transfer-encoding")
    return Part(
        name=name,
        filename=filename,
        contenttype=None if contenttype is None else contenttype.strip().decode("latin-1"),
        content=content if coding is None else _transferred(coding.strip().lower(), content),
    )


def _transferred(coding: bytes, content: bytes) -> bytes:
    """Undo a transfer encoding (RFC 2045, section 6), which browsers no longer write and mail libraries do."""
    try:
        if coding == b"base64":
            return binascii.a2b_base64(content)
        if coding == b"quoted-printable":
            return binascii.a2b_qp(content)
    except binascii.Error:
        raise _malformed("a part is not in the base64 that its Content-Transfer-Encoding says") from None
    if coding in (b"binary", b"8bit", b"7bit", b""):
        return content
    raise _malformed("the Content-Transfer-Encoding of a part is unknown: send binary, base64 or none")


def _boundary(header: str) -> bytes:
    if plain := _PLAIN_BOUNDARY.fullmatch(header):
        return plain[1].encode()
    boundary = _options(header).get(b"boundary")
    if not boundary:
        raise _malformed("its content type names no boundary")
    return boundary


def _name_and_filename(disposition: bytes) -> tuple[str, str | None]:
    if (plain := _PLAIN_DISPOSITION.fullmatch(disposition)) and b"=?" not in disposition:
        return _text(plain[1]), None if plain[2] is None else _text(plain[2])
    options = {name: _decoded_words(_text(value)) for name, value in _options(disposition).items()}
    if b"*" in disposition:
        options |= _extended_options(disposition)
    if b"name" not in options:
        raise _malformed("a part has no name")
    return options[b"name"], options.get(b"filename")


def _extended_options(disposition: bytes) -> dict[bytes, str]:
    """Return the options with a charset (RFC 8187), or in numbered pieces (RFC 2231)."""
    pieces: dict[bytes, dict[int, tuple[bool, bytes]]] = {}
    for option in _OPTION.finditer(disposition):
        key, _, value = option[1].partition(b"=")
        if (extended := _EXTENDED.fullmatch(key.strip().lower())) is None:
            continue
        name, number, encoded = extended[1], int(extended[2] or 0), extended[2] is None or extended[3] is not None
        value = value.strip()
        if value.startswith(b'"'):
            value = _QUOTED_PAIR.sub(rb"\1", value[1:].removesuffix(b'"'))
        pieces.setdefault(name, {})[number] = (encoded, value)
    return {name: _joined(name, [own[number] for number in sorted(own)]) for name, own in pieces.items()}


def _joined(name: bytes, pieces: Sequence[tuple[bool, bytes]]) -> str:
    (encoded, first), *others = pieces
    if not encoded:
        return _text(b"".join(value for _, value in pieces))
    charset, _, value = first.partition(b"'")
    first = value.partition(b"'")[2] if value else first
    raw = b"".join(unquote_to_bytes(value) if encoded else value for encoded, value in [(True, first), *others])
    try:
        return _in_charset(charset.decode("latin-1") or "utf-8", raw)
    except (LookupError, ValueError):
        raise _malformed(f"a part has a {name.decode()}* that is not in the charset that it names") from None


def _decoded_words(text: str) -> str:
    """Decode the encoded words of a name (RFC 2047). A word that cannot be decoded stays as it is."""
    return _ENCODED_WORD.sub(_decoded_word, _BETWEEN_WORDS.sub("", text)) if _ENCODED_WORD.search(text) else text


def _decoded_word(word: re.Match[str]) -> str:
    charset, encoding, text = word.groups()
    try:
        if encoding in "bB":
            return _in_charset(charset, binascii.a2b_base64(text + "=" * (-len(text) % 4)))
        return _in_charset(charset, binascii.a2b_qp(text, header=True))
    except (LookupError, ValueError):
        return word[0]


def _in_charset(charset: str, raw: bytes) -> str:
    """Decode a text. Raises `LookupError` if there is no such charset, `ValueError` if the text is not in it."""
    name = normalize_encoding(charset).lower()
    if not charset.isprintable() or aliases.get(name, name) not in _CHARSETS:
        raise LookupError(charset)
    return raw.decode(name)


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
