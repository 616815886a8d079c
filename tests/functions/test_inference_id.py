"""The caller's own id of a prediction: taken with every way of sending an input, kept, shown, and found."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.database import Query
from tests.support.graphs import package, sum_and_difference
from tests.support.repository import ROOT

NAMES = ("inference_id", "client_request_id")
LONGEST = "ü" * 255
ROW = {"INPUT0": list(range(16)), "INPUT1": [1] * 16}

Named = dict[str, Any]
Send = Callable[[httpx.Client, bytes, Named], httpx.Response]


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"


def part(content: bytes) -> tuple[str, tuple[str, bytes, str]]:
    return ("file", ("seven.png", content, "image/png"))


def tensors(*rows: dict[str, list[int]], **members: Any) -> dict[str, Any]:
    """Return a request of version 2 of the protocol."""
    return {
        "inputs": [
            {"name": name, "shape": [len(rows), 16], "datatype": "INT32", "data": [row[name] for row in rows]}
            for name in ROW
        ],
        **members,
    }


def _image_itself(api: httpx.Client, content: bytes, named: Named) -> httpx.Response:
    return api.post("/prediction", params=named, content=content, headers={"content-type": "image/png"})


def _v2_in_binary(api: httpx.Client, _: bytes, named: Named) -> httpx.Response:
    contents = [np.array([values], np.int32).tobytes() for values in ROW.values()]
    inputs = [
        {"name": name, "shape": [1, 16], "datatype": "INT32", "parameters": {"binary_data_size": len(content)}}
        for name, content in zip(ROW, contents, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": named}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "content-type": "application/octet-stream"}
    return api.post("/v2/models/simple/infer", content=head + b"".join(contents), headers=headers)


IMAGE: dict[str, Send] = {
    "a form": lambda api, content, named: api.post("/prediction", files=[part(content)], data=named),
    "an image in JSON": lambda api, content, named: api.post("/prediction", json={"image": uri(content), **named}),
    "an image that is the body": _image_itself,
    "a form and the query": lambda api, content, named: api.post("/prediction", params=named, files=[part(content)]),
    "a form to many": lambda api, content, named: api.post("/predictions", files=[part(content)], data=named),
    "an instance of many": lambda api, content, named: api.post(
        "/predictions", json={"instances": [{"image": uri(content), **named}]}
    ),
    "what is beside the instances": lambda api, content, named: api.post(
        "/predictions", json={"instances": [{"image": uri(content)}], **named}
    ),
    "version 1": lambda api, content, named: api.post(
        "/v1/models/mnist:predict", json={"instances": [{"b64": b64encode(content).decode()}], "parameters": named}
    ),
}
FEATURES: dict[str, Send] = {
    "features": lambda api, _, named: api.post("/prediction", json={"features": [0.1] * 10, **named}),
    "features of many": lambda api, _, named: api.post(
        "/predictions", json={"instances": [{"features": [0.1] * 10, **named}]}
    ),
}
TENSORS: dict[str, Send] = {
    "tensors": lambda api, _, named: api.post("/prediction", json={"inputs": ROW, **named}),
    "tensors of many": lambda api, _, named: api.post("/predictions", json={"instances": [{"inputs": ROW, **named}]}),
    "version 1 with tensors": lambda api, _, named: api.post(
        "/v1/models/simple:predict", json={"instances": [ROW], "parameters": named}
    ),
    "version 2": lambda api, _, named: api.post("/v2/models/simple/infer", json=tensors(ROW, parameters=named)),
    "version 2 in binary": _v2_in_binary,
}
WAYS = IMAGE | FEATURES | TENSORS


@pytest.fixture
def takes(environment: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Serve a model that takes what a way sends."""

    def serve(way: str) -> None:
        if way in FEATURES:
            environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
        if way in TENSORS:
            model = package(tmp_path / "simple", sum_and_difference(), task="tensors", version="1")
            environment.setenv("MODEL", str(model))

    return serve


def records(api: httpx.Client, **wanted: str) -> list[dict[str, Any]]:
    answer = api.get("/predictions", params=wanted)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_sending_an_input_takes_it_and_the_record_has_it(
    api: httpx.Client, takes: Callable[[str], None], digit: bytes, way: str, name: str
) -> None:
    takes(way)
    for named in ({name: "order 17/ü"}, {name: LONGEST}, {}):
        assert WAYS[way](api, digit, named).is_success

    [found] = records(api, inference_id="order 17/ü")

    assert found["inference_id"] == "order 17/ü"
    assert name == "inference_id" or name not in found
    assert api.get(f"/prediction/{found['prediction_id']}").json()["inference_id"] == "order 17/ü"
    assert ["inference_id" in one for one in records(api)] == [False, True, True]
    assert [one["inference_id"] for one in records(api, inference_id=LONGEST)] == [LONGEST]


