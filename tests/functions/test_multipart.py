"""Forms: whatever a client writes them like, the bytes that come out are the bytes that went in."""

import contextlib
import encodings
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
    ("disposition", "filename"),
    [
        # RFC 8187: a charset, and percent-encoded bytes
        (b"filename*=UTF-8''Zo%C3%AB.png", "Zoë.png"),
        (b"FileName*=utf-8'en'%e6%97%a5%20x.png", "日 x.png"),
        (b"filename*=iso-8859-1''Zo%EB.png", "Zoë.png"),
        (b"filename*=\"UTF-8''Zo%C3%AB.png\"", "Zoë.png"),
        (b"filename=\"Zoe.png\"; filename*=UTF-8''Zo%C3%AB.png", "Zoë.png"),
        (b"filename*=UTF-8''Zo%C3%AB.png; filename=\"Zoe.png\"", "Zoë.png"),
        # RFC 2231: in pieces
        (b"filename*0*=UTF-8''Zo%C3; filename*1*=%AB.png", "Zoë.png"),
        (b'filename*0="a";\r\n filename*1="b.png"', "ab.png"),
        (b"filename*1*=%AB; filename*0*=UTF-8''Zo%C3; filename*2=\".png\"", "Zoë.png"),
        (b'filename*0*="UTF-8\'\'a%22;"; filename*1=";\\"b"', 'a";;"b'),
        # RFC 2047: encoded words, also where a parameter may not have any
        (b'filename="=?UTF-8?B?Wm/Dqy5wbmc=?="', "Zoë.png"),
        (b'filename="=?utf-8?q?Zo=C3=AB_2=2Epng?="', "Zoë 2.png"),
        (b'filename="=?utf-8?Q?Zo=C3=AB?= =?iso-8859-1?q?=EB=2Epng?="', "Zoëë.png"),
        (b'filename="=?utf-8?q?Zo=C3=AB?=.png"', "Zoë.png"),
        (b'filename="=?KOI8-U?q?=D1=2Epng?="', "я.png"),
        (b"filename*=windows-1252''%80.png", "€.png"),
        (b'filename="=?UTF-8*en?B?Wm/Dqw?=.png"', "Zoë.png"),
        # what only looks like it
        (b"filename=\"a; filename*=UTF-8''b.png\"", "a; filename*=UTF-8''b.png"),
        (b'filename="a*b.png"', "a*b.png"),
        (b'filename="=?klingon?q?a?=.png"', "=?klingon?q?a?=.png"),
        (b'filename="=?utf-8?b?/w==?=.png"', "=?utf-8?b?/w==?=.png"),
        (b'filename="=?punycode?q?a-?=.png"', "=?punycode?q?a-?=.png"),
        (b'filename="=?Unicode-Escape?q?=5Cn?=.png"', "=?Unicode-Escape?q?=5Cn?=.png"),
        (b'filename="why=?.png"', "why=?.png"),
    ],
)
def test_a_name_in_a_charset_of_its_own_is_decoded(disposition: bytes, filename: str) -> None:
    part = one(b'form-data; name="file"; ' + disposition)
    assert (part.name, part.filename, part.content) == ("file", filename, b"abc")


@pytest.mark.parametrize(
    "disposition",
    [
        b"name=\"file\"; filename*=UTF-8''%FF",
        b"name=\"file\"; filename*=klingon''a",
        b"name=\"file\"; filename*=UTF\x00-8''a",
        # Python's own codecs, of which the first takes quadratic time
        b"name=\"file\"; filename*=punycode''a-",
        b"name=\"file\"; filename*=IDNA''a",
        b"name=\"file\"; filename*=unicode_escape''a",
        b"name=\"file\"; filename*=raw-unicode-escape''a",
        b"filename*=a",
    ],
)
def test_a_name_that_is_not_in_its_charset_is_refused(disposition: bytes) -> None:
    with pytest.raises(Problem) as caught:
        one(b"form-data; " + disposition)
    assert "charset" in caught.value.detail or "a part has no name" in caught.value.detail


def test_no_charset_that_a_client_makes_up_is_remembered() -> None:
    before = len(encodings._cache)  # where Python remembers that there is none
    for number in range(100):
        own = b"klingon-%d" % number
        with pytest.raises(Problem):
            one(b'form-data; name="file"; filename*=' + own + b"''a")
        assert one(b'form-data; name="file"; filename="=?' + own + b'?q?a?="').filename == f"=?{own.decode()}?q?a?="
    assert len(encodings._cache) == before


@pytest.mark.parametrize(
    ("coding", "content"),
    [(b"binary", b"a=3D\r\n"), (b"8bit", b"a"), (b"base64", b"YT0zR\r\nA=="), (b"Quoted-Printable", b"a=3D3D")],
)
def test_a_transfer_encoding_is_undone(coding: bytes, content: bytes) -> None:
    head = b'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: ' + coding
    (part,) = parse_form(HEADER, b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n--x--\r\n")
    assert part.content == {b"base64": b"a=3D", b"Quoted-Printable": b"a=3D"}.get(coding, content)


@pytest.mark.parametrize(("coding", "content"), [(b"base64", b"YT0zR"), (b"uuencode", b"abc")])
def test_a_transfer_encoding_that_cannot_be_undone_is_refused(coding: bytes, content: bytes) -> None:
    head = b'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: ' + coding
    with pytest.raises(Problem, match="Content-Transfer-Encoding"):
        parse_form(HEADER, b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n--x--\r\n")


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
