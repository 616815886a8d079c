"""Whatever the bytes, an answer: never a failure, and for what once was one, the right refusal."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.gateway.integration import read_result
from tests.fuzz import corpus
from tests.fuzz.serving import FEATURES, IMAGE, Served, check
from tests.support.event_transport import Context

HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "accept",
            "content-type",
            "prefer",
            "idempotency-key",
            "authorization",
            "content-length",
            "cookie",
            "content-encoding",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)
CONTENT_TYPES = st.sampled_from(
    [
        *("application/json", "multipart/form-data; boundary=x", "image/png", "image/tiff", "text/plain", "", "a/b;c"),
        *("*/*", "image/*", "image/jpg", "application/octet-stream"),
    ]
)
FORM_PIECES = st.sampled_from(
    [
        b"--x",
        b"--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="file"; filename="a.png"',
        b'Content-Disposition: form-data; name="user_id"',
        b'Content-Disposition: form-data; name="meta\\"data"',
        b"Content-Disposition: form-data; name*=utf-8''file",
        b"Content-Disposition: form-data; name=file; filename*0*=utf-8''%ff; filename*1=a",
        b'Content-Disposition: form-data; name="file"; filename="=?utf-8?q?a=00?="',
        b"Content-Transfer-Encoding: base64",
        b"Content-Type: image/png",
        b": ",
        b"anna",
        b"{}",
        IMAGE,
    ]
)
JSON_PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        '"features"',
        '"image"',
        '"instances"',
        '"user_id"',
        "null",
        "1e5",
        "-",
        "\\u",
        " ",
    ]
)


def send(served: Served, request: corpus.Request) -> int:
    """Send a request of the corpus, and return the status of its answer."""
    headers = {"content-type": request.contenttype, **request.headers}
    return check(served.api.post(request.path, content=request.content, headers=headers)).status_code


def test_what_once_broke_json_is_answered_right(served: Served) -> None:
    requests = {**corpus.JSON, **corpus.accompanied(served.input)}
    answered = {name: send(served, request) for name, request in requests.items()}
    assert answered == {name: request.status for name, request in requests.items()}
    served.work()


def test_what_once_broke_forms_and_images_is_answered_right(served: Served) -> None:
    if served.takes != "image":
        pytest.skip("the model takes no images")
    requests = corpus.FORMS | corpus.UPLOADS
    answered = {name: send(served, request) for name, request in requests.items()}
    assert answered == {name: request.status for name, request in requests.items()}
    answered = {
        name: send(served, corpus.Request("/prediction", content, "image/png", status))
        for name, (content, status) in corpus.IMAGES.items()
    }
    assert answered == {name: status for name, (_, status) in corpus.IMAGES.items()}


@pytest.mark.parametrize("cursor", corpus.CURSORS)
def test_a_cursor_that_was_never_given_out_is_refused(served: Served, cursor: str) -> None:
    assert check(served.api.get("/predictions", params={"cursor": cursor})).status_code == 422


def test_any_query_is_answered(served: Served) -> None:
    names = st.sampled_from(["limit", "cursor", "user_id", "label", "since", "until", "min_confidence", "version", "x"])

    @given(st.lists(st.tuples(names, st.text(max_size=30)), max_size=4))
    def is_answered(query: list[tuple[str, str]]) -> None:
        encoded = httpx.QueryParams([(name, value.encode("utf-8", "replace").decode()) for name, value in query])
        assert check(served.api.get("/predictions", params=encoded)).status_code in (200, 422)

    is_answered()


def test_any_body_is_answered(served: Served) -> None:
    form = st.lists(FORM_PIECES, max_size=20).map(b"".join)
    text = st.lists(JSON_PIECES, max_size=20).map(lambda pieces: "".join(pieces).encode())
    paths = st.sampled_from(["/prediction", "/predictions", "/upload"])

    @given(paths, CONTENT_TYPES, HEADERS, st.one_of(form, text, st.binary(max_size=200)))
    def is_answered(path: str, contenttype: str, headers: dict[str, str], body: bytes) -> None:
        check(served.api.post(path, content=body, headers={"content-type": contenttype, **headers}))

    is_answered()


def test_any_change_to_an_image_is_answered(served: Served) -> None:
    if served.takes != "image":
        pytest.skip("the model takes no images")
    images = [corpus.saved(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")]

    @given(
        st.sampled_from([IMAGE, *images]), st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), max_size=6)
    )
    def is_answered(image: bytes, changes: list[tuple[int, int]]) -> None:
        changed = bytearray(image)
        for position, value in changes:
            changed[position % len(changed)] = value
        answer = check(served.api.post("/prediction", content=bytes(changed), headers={"content-type": "image/png"}))
        assert answer.status_code in (201, 400, 413, 422)

    is_answered()


def test_any_features_are_answered(served: Served) -> None:
    if served.takes != "features":
        pytest.skip("the model takes no features")
    values = st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.none(), st.booleans(), st.just([1]))

    @given(st.one_of(st.lists(values, max_size=12), st.dictionaries(st.sampled_from([*FEATURES, "x"]), values)))
    def is_answered(features: Any) -> None:
        body = json.dumps({"features": features}).encode()
        answer = check(served.api.post("/prediction", content=body, headers={"content-type": "application/json"}))
        assert answer.status_code in (201, 400, 422)

    is_answered()


def test_any_event_of_the_queue_leaves_the_worker_well(served: Served) -> None:
    from functions.worker.handler import handler

    bodies = st.one_of(st.text(max_size=40), st.uuids().map(str), st.just(served.predicted()))

    @given(st.lists(bodies, max_size=10), st.integers(1, 6))
    def is_answered(texts: list[str], deliveries: int) -> None:
        messages = [
            {"messageId": str(number), "body": text, "attributes": {"ApproximateReceiveCount": str(deliveries)}}
            for number, text in enumerate(texts)
        ]
        answer = handler({"Records": messages}, Context())  # type: ignore[typeddict-item]  # only what is read
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        assert again <= {message["messageId"] for message in messages}

    is_answered()


def test_any_path_and_headers_of_an_event_are_answered(served: Served) -> None:
    from functions.get_prediction.handler import handler

    assert served.predicted()

    @given(st.text(max_size=60), HEADERS, st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PATCH"]))
    def is_answered(text: str, headers: dict[str, str], method: str) -> None:
        path = f"/prediction/{text.encode('utf-8', 'replace').decode()}"
        event: dict[str, Any] = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "http": {"method": method, "path": path, "sourceIp": "127.0.0.1", "protocol": "HTTP/1.1"}
            },
            "isBase64Encoded": False,
        }
        assert read_result(json.loads(json.dumps(handler(event, Context())))).status < 500

    is_answered()


SPLICES = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 20), st.binary(max_size=8)), max_size=4)


@given(SPLICES, st.integers(-3, 3).map(str) | st.integers(0, 10**20).map(str) | st.text("0123456789+-e. ", max_size=9))
def test_a_damaged_inference_request_is_answered(
    served: Served, splices: list[tuple[int, int, bytes]], length: str
) -> None:
    tensor = served.tensor
    values = b"\0\0\0\x3f" * len(tensor.pop("data"))
    tensor["parameters"] = {"binary_data_size": len(values)}
    header = json.dumps({"inputs": [tensor]}).encode()
    body = header + values
    for at, removed, inserted in splices:
        body = body[:at] + inserted + body[at + removed :]
    said = str(len(header) + int(length)) if length.lstrip("-") in {"0", "1", "2", "3"} else length
    headers = {"inference-header-content-length": said}
    check(served.api.post(f"/v2/models/{served.model}/infer", content=body, headers=headers))
