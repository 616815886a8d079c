"""Reading a request takes time in proportion to its size, and a refusal fits into an answer, whatever was sent."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from time import process_time
from typing import Any

import httpx
import pytest
from fastapi import Request

from functions.predict.multipart import parse_form
from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.api.negotiation import quality
from functions.shared.api.preferences import prefers_async
from functions.shared.api.problems import MAX_ERRORS, MAX_TEXT_LENGTH, Problem
from tests.support.repository import DIGIT, ROOT

pytestmark = pytest.mark.slow

FORM = "multipart/form-data; boundary=b"
JSON = "application/json"
TOO_MUCH = 28
"""Eight times the input in this many times the time is more than linear, however busy the machine; quadratic is 64."""

MOST_SECONDS = 10


def part(head: bytes, content: bytes = b"x") -> bytes:
    return b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n--b--\r\n"


def disposition(rest: bytes) -> bytes:
    return part(b'Content-Disposition: form-data; name="file"' + rest)


def members(count: int, last: str) -> bytes:
    return ("{" + ",".join(f'"{number}":0' for number in range(count)) + f',"{last}":0}}').encode()


BODIES: dict[str, tuple[str, int, Callable[[int], bytes]]] = {
    "a member that is there twice": (JSON, 100_000, lambda n: members(n, "0")),
    "members that are not known": (JSON, 100_000, lambda n: members(n, "last")),
    "a member of one long name, twice": (JSON, 2_000_000, lambda n: b'{"' + b"a" * n + b'":0,"' + b"a" * n + b'":0}'),
    "a number of many digits": (JSON, 4_000_000, lambda n: b'{"features":[0.' + b"1" * n + b"]}"),
    "white space": (JSON, 4_000_000, lambda n: b'{"image":' + b" " * n + b'"x"}'),
    "brackets": (JSON, 4_000_000, lambda n: b'{"image":' + b"[" * n),
    "escapes": (JSON, 4_000_000, lambda n: b'{"image":"' + b"\\n" * (n // 2) + b'"}'),
    "semicolons in a data URI": (JSON, 4_000_000, lambda n: b'{"image":"data:image/png' + b";" * n + b'"}'),
    "parameters in a data URI": (JSON, 4_000_000, lambda n: b'{"image":"data:' + b";a=b" * (n // 4) + b',AAAA"}'),
    "metadata of many members": (JSON, 100_000, lambda n: b'{"image":"x","metadata":' + members(n, "last") + b"}"),
    "instances": (JSON, 1_000_000, lambda n: b'{"instances":[' + b"{}," * (n // 3) + b"{}]}"),
    "semicolons in a part's header": (FORM, 4_000_000, lambda n: disposition(b";" * n)),
    "quotes in a part's header": (FORM, 4_000_000, lambda n: disposition(b'; filename="' + b'\\"' * (n // 2))),
    "backslashes in a part's header": (FORM, 4_000_000, lambda n: disposition(b'; filename="' + b"\\" * n)),
    "headers of a part": (FORM, 4_000_000, lambda n: disposition(b"\r\na:b" * (n // 5))),
    "semicolons just below the limit": (FORM, 900_000, lambda n: disposition(b";" * n)),
    "parts": (FORM, 4_000_000, lambda n: b'--b\r\nContent-Disposition:form-data;name="a"\r\n\r\n\r\n' * (n // 50)),
    "almost boundaries": (FORM, 4_000_000, lambda n: part(b"Content-Disposition: x", b"\r\n--" * (n // 4))),
    "line ends": (FORM, 4_000_000, lambda n: b"--b" + b"\r\n" * (n // 2)),
    "a file of a long name": (FORM, 4_000_000, lambda n: disposition(b'; filename="' + b"a" * n + b'"')),
    "a user of a long name": (
        FORM,
        4_000_000,
        lambda n: part(b'Content-Disposition: form-data; name="user_id"', b"a" * n),
    ),
}


PIECES = [b";", b'"', b'";', b';"', b"\\", b'\\"', b"%", b"%41", b"'", b"*", b";filename*1=a", b"=?a?b?", b"=?a?b?a?="]


@pytest.mark.parametrize("piece", PIECES)
def test_a_name_in_a_charset_is_read_in_time_that_grows_with_its_length(piece: bytes) -> None:
    def parse(count: int) -> None:
        with suppress(Problem):
            parse_form("multipart/form-data; boundary=b", disposition(b"; filename*=UTF-8''" + piece * count))

    assert_linear(parse, 900_000 // len(piece))


def quickest(run: Callable[[], object], times: int = 3) -> float:
    """Return the least processor time of a few runs, in seconds."""
    taken = []
    for _ in range(times):
        began = process_time()
        run()
        taken.append(process_time() - began)
    return min(taken)


def assert_linear(run: Callable[[int], object], size: int) -> None:
    """Fail if eight times the input takes much more than eight times as long."""
    whole = quickest(lambda: run(size))
    assert whole < MOST_SECONDS
    if whole > 0.05:  # below that, there is nothing to tell apart
        assert whole < TOO_MUCH * quickest(lambda: run(size // 8), times=5)


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_is_read_in_time_that_grows_with_its_size(api: httpx.Client, kind: str) -> None:
    contenttype, size, body = BODIES[kind]
    path = "/predictions" if kind == "instances" else "/prediction"

    def send(count: int) -> None:
        answer = api.post(path, content=body(count), headers={"content-type": contenttype})
        assert 400 <= answer.status_code < 500, answer.text
        assert len(answer.content) < 10_000

    send(10)
    assert_linear(send, size)


def with_prefer(value: str) -> Request:
    return Request({"type": "http", "headers": [(b"prefer", value.encode())]})


@pytest.mark.parametrize("piece", ["\\", '"', '\\"', '"\\', ",", ";", "=", 'a="', '"a"', "respond-async;"])
def test_prefer_is_read_in_time_that_grows_with_its_length(piece: str) -> None:
    assert_linear(lambda n: prefers_async(with_prefer('"' + piece * n)), 60_000)
    assert_linear(lambda n: prefers_async(with_prefer(piece * n)), 60_000)


@pytest.mark.parametrize(
    ("prefer", "wanted"),
    [
        ("respond-async", True),
        ('note="a, \\" b", respond-async', True),
        ('note="respond-async"', False),
        ('note=", respond-async', False),
        ('note="\\\\", respond-async', True),
        ('note="\\', False),
    ],
)
def test_a_quoted_string_in_prefer_asks_for_nothing(prefer: str, wanted: bool) -> None:
    assert prefers_async(with_prefer(prefer)) is wanted


@pytest.mark.parametrize("piece", [",", ";", "a/b,", "*/*;q=0,", ";q=", "*/*;q=0" + "0" * 50])
def test_accept_is_read_in_time_that_grows_with_its_length(piece: str) -> None:
    assert_linear(lambda n: quality(piece * n, JSON), 60_000)


@pytest.mark.parametrize("name", ["content-type", "idempotency-key", "accept", "prefer"])
def test_a_header_of_any_length_is_answered(api: httpx.Client, name: str) -> None:
    for piece in (";", '"', "\\", "a", ",", "multipart/form-data;"):
        answer = api.post("/prediction", content=b"x", headers={name: piece * 30_000})
        assert 400 <= answer.status_code < 500
        assert len(answer.content) < 10_000


@pytest.mark.parametrize("name", ["cursor", "user_id", "limit", "since", "nonsense"])
def test_a_query_of_any_length_is_answered(api: httpx.Client, name: str) -> None:
    for value in ("A" * 60_000, "1" * 60_000, "-" * 60_000):
        answer = api.get("/predictions", params={name: value})
        assert answer.status_code == 422
        assert len(answer.content) < 10_000
    assert len(api.get("/predictions?" + "&".join(f"a{n}=1" for n in range(5_000))).content) < MAX_RESPONSE_BYTES


# --- no request takes more than the function has -------------------------------------------------------------------

MOST_MEGABYTES = 1000
"""A function has 1,769 MB."""

WITH_UNKNOWN_FEATURES = {"instances": [{"features": {f"unknown {number}": 0 for number in range(120)}}] * 256}
COSTLY: dict[str, tuple[str, str, dict[str, str], Callable[[], bytes], int]] = {
    "60,000 members, the last one twice": (
        "mnist",
        "/prediction",
        {"content-type": JSON},
        lambda: members(60_000, "59999"),
        400,
    ),
    "256 instances of 120 unknown features": (
        "diabetes",
        "/predictions",
        {"content-type": JSON},
        lambda: json.dumps(WITH_UNKNOWN_FEATURES).encode(),
        422,
    ),
    "60,000 backslashes in Prefer": (
        "mnist",
        "/prediction",
        {"content-type": "image/png", "prefer": '"' + "\\" * 60_000},
        DIGIT.read_bytes,
        201,
    ),
    "4 MB of semicolons in a part's header": (
        "mnist",
        "/prediction",
        {"content-type": FORM},
        lambda: disposition(b";" * 4_000_000),
        400,
    ),
    "4 MB of semicolons in a data URI": (
        "mnist",
        "/prediction",
        {"content-type": JSON},
        lambda: BODIES["semicolons in a data URI"][2](4_000_000),
        400,
    ),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_a_request_takes_little_time_and_memory(database_url: str, tmp_path: Path, kind: str) -> None:
    model, path, headers, body, status = COSTLY[kind]
    (tmp_path / "body").write_bytes(body())
    command = [sys.executable, "-m", "tests.support.request_child", path, json.dumps(headers), str(tmp_path / "body")]
    variables = {"DATABASE_URL": database_url, "MODEL": str(ROOT / "model_artifacts" / model)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took = json.loads(done.stderr.splitlines()[-1])
    assert took["status"] == status
    assert took["size"] < 1_000_000
    assert took["seconds"] < MOST_SECONDS
    assert took["megabytes"] < MOST_MEGABYTES


# --- refusals fit into an answer -------------------------------------------------------------------------------------


@pytest.fixture
def features_api(api: httpx.Client, environment: pytest.MonkeyPatch) -> httpx.Client:
    """The API with a model that names its features."""
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
    return api


def test_256_instances_of_120_unknown_features_each_are_refused_in_one_answer(features_api: httpx.Client) -> None:
    features = {f"{number:05}" + "\x01" * 95: 0 for number in range(120)}
    instances: list[dict[str, Any]] = [{"features": features}] * 256
    answer = features_api.post("/predictions", json={"instances": instances})
    assert answer.status_code in (413, 422)  # by the size of the body
    instances = [{"features": {f"unknown {number}": 0 for number in range(120)}}] * 256
    answer = features_api.post("/predictions", json={"instances": instances})
    assert answer.status_code == 422
    assert len(answer.content) < 1_000_000
    problem = answer.json()
    assert problem["detail"].startswith("256 of the inputs cannot be predicted. The first: the model has no feature")
    pointed_at = {error["pointer"].split("/")[2] for error in problem["errors"]}
    assert pointed_at == {str(position) for position in range(256)}
    assert {"pointer": "/instances/255", "detail": "there are more errors: send this input alone to see them"} in (
        problem["errors"]
    )
    assert len(problem["errors"]) <= MAX_ERRORS


def test_one_input_of_a_batch_has_all_its_errors_listed(features_api: httpx.Client) -> None:
    right = json.loads((ROOT / "local" / "samples" / "diabetes.json").read_bytes())
    wrong = {"features": {f"unknown {number}": 0 for number in range(80)}}
    alone = features_api.post("/prediction", json=wrong).json()["errors"]
    answer = features_api.post("/predictions", json={"instances": [right, wrong]})
    assert [error["detail"] for error in answer.json()["errors"]] == [error["detail"] for error in alone]


def test_a_problem_document_says_how_many_errors_it_leaves_out_and_shortens_long_texts() -> None:
    text = "\x00" * 1_000_000
    errors = [(f"/{number}", text) for number in range(2 * MAX_ERRORS)]
    body = Problem(HTTPStatus.BAD_REQUEST, text, errors=errors).body()
    assert len(body) < MAX_RESPONSE_BYTES
    document = json.loads(body)
    assert len(document["detail"]) == MAX_TEXT_LENGTH
    assert document["detail"].endswith("…")
    assert document["errors"][-1] == {"pointer": "", "detail": f"and {MAX_ERRORS} more errors"}
