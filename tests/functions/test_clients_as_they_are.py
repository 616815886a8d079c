"""Requests as clients write them: media types, base64, compressed bodies and file names that are no textbook's."""

import base64
import gzip
import io
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from functions.shared.api.content_encoding import CODINGS
from functions.shared.inference.content_types import SUPPORTED_CONTENT_TYPES
from functions.shared.prediction.requests import Input, PredictionRequest
from tests.support.database import Query

KINDS = dict(zip(SUPPORTED_CONTENT_TYPES, ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"], strict=True))


def saved(contenttype: str, digit: bytes) -> bytes:
    """Return the digit as a file of this kind."""
    file = io.BytesIO()
    Image.open(io.BytesIO(digit)).save(file, KINDS[contenttype])
    return file.getvalue()


def by_form(api: httpx.Client, content: bytes, declared: str) -> httpx.Response:
    return api.post("/prediction", files={"file": ("seven", content, declared)})


def by_body(api: httpx.Client, content: bytes, declared: str) -> httpx.Response:
    return api.post("/prediction", content=content, headers={"content-type": declared})


def by_data_uri(api: httpx.Client, content: bytes, declared: str) -> httpx.Response:
    return api.post("/prediction", json={"image": f"data:{declared};base64,{base64.b64encode(content).decode()}"})


def by_batch(api: httpx.Client, content: bytes, declared: str) -> httpx.Response:
    answer = api.post("/predictions", files=[("file", ("seven", content, declared))])
    if answer.status_code == 201:
        [record] = answer.json()["predictions"]
        return httpx.Response(201, json=record)
    return answer


Send = Callable[[httpx.Client, bytes, str], httpx.Response]
ways = pytest.mark.parametrize("send", [by_form, by_body, by_data_uri, by_batch])


# --- media types -----------------------------------------------------------------------------------------------------


@ways
@pytest.mark.parametrize(
    ("declared", "actual"),
    [
        ("image/jpg", "image/jpeg"),
        ("image/pjpeg", "image/jpeg"),
        ("IMAGE/JPG", "image/jpeg"),
        ("image/x-png", "image/png"),
        ("image/x-ms-bmp", "image/bmp"),
        ("image/x-windows-bmp", "image/bmp"),
        ("image/tif", "image/tiff"),
        ("application/x-tif", "image/tiff"),
        ("image/*", "image/gif"),
        ("image/heic", "image/jpeg"),  # as phones name what they have converted
        ("image/svg+xml", "image/webp"),
        ("image/png", "image/jpeg"),  # supported itself, and wrong
        ("application/octet-stream", "image/png"),
        ("binary/octet-stream", "image/png"),  # as S3 names what nobody named
    ],
)
def test_an_image_is_what_its_bytes_are_and_the_record_says_what_it_was_declared_to_be(
    api: httpx.Client, digit: bytes, send: Send, declared: str, actual: str
) -> None:
    content = saved(actual, digit)

    answer = send(api, content, declared)

    assert answer.status_code == 201
    record = answer.json()
    assert (record["contenttype"], record["declared_contenttype"], record["label"]) == (actual, declared.lower(), "7")
    [listed] = api.get("/predictions").json()["predictions"]
    assert listed == record
    read = api.get(f"/prediction/{record['prediction_id']}").json()
    assert read.pop("image") == f"data:{actual};base64,{base64.b64encode(content).decode()}"
    assert read == record
    sent = api.get(f"/prediction/{record['prediction_id']}/input")
    assert (sent.headers["content-type"], sent.content) == (actual, content)


@ways
@pytest.mark.parametrize("contenttype", KINDS)
def test_nothing_is_said_of_what_was_declared_where_it_is_right(
    api: httpx.Client, digit: bytes, send: Send, contenttype: str
) -> None:
    record = send(api, saved(contenttype, digit), contenttype).json()
    assert record["contenttype"] == contenttype
    assert "declared_contenttype" not in record


def test_an_image_without_any_type_is_what_its_bytes_are(api: httpx.Client, digit: bytes) -> None:
    body = b"--x\r\ncontent-disposition: form-data; name=file; filename=7\r\n\r\n%b\r\n--x--" % digit
    for answer in (
        api.post("/prediction", content=digit),
        api.post("/prediction", content=body, headers={"content-type": "multipart/form-data; boundary=x"}),
        by_data_uri(api, digit, ""),
    ):
        assert answer.status_code == 201
        assert answer.json()["contenttype"] == "image/png"
        assert "declared_contenttype" not in answer.json()


@ways
@pytest.mark.parametrize(
    ("content", "declared", "status"),
    [
        (None, "text/plain", 415),
        (None, "application/pdf", 415),
        (None, "video/mp4", 415),
        (None, "image", 415),
        (None, f"image/{'x' * 128}", 415),
        (None, "image/a b", 415),
        (b"no image", "image/heic", 415),
        (b"no image", "image/jpg", 400),
        (b"no image", "image/png", 400),
        (b"", "image/jpg", 400),
    ],
)
def test_what_is_declared_to_be_no_image_or_is_none_is_refused(
    api: httpx.Client, digit: bytes, send: Send, content: bytes | None, declared: str, status: int
) -> None:
    answer = send(api, digit if content is None else content, declared)
    assert answer.status_code == status
    assert "image" in answer.json()["detail"]
    assert api.get("/predictions").json()["predictions"] == []


@pytest.mark.parametrize("send", [by_form, by_data_uri, by_batch])
def test_what_no_database_could_store_is_no_type(api: httpx.Client, digit: bytes, send: Send) -> None:
    answer = send(api, digit, "image/png\0")
    assert answer.status_code == 415
    assert "image/png" in answer.json()["detail"]


def test_bytes_of_no_type_that_are_no_image_are_refused(api: httpx.Client) -> None:
    assert by_body(api, b"no image", "application/octet-stream").status_code == 415
    assert by_form(api, b"no image", "application/octet-stream").status_code == 400


@pytest.mark.parametrize("declared", ["image/jpg", "application/octet-stream", "image/png"])
def test_a_repeated_request_gets_the_first_answer_whatever_it_declares(
    api: httpx.Client, digit: bytes, declared: str
) -> None:
    headers = {"idempotency-key": "1"}
    first, again = (
        api.post("/prediction", files={"file": ("seven", digit, declared)}, headers=headers) for _ in range(2)
    )
    assert first.status_code == 201
    assert again.content == first.content


@pytest.mark.parametrize(
    ("declared", "covered"),
    [
        (None, "image/png"),
        ("application/octet-stream", "image/png"),
        ("image/jpeg", "image/jpeg"),  # what older versions stored as the content type of these bytes
    ],
)
def test_the_digest_of_a_request_is_that_of_older_versions(declared: str | None, covered: str) -> None:
    older = PredictionRequest((Input(covered, content=b"a", filename="7.png"),), "anna", "key")
    now = PredictionRequest(
        (Input("image/png", content=b"a", filename="7.png", declared_contenttype=declared),), "anna", "key"
    )
    assert now.idempotency() == older.idempotency()


# --- base64 ----------------------------------------------------------------------------------------------------------


def lines(text: str, end: str) -> str:
    return end.join(text[at : at + 76] for at in range(0, len(text), 76))


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda text: lines(text, "\n"), id="lines, as base64 writes them"),
        pytest.param(lambda text: lines(text, "\r\n") + "\r\n", id="lines, as mail has them"),
        pytest.param(lambda text: f" {text}\t", id="spaces around"),
        pytest.param(lambda text: text.rstrip("="), id="without padding"),
        pytest.param(lambda text: text.replace("+", "-").replace("/", "_"), id="the alphabet of URLs"),
        pytest.param(lambda text: text.rstrip("=").replace("+", "-").replace("/", "_"), id="as a JWT has it"),
        pytest.param(lambda text: text.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"), id="as a URL"),
        pytest.param(lambda text: lines(text, "%0A"), id="lines in a URL"),
    ],
)
@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:image/png; Base64 ,", "\n data:;base64,"])
def test_base64_is_read_as_browsers_read_it_and_in_the_alphabet_of_urls(
    api: httpx.Client, digit: bytes, written: Callable[[str], str], head: str
) -> None:
    # Behind the end of a PNG, nothing matters: all 64 characters, and every length of padding
    for content in (digit + bytes(range(256)) * 3, digit + b"\xfb", digit + b"\xff\xef"):
        answer = api.post("/prediction", json={"image": head + written(base64.b64encode(content).decode())})
        assert answer.status_code == 201
        assert api.get(f"/prediction/{answer.json()['prediction_id']}/input").content == content


