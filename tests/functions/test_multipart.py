"""Forms: whatever a client writes them like, the bytes that come out are the bytes that went in."""

import contextlib
import os
import random
from typing import Any

import httpx
import pytest
from python_multipart.multipart import MultipartParser, parse_options_header

from functions.predict.multipart import MAX_PARTS, Part, parse_form
from functions.shared.api.problems import Problem

pytestmark = pytest.mark.slow

HEADER = "multipart/form-data; boundary=x"
FILE = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'


def one(disposition: bytes) -> Part:
    """Parse a form of one part with this disposition."""
    (part,) = parse_form(HEADER, b"--x\r\nContent-Disposition: " + disposition + b"\r\n\r\nabc\r\n--x--\r\n")
    return part


def python_multipart(header: str, body: bytes) -> list[Part]:
    """Parse a form with python-multipart, as a second opinion."""
    parts: list[Part] = []
    headers: dict[bytes, bytes] = {}
    names, values = [b""], [b""]
    pieces: list[bytes] = []

    def header_end() -> None:
        headers[names[0].lower()] = values[0]
        names[0] = values[0] = b""

    def part_end() -> None:
        options = parse_options_header(headers[b"content-disposition"])[1]
        filename, contenttype = options.get(b"filename"), headers.get(b"content-type")
        name = options[b"name"].decode()
        parts.append(
            Part(
                name,
                None if filename is None else filename.decode(),
                None if contenttype is None else contenttype.decode(),
                b"".join(pieces),
            )
        )
        headers.clear()
        pieces.clear()

    def append(to: list[bytes]) -> Any:  # a callback of python-multipart's
        def callback(data: bytes, start: int, end: int) -> None:
            to[0] += data[start:end]

        return callback

    parser = MultipartParser(
        parse_options_header(header)[1][b"boundary"],
        {
            "on_header_field": append(names),
            "on_header_value": append(values),
            "on_header_end": header_end,
            "on_part_data": lambda data, start, end: pieces.append(data[start:end]),
            "on_part_end": part_end,
        },
    )
    parser.write(body)
    parser.finalize()
    return parts


def test_forms_as_clients_write_them_are_read_as_python_multipart_reads_them() -> None:
    choose = random.Random(20261122)
    pieces = [b"\r\n", b"--", b"-", b"\r", b"\n", b"x", b"\0", b"--x", b"\xff\xfe", os.urandom(40), b"name=", b": "]
    names = ["a.png", "", "Zoë.png", 'a"b.png', "C:\\temp\\a.png", "a;b.png", "a\\b", "日本.png", "%22.png"]
    for _ in range(500):
        files = [
            ("file", (choose.choice(names), b"".join(choose.choices(pieces, k=choose.randrange(12))), "image/png"))
            for _ in range(choose.randrange(1, 4))
        ]
        request = httpx.Request("POST", "http://a", data={"user_id": "anna"}, files=files)
        header, body = request.headers["content-type"], request.read()

        parts = parse_form(header, body)

        assert parts == python_multipart(header, body)
        assert [part.content for part in parts] == [b"anna", *(content for _, (_, content, _) in files)]


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        (b'form-data; name="file"', "file", None),
        (b'form-data; name="file"; filename=""', "file", ""),
        (b'FORM-DATA; NAME="file"; FileName="a.png"', "file", "a.png"),
        (b'form-data;name="file";filename="a.png"', "file", "a.png"),
        (b"form-data; name=file; filename=a.png", "file", "a.png"),
        (b'form-data; filename="a.png"; name="file"', "file", "a.png"),
        (b'form-data; name="file"; filename="a\\"b.png"', "file", 'a"b.png'),
        (b'form-data; name="file"; filename="a;b.png"; size=3', "file", "a;b.png"),
        ('form-data; name="file"; filename="Zoë.png"'.encode(), "file", "Zoë.png"),
        (b'form-data; name="file"; filename="Zo\xeb.png"', "file", "Zoë.png"),  # not UTF-8: Latin-1
    ],
)
def test_names_are_read_however_they_are_written(disposition: bytes, name: str, filename: str | None) -> None:
    part = one(disposition)
    assert (part.name, part.filename, part.content) == (name, filename, b"abc")