WRONG = {
    "nothing": "",
    "256 characters": "x" * 256,
    "a line break": "a\nb",
    "U+0000": "a\x00",
}
NO_TEXTS = {"a number": 17, "a list": ["a"]}
IN_JSON = [way for way in WAYS if "form" not in way and "the body" not in way]  # the others hold nothing but texts


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        *((way, kind) for way in ("a form", "an image in JSON", "version 1") for kind in WRONG),
        *((way, "a line break") for way in WAYS),
        *((way, "a number") for way in IN_JSON),
        ("an image in JSON", "a list"),
    ],
)
def test_what_could_not_be_kept_is_refused_in_every_way_and_nothing_is_stored(
    api: httpx.Client, takes: Callable[[str], None], digit: bytes, query: Query, way: str, kind: str
) -> None:
    takes(way)

    answer = WAYS[way](api, digit, {"client_request_id": (WRONG | NO_TEXTS)[kind]})

    assert answer.status_code == (400 if "version" in way else 422), answer.text
    document = answer.json()
    assert "client_request_id must" in document.get("detail", document.get("error"))
    if "version" not in way:
        [error] = document["errors"]
        assert error["pointer"].endswith("/client_request_id")
    assert query("SELECT count(*) FROM predictions") == query("SELECT count(*) FROM inputs") == [[0]]


