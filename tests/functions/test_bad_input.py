"""Bad input is a case: it gets the contract's status and a clear sentence, and nothing is stored."""

import io
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from tests.support.hostile_images import png, progressive_jpeg, tiff, tiff_tags

PNG = "image/png"
UNKNOWN = "019a0000-0000-7000-8000-000000000000"


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Return the problem document of an answer, checked for what every one of them has (RFC 9457)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"].endswith(".")
    assert not {"Traceback", "SELECT", "INSERT", "/functions/", "site-packages"} & set(document["detail"].split())
    return document


@pytest.fixture(autouse=True)
def nothing_is_stored(api: httpx.Client) -> Iterator[None]:
    yield
    assert api.get("/predictions").json() == {"predictions": [], "next_cursor": None}


def huge_png(side: int) -> bytes:
    """Return a PNG of `side` x `side` black pixels, which is small on the wire."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def send_file(api: httpx.Client, content: bytes, name: str = "seven.png", contenttype: str = PNG) -> httpx.Response:
    return api.post("/prediction", files={"file": (name, content, contenttype)})


def test_a_50_megapixel_png_of_60_kb_is_refused_before_it_is_decoded(api: httpx.Client) -> None:
    bomb = huge_png(7071)
    assert len(bomb) < 65_000

    document = problem(send_file(api, bomb), 413)

    assert "25000000" in document["detail"].replace(",", "")


def test_a_body_over_the_limit_is_refused_and_the_answer_names_the_limit(
    api: httpx.Client, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_BODY_BYTES", "1000")

    document = problem(send_file(api, bytes(1001)), 413)

    assert "at most 1000" in document["detail"]


COSTLY = {
    "one column of 25 megapixels": lambda: png(1, 25_000_000, depth=1),
    "3,000 scans of 25 megapixels": lambda: progressive_jpeg(5000, 3000),
    "a tile of 46336 x 46336": lambda: tiff(
        tiff_tags(28, 28, 9, t273=None, t278=None, t279=None, t322=46336, t323=46336, t324=8, t325=9), bytes(9)
    ),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_an_image_that_costs_too_much_to_decode_is_refused(api: httpx.Client, kind: str) -> None:
    refused = problem(send_file(api, COSTLY[kind]()), 413)
    assert refused["errors"][0]["pointer"] == "/image"
    assert "at most 100000000 are decoded" in refused["detail"] or "65535 pixels of a side" in refused["detail"]


def test_a_batch_of_256_images_of_25_megapixels_is_refused_and_points_at_those_over_the_limit(
    api: httpx.Client,
) -> None:
    content = png(5000, 5000, depth=1)
    files = [("file", (f"{position}.png", content, PNG)) for position in range(256)]
    refused = problem(api.post("/predictions", files=files), 413)
    assert [error["pointer"] for error in refused["errors"]] == [
        f"/file/{position}/image" for position in range(4, 256)
    ]
    assert "at most 100000000 are decoded for one request: send fewer at once" in refused["detail"]


@pytest.mark.parametrize(
    ("content", "contenttype", "status"),
    [
        (b"I am a text", PNG, 400),
        (b"", PNG, 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", PNG, 400),
        (b"I am a text", "application/octet-stream", 400),
        (b"I am a text", "text/plain", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 415),
        (b"%PDF-1.7", "application/pdf", 415),
        (b"{}", "application/json", 415),
    ],
)
def test_a_file_that_is_no_image_is_refused(api: httpx.Client, content: bytes, contenttype: str, status: int) -> None:
    document = problem(send_file(api, content, "notes", contenttype), status)

    if status == 415:
        refused, _, taken = document["detail"].partition(": ")
        assert repr(contenttype) in refused
        assert "image/png" in taken
        assert contenttype not in taken  # what is refused is not what would be right


@pytest.mark.parametrize("length", [9, 40, 100, 200])
def test_a_truncated_image_is_refused(api: httpx.Client, digit: bytes, length: int) -> None:
    problem(send_file(api, digit[:length]), 400)
    problem(api.post("/prediction", content=digit[:length], headers={"content-type": PNG}), 400)


def test_an_image_of_the_wrong_kind_inside_is_decoded_for_what_it_is(api: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("P", (0x10, 0x10)).save(file, "ICO")

    problem(send_file(api, file.getvalue()), 400)


@pytest.mark.parametrize(
    ("body", "contenttype"),
    [
        (b"", "multipart/form-data"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"--x\r\nno colon here\r\n\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Type: image/png\r\n\r\nabc\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="user_id"\r\n\r\nanna\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nabc',
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_a_form_without_a_file_or_broken_is_malformed(api: httpx.Client, body: bytes, contenttype: str) -> None:
    problem(api.post("/prediction", content=body, headers={"content-type": contenttype}), 400)


def test_a_form_with_an_unknown_or_a_repeated_part_is_refused(api: httpx.Client, digit: bytes) -> None:
    unknown = api.post("/prediction", files={"file": ("a.png", digit, PNG)}, data={"color": "red"})
    twice = api.post("/prediction", files=[("file", ("a.png", digit, PNG)), ("file", ("b.png", digit, PNG))])

    assert "'color'" in problem(unknown, 422)["detail"]
    assert "more than one" in problem(twice, 422)["detail"]


@pytest.mark.parametrize("filename", ["a%0Ab.png", "x" * 10_000, "a\x00b.png", "a\rb"])
def test_a_file_name_of_several_lines_or_of_10000_characters_is_refused(
    api: httpx.Client, digit: bytes, filename: str
) -> None:
    uri = f"data:image/png;base64,{b64encode(digit).decode()}"
    name = filename.replace("%0A", "\n")

    document = problem(api.post("/prediction", json={"image": uri, "filename": name}), 422)

    assert document["errors"][0]["pointer"] == "/filename"


@pytest.mark.parametrize(
    ("metadata", "status"),
    [("not json", 422), ("[]", 422), ('{"a": NaN}', 422), ('{"a": "' + "x" * 20_000 + '"}', 422)],
)
def test_metadata_of_a_form_must_be_a_json_object(api: httpx.Client, digit: bytes, metadata: str, status: int) -> None:
    answer = api.post("/prediction", files={"file": ("a.png", digit, PNG)}, data={"metadata": metadata})

    assert problem(answer, status)["errors"][0]["pointer"] == "/metadata"


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b"[]", 422, "must be an object"),
        (b"{}", 400, "no image"),
        (b'{"image": null}', 400, "no image"),
        (b'{"image": 7}', 422, "must be a string"),
        (b'{"image": "http://169.254.169.254/"}', 400, "data URI"),
        (b'{"image": "data:image/png,abc"}', 400, "data URI"),
        (b'{"image": "data:image/png;base64,"}', 400, "empty"),
        (b'{"image": "data:image/png;base64,!!!"}', 400, "malformed"),
        (b'{"image": "data:image/png;base64,AAAA"}', 400, "image"),
        (b'{"image": "data:text/html;base64,AAAA"}', 415, "image/png"),
        (b'{"features": [1, 2]}', 422, "takes image"),
        (b'{"image": "data:image/png;base64,AAAA", "colour": 1}', 422, "'colour'"),
        (b'{"image": "data:image/png;base64,AAAA", "user_id": ""}', 422, "user_id"),
        (b'{"image": "data:image/png;base64,AAAA", "user_id": "\\ud800"}', 422, "user_id"),
        (b'{"image": "data:image/png;base64,AAAA", "metadata": {"a": "\\u0000"}}', 422, "U+0000"),
    ],
)
def test_json_that_is_not_what_the_model_takes_is_refused(
    api: httpx.Client, body: bytes, status: int, says: str
) -> None:
    answer = api.post("/prediction", content=body, headers={"content-type": "application/json"})

    assert says in problem(answer, status)["detail"]


@pytest.mark.parametrize(
    ("contenttype", "status"),
    [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("image/svg+xml", 415),
        ("image/avif", 415),
        ("nonsense", 415),
        ("", 415),
    ],
)
def test_a_content_type_that_the_model_does_not_take_is_told_which_it_does(
    api: httpx.Client, contenttype: str, status: int
) -> None:
    document = problem(api.post("/prediction", content=b"abc", headers={"content-type": contenttype}), status)

    for taken in ("multipart/form-data", "image/png", "application/json"):
        assert taken in document["detail"]


def test_a_request_with_nothing_in_it_is_malformed(api: httpx.Client) -> None:
    problem(api.post("/prediction"), 400)


@pytest.mark.parametrize("prediction_id", ["abc", "123", "'; DROP TABLE predictions", "%00", "x" * 500])
@pytest.mark.parametrize("suffix", ["", "/input"])
def test_an_id_that_is_no_uuid_is_refused(api: httpx.Client, prediction_id: str, suffix: str) -> None:
    document = problem(api.get(f"/prediction/{prediction_id}{suffix}"), 422)

    assert "as in 019ab5a4-2f7c-7e11-8a4b-3f0c5d6e7f80" in document["detail"]


@pytest.mark.parametrize("suffix", ["", "/", "/input"])
def test_an_unknown_id_is_not_found(api: httpx.Client, suffix: str) -> None:
    problem(api.get(f"/prediction/{uuid4()}{suffix}"), 404)


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=0",
        "limit=1001",
        "limit=1e9",
        "limit=1000000000",
        "limit=abc",
        "limit=",
        "limit=10&limit=20",
        "cursor=abc",
        "cursor=",
        "cursor=%00",
        "cursor=" + "A" * 300,
        "cursor=AAAAAAAAAAAAAAAAAAAAAA",
        "min_confidence=2",
        "min_confidence=nan",
        "max_confidence=-0.1",
        "since=yesterday",
        "since=20260131",
        "since=2026-01-01T00:00:00",
        "since=2026-02-30",
        "since=2026-01-01T00:00:00 09:00Z",
        "since=",
        "until=1e400",
        "label=%00",
        "label=%E9t%E9",
        "label=7&label=8",
        "user_id=",
        "user_id=" + "x" * 300,
        "model=" + "x" * 300,
        "version=%00",
        "lable=7",
    ],
)
def test_a_query_that_cannot_be_meant_is_refused_and_names_the_parameter(api: httpx.Client, query: str) -> None:
    document = problem(api.get(f"/predictions?{query}"), 422)

    assert document["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/prediction", "POST"),
        ("PUT", "/predictions", "DELETE, GET, HEAD, POST"),
        ("PUT", f"/prediction/{UNKNOWN}", "DELETE, GET, HEAD"),
        ("POST", f"/prediction/{UNKNOWN}/input", "GET"),
        ("POST", "/", "GET"),
        ("DELETE", "/model", "GET"),
    ],
)
def test_a_wrong_method_is_told_which_are_right(api: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = api.request(method, path)

    assert allowed in answer.headers["allow"]
    assert allowed in problem(answer, 405)["detail"]


@pytest.mark.parametrize("path", ["/predictions", f"/prediction/{UNKNOWN}", "/model", "/health", "/"])
def test_an_answer_that_the_caller_cannot_read_is_not_made(api: httpx.Client, path: str) -> None:
    problem(api.get(path, headers={"accept": "application/xml"}), 406)


def test_a_database_that_cannot_be_reached_is_said_with_when_to_come_back(
    api: httpx.Client, digit: bytes, environment: pytest.MonkeyPatch, forget: Callable[[], None], database_url: str
) -> None:
    environment.setenv("DATABASE_URL", "postgresql://ledger@127.0.0.1:1/ledger")
    forget()

    for answer in (
        send_file(api, digit),
        api.get("/predictions"),
        api.get(f"/prediction/{UNKNOWN}"),
        api.get("/health?deep=1"),
    ):
        assert int(answer.headers["retry-after"]) > 0
        assert "127.0.0.1" not in problem(answer, 503)["detail"]

    environment.setenv("DATABASE_URL", database_url)
    forget()


@pytest.mark.parametrize("path", ["/prediction", "/predictions"])
def test_a_member_that_no_request_has_is_refused_though_it_is_null(api: httpx.Client, digit: bytes, path: str) -> None:
    one = {"image": f"data:image/png;base64,{b64encode(digit).decode()}", "filname": None}
    body = one if path == "/prediction" else {"instances": [one]}
    assert "'filname' is unknown" in problem(api.post(path, json=body), 422)["errors"][0]["detail"]