@pytest.mark.parametrize(
    "header",
    [
        "multipart/form-data; boundary=x",
        "multipart/form-data;boundary=x",
        'Multipart/Form-Data; Boundary="x"',
        "multipart/form-data; charset=utf-8; boundary=x",
        "multipart/form-data; boundary=x; charset=utf-8",
    ],
)
def test_the_boundary_is_read_however_it_is_written(header: str) -> None:
    assert [part.content for part in parse_form(header, b"--x\r\n" + FILE + b"abc\r\n--x--\r\n")] == [b"abc"]


@pytest.mark.parametrize(
    "body",
    [
        b"a preamble\r\n--x\r\n" + FILE + b"abc\r\n--x--\r\n",
        b"\r\n--x\r\n" + FILE + b"abc\r\n--x--\r\n",
        b"--x  \t\r\n" + FILE + b"abc\r\n--x--\r\n",  # transport padding (RFC 2046)
        b"--x\r\n" + FILE + b"abc\r\n--x--",
        b"--x\r\n" + FILE + b"abc\r\n--x--\r\nan epilogue\r\n--x\r\n",
    ],
)
def test_what_surrounds_the_parts_does_not_count(body: bytes) -> None:
    assert [part.content for part in parse_form(HEADER, body)] == [b"abc"]


def test_a_part_may_be_empty_or_hold_what_looks_like_a_boundary() -> None:
    body = b"--x\r\n" + FILE + b"\r\n--x\r\n" + FILE + b"--x\n--x\r\r\n\r\n-x\r\n--x--\r\n"
    assert [part.content for part in parse_form(HEADER, body)] == [b"", b"--x\n--x\r\r\n\r\n-x"]


@pytest.mark.parametrize(
    ("header", "body", "why"),
    [
        ("multipart/form-data", b"--x--", "names no boundary"),
        ("multipart/form-data; boundary=", b"--x--", "names no boundary"),
        (HEADER, b"", "not what its content type says"),
        (HEADER, b"--y\r\n" + FILE + b"abc\r\n--y--\r\n", "not what its content type says"),
        (HEADER, b"--xy\r\n" + FILE + b"abc\r\n--xy--\r\n", "not what its content type says"),
        (HEADER, b"--x", "not what its content type says"),
        (HEADER, b"--x\r\n" + FILE + b"abc", "ends before its last boundary"),
        (HEADER, b"--x\r\n" + FILE + b"abc\r\n--x", "not what its content type says"),
        (HEADER, b"--x\r\nno headers\r\n--x--\r\n", "no headers"),
        (HEADER, b"--x\r\nno headers\r\n--x\r\n" + FILE + b"abc\r\n--x--\r\n", "a header"),
        (HEADER, b"--x\r\nno colon\r\n\r\nabc\r\n--x--\r\n", "a header"),
        (HEADER, b"--x\r\nContent-Type: image/png\r\n\r\nabc\r\n--x--\r\n", "no name"),
        (HEADER, b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n", "no name"),
        (HEADER, (b"--x\r\n" + FILE + b"\r\n") * (MAX_PARTS + 1) + b"--x--\r\n", f"more than {MAX_PARTS} parts"),
    ],
)
def test_what_is_no_form_is_refused_with_the_reason(header: str, body: bytes, why: str) -> None:
    with pytest.raises(Problem, match=why) as caught:
        parse_form(header, body)
    assert caught.value.status == 400


def test_garbage_is_refused_and_nothing_else() -> None:
    choose = random.Random(7)
    pieces = [
        b"--x",
        b"\r\n",
        b"--",
        FILE,
        b"Content-Disposition: form-data",
        b'; name="',
        b'"',
        b":",
        b"\r\n\r\n",
        b"\0",
    ]
    for _ in range(20_000):
        body = b"".join(choose.choices(pieces, k=choose.randrange(14)))
        with contextlib.suppress(Problem):
            parse_form(HEADER, body)