def test_half_a_surrogate_pair_is_refused(api: httpx.Client, digit: bytes, query: Query) -> None:
    body = json.dumps({"image": uri(digit), "inference_id": "\ud800"})  # in ASCII, by an escape
    answer = api.post("/prediction", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/inference_id"
    assert query("SELECT count(*) FROM predictions") == [[0]]


@pytest.mark.parametrize("way", WAYS)
def test_two_names_must_say_the_same(
    api: httpx.Client, takes: Callable[[str], None], digit: bytes, query: Query, way: str
) -> None:
    takes(way)

    same = WAYS[way](api, digit, {"inference_id": "a", "client_request_id": "a"})
    other = WAYS[way](api, digit, {"inference_id": "a", "client_request_id": "b"})

    assert same.is_success
    assert other.status_code == (400 if "version" in way else 422)
    assert "send inference_id or client_request_id once" in other.text
    assert query("SELECT inference_id FROM predictions") == [["a"]]


def test_the_query_and_the_body_must_say_the_same(api: httpx.Client, digit: bytes, query: Query) -> None:
    bodies: list[dict[str, Any]] = [
        {"json": {"image": uri(digit), "inference_id": "a"}},
        {"files": [part(digit)], "data": {"client_request_id": "a"}},
    ]
    for body in bodies:
        assert api.post("/prediction?inference_id=a", **body).status_code == 201
        assert api.post("/prediction?inference_id=b", **body).status_code == 422
    image: dict[str, Any] = {"content": digit, "headers": {"content-type": "image/png"}}
    assert api.post("/prediction?inference_id=a&inference_id=b", **image).status_code == 422
    refused = api.post("/prediction?inference_id=%E9", **image)
    assert refused.status_code == 422
    assert "write é as %C3%A9" in refused.json()["detail"]
    assert api.post("/prediction?other=%C3%A9", **image).status_code == 201
    assert query("SELECT inference_id FROM predictions ORDER BY prediction_id") == [["a"], ["a"], [None]]


def test_what_is_not_read_from_the_query_is_refused_in_it(api: httpx.Client, digit: bytes, query: Query) -> None:
    seven: dict[str, Any] = {"files": [part(digit)]}
    asked = [(f"/prediction?{name}=a", seven) for name in ("user_id", "metadata", "filename", "%75ser_id")]
    asked += [(f"/predictions?{name}=a", seven) for name in ("user_id", *NAMES)]
    v1 = {"json": {"instances": [{"b64": b64encode(digit).decode()}]}}
    asked += [(f"/v1/models/mnist:predict?{name}=a", v1) for name in ("user_id", *NAMES)]
    for path, body in asked:
        answer = api.post(path, **body)
        assert answer.status_code in (400, 422), path
        assert "is not read from the query: send it in" in answer.text
    assert query("SELECT count(*) FROM predictions") == [[0]]


@pytest.mark.parametrize("member", NAMES)
def test_null_counts_as_absent(api: httpx.Client, digit: bytes, member: str) -> None:
    one = api.post("/prediction", json={"image": uri(digit), member: None})
    many = api.post("/predictions", json={"instances": [{"image": uri(digit), member: None}], "inference_id": "a"})
    v1 = {"instances": [{"b64": b64encode(digit).decode()}], "parameters": {member: None}}
    assert "inference_id" not in one.json()
    assert [made["inference_id"] for made in many.json()["predictions"]] == ["a"]
    assert api.post("/v1/models/mnist:predict", json=v1).status_code == 200


def test_each_instance_may_have_its_own_and_the_others_have_what_is_beside_them(
    api: httpx.Client, digit: bytes
) -> None:
    instances = [
        {"image": uri(digit), "inference_id": "own"},
        {"image": uri(digit)},
        {"image": uri(digit), "client_request_id": "other"},
    ]

    answer = api.post("/predictions", json={"instances": instances, "inference_id": "shared"})

    assert [one["inference_id"] for one in answer.json()["predictions"]] == ["own", "shared", "other"]


def test_each_file_of_a_form_may_have_its_own_in_the_same_order_or_all_have_one(
    api: httpx.Client, digit: bytes, query: Query
) -> None:
    files = [part(digit)] * 3

    each = api.post("/predictions", files=files, data={"inference_id": ["a", "b", "a"]})
    one = api.post("/predictions", files=files, data={"inference_id": "c", "client_request_id": ["c", "c", "c"]})
    two = api.post("/predictions", files=files, data={"inference_id": ["a", "b"]})
    bad = api.post("/predictions", files=files, data={"inference_id": ["a", "", "b"]})

    assert [made["inference_id"] for made in each.json()["predictions"]] == ["a", "b", "a"]
    assert [made["inference_id"] for made in one.json()["predictions"]] == ["c", "c", "c"]
    assert two.status_code == bad.status_code == 422
    assert "2 parts 'inference_id' for 3 files: send one for each file" in two.json()["detail"]
    assert [error["pointer"] for error in bad.json()["errors"]] == ["/file/1/inference_id"]
    assert query("SELECT count(*) FROM predictions") == [[6]]


def test_every_bad_one_of_many_is_pointed_at(api: httpx.Client, digit: bytes) -> None:
    instances = [{"image": uri(digit), "inference_id": value} for value in ("good", "", 17)]

    answer = api.post("/predictions", json={"instances": instances})

    assert answer.status_code == 422
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert pointers == ["/instances/1/inference_id", "/instances/2/inference_id"]


def test_it_need_not_be_unique_and_all_that_have_it_are_found_newest_first(api: httpx.Client, digit: bytes) -> None:
    made = [_image_itself(api, digit, {"inference_id": "twice"}).json()["prediction_id"] for _ in range(2)]
    _image_itself(api, digit, {"inference_id": "once"})

    assert [one["prediction_id"] for one in records(api, inference_id="twice")] == made[::-1]
    assert records(api, inference_id="twic") == []


@pytest.mark.parametrize("way", ["a form", "an image in JSON", "an instance of many", "features", "tensors"])
def test_a_key_belongs_to_the_inference_id_too(
    api: httpx.Client, takes: Callable[[str], None], digit: bytes, query: Query, way: str
) -> None:
    takes(way)
    key = {"idempotency-key": "key 1"}
    api.headers.update(key)

    first = WAYS[way](api, digit, {"inference_id": "a"})
    again = WAYS[way](api, digit, {"client_request_id": "a"})
    others = [WAYS[way](api, digit, named) for named in ({"inference_id": "b"}, {})]

    assert first.status_code == again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert [other.status_code for other in others] == [422, 422]
    assert query("SELECT inference_id FROM predictions") == [["a"]]


def test_rows_of_a_protocol_request_have_it_all(api: httpx.Client, takes: Callable[[str], None], query: Query) -> None:
    takes("version 2")
    document = tensors(ROW, ROW, ROW, parameters={"inference_id": "a"})
    made = api.post("/v2/models/simple/infer", json=document).json()["parameters"]["prediction_ids"]
    assert [one["prediction_id"] for one in records(api, inference_id="a")] == made[::-1]
    assert query("SELECT count(*) FROM predictions") == [[3]]


def test_the_id_of_a_protocol_request_is_answered_and_is_no_inference_id(
    api: httpx.Client, takes: Callable[[str], None]
) -> None:
    takes("version 2")
    key = {"idempotency-key": "key 1"}

    # Clients make up an id for each request, also for one that they send again.
    first, again = (
        api.post("/v2/models/simple/infer", json=tensors(ROW, id=made_up), headers=key).json()
        for made_up in ("\x01 an id may be anything", "x" * 300)
    )

    assert (first["id"], again["id"]) == ("\x01 an id may be anything", "x" * 300)
    assert first["parameters"] == again["parameters"]
    [record] = records(api)
    assert "inference_id" not in record