@pytest.mark.parametrize("data", ["AAAAA", "AA=A", "AAA=A", "AAA*", "AA%3", "AA\u00a0", "=", "AA\x00A", "é"])
def test_what_is_no_base64_is_refused(api: httpx.Client, data: str) -> None:
    answer = api.post("/prediction", json={"image": f"data:image/png;base64,{data}"})
    assert answer.status_code == 400
    assert "base64" in answer.json()["detail"]


@pytest.mark.parametrize(
    "uri", ["data:image/png,AAAA", "image/png;base64,AAAA", "data:image/png;base64", "iVBORw0KGgo="]
)
def test_what_is_no_data_uri_is_refused(api: httpx.Client, uri: str) -> None:
    answer = api.post("/prediction", json={"image": uri})
    assert answer.status_code == 400
    assert "data:image/png;base64,iVBORw0KGgo=" in answer.json()["detail"]


# --- compressed bodies -----------------------------------------------------------------------------------------------

COMPRESS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    "identity": lambda body: body,
}


def compressed(api: httpx.Client, path: str, coding: str, body: bytes, contenttype: str) -> httpx.Response:
    headers = {"content-type": contenttype, "content-encoding": coding}
    return api.post(path, content=COMPRESS[coding](body), headers=headers)


@pytest.mark.parametrize("coding", COMPRESS)
def test_a_body_may_be_compressed(api: httpx.Client, digit: bytes, coding: str) -> None:
    form = httpx.Request("POST", "http://a", files={"file": ("7.png", digit, "image/png")})
    uri = f"data:image/png;base64,{base64.b64encode(digit).decode()}"
    bodies: list[tuple[str, bytes, str]] = [
        ("/prediction", digit, "image/png"),
        ("/prediction", form.read(), form.headers["content-type"]),
        ("/prediction", json.dumps({"image": uri}).encode(), "application/json"),
        ("/predictions", json.dumps({"instances": [{"image": uri}]}).encode(), "application/json"),
        ("/predictions", form.read(), form.headers["content-type"]),
    ]
    for path, body, contenttype in bodies:
        assert compressed(api, path, coding, body, contenttype).status_code == 201
    records = api.get("/predictions").json()["predictions"]
    assert len(records) == len(bodies)
    for record in records:  # stored as sent, without the encoding of the way
        assert api.get(f"/prediction/{record['prediction_id']}/input").content == digit


def test_a_compressed_retry_is_the_same_request(api: httpx.Client, digit: bytes) -> None:
    headers = {"content-type": "image/png", "idempotency-key": "1"}
    first = api.post("/prediction", content=digit, headers=headers)
    again = api.post("/prediction", content=gzip.compress(digit), headers={**headers, "content-encoding": "gzip"})
    assert again.content == first.content


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_refused_and_told_the_limit(api: httpx.Client, coding: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAX_BODY_BYTES", "1000")
    answer = compressed(api, "/prediction", coding, bytes(1_000_000), "image/png")
    assert answer.status_code == 413
    assert "1000" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/prediction", "/predictions"])
@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "aes128gcm"])
def test_any_other_encoding_is_refused_by_its_name(api: httpx.Client, digit: bytes, path: str, coding: str) -> None:
    answer = api.post(path, content=digit, headers={"content-type": "image/png", "content-encoding": coding})
    assert answer.status_code == 415
    assert coding in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_body_that_is_not_in_its_encoding_is_refused(api: httpx.Client, digit: bytes) -> None:
    for body in (digit, gzip.compress(digit)[:-9]):
        answer = api.post(
            "/prediction", content=body, headers={"content-type": "image/png", "content-encoding": "gzip"}
        )
        assert answer.status_code == 400
        assert "gzip" in answer.json()["detail"]
    assert api.get("/predictions").json()["predictions"] == []


# --- names and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "filename"),
    [
        ("filename*=UTF-8''Zo%C3%AB%20%E2%82%AC.png", "Zoë €.png"),
        ('filename="=?UTF-8?B?Wm/Dqy5wbmc=?="', "Zoë.png"),
        ("filename=\"Zoe.png\"; filename*=utf-8'nl'Zo%C3%AB.png", "Zoë.png"),
    ],
)
def test_an_encoded_file_name_is_kept_decoded(api: httpx.Client, digit: bytes, written: str, filename: str) -> None:
    head = f'content-disposition: form-data; name="file"; {written}\r\ncontent-type: image/png\r\n\r\n'
    answer = api.post(
        "/prediction",
        content=b"--x\r\n" + head.encode() + digit + b"\r\n--x--\r\n",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 201
    assert answer.json()["filename"] == filename


def test_a_file_name_that_cannot_be_shown_is_refused_however_it_is_encoded(api: httpx.Client, digit: bytes) -> None:
    for written in ("filename*=UTF-8''a%00b", 'filename="=?utf-8?q?a=0Ab?="', f"filename*=UTF-8''{'%41' * 256}"):
        head = f'content-disposition: form-data; name="file"; {written}\r\n\r\n'
        body = b"--x\r\n" + head.encode() + digit + b"\r\n--x--\r\n"
        answer = api.post("/prediction", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 422


def test_a_jpeg_that_lacks_only_its_end_marker_is_read_and_a_cut_one_is_not(
    api: httpx.Client, digit: bytes, query: Query
) -> None:
    whole = saved("image/jpeg", digit)
    expected: dict[str, Any] = by_body(api, whole, "image/jpeg").json()
    unended = by_body(api, whole[:-2], "image/jpeg")
    assert unended.status_code == 201
    assert unended.json()["prediction"] == expected["prediction"]
    for cut in (12, len(whole) // 2):
        answer = by_body(api, whole[:-cut], "image/jpeg")
        assert answer.status_code == 400
        assert "cut off" in answer.json()["detail"]
    assert query("SELECT count(*) FROM predictions") == [[2]]
