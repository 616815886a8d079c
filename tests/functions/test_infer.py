"""The Open Inference Protocol: what its clients send is predicted and stored, and can be sent again."""

import gzip
import json
import zlib
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from tests.support.database import Query
from tests.support.event_transport import EventTransport, forget_environment
from tests.support.graphs import conv_net, graph, linear, package, passing, sum_and_difference, tensor
from tests.support.repository import DIGIT, ROOT

HEADER = "Inference-Header-Content-Length"
SEVEN = b64encode(DIGIT.read_bytes()).decode()
FIRST = np.arange(32, dtype=np.int32).reshape(2, 16)
SECOND = np.full((2, 16), -1, dtype=np.int32)

WEIGHTS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(api: httpx.Client, environment: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """Return a function that makes the API serve a graph."""

    def with_model(model: Any, **settings: Any) -> httpx.Client:
        environment.setenv("MODEL", str(package(tmp_path / settings.pop("folder", "simple"), model, **settings)))
        return api

    return with_model


@pytest.fixture
def simple(serve: Serve) -> httpx.Client:
    """The API with the model of Triton's examples."""
    return serve(sum_and_difference(), task="tensors", version="1")


def in_json(**arrays: NDArray[Any]) -> list[dict[str, Any]]:
    """Return input tensors with their values in JSON."""
    names = {np.dtype("int32"): "INT32", np.dtype("float32"): "FP32", np.dtype("O"): "BYTES"}
    return [
        {"name": name, "shape": list(array.shape), "datatype": names[array.dtype], "data": array.ravel().tolist()}
        for name, array in arrays.items()
    ]


def in_binary(document: dict[str, Any], *contents: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request in binary."""
    header = json.dumps(document).encode()
    return header + b"".join(contents), {HEADER: str(len(header)), "content-type": "application/octet-stream"}


def binary_request(first: NDArray[Any] = FIRST, second: NDArray[Any] = SECOND) -> tuple[bytes, dict[str, str]]:
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": "INT32",
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in (("INPUT0", first), ("INPUT1", second))
    ]
    return in_binary({"inputs": inputs}, first.tobytes(), second.tobytes())


def outputs_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the outputs of an answer in JSON, by name, in their shapes."""
    return {one["name"]: np.reshape(one["data"], one["shape"]).tolist() for one in answer.json()["outputs"]}


def refused(answer: httpx.Response, status: int = 400) -> str:
    """Check that an answer is an error of the protocol, and return its text."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document.keys() == {"error"}
    assert document["error"]
    return str(document["error"])


def test_a_request_in_json_is_answered_with_all_outputs_and_the_ids_of_its_rows(simple: httpx.Client) -> None:
    request = {"id": "42", "inputs": in_json(INPUT0=FIRST, INPUT1=SECOND)}
    answer = simple.post("/v2/models/simple/infer", json=request)

    assert answer.status_code == 200, answer.text
    assert outputs_of(answer) == {"OUTPUT0": (FIRST + SECOND).tolist(), "OUTPUT1": (FIRST - SECOND).tolist()}
    document = answer.json()
    assert (document["id"], document["model_name"], document["model_version"]) == ("42", "simple", "1")
    assert [one["datatype"] for one in document["outputs"]] == ["INT32", "INT32"]
    ids = document["parameters"]["prediction_ids"]
    listed = simple.get("/predictions").json()["predictions"]
    assert [one["prediction_id"] for one in listed] == ids[::-1]
    first = listed[1]["prediction"]["outputs"]
    assert first["OUTPUT0"] == {"shape": [16], "datatype": "INT32", "data": (FIRST + SECOND)[0].tolist()}


def test_nested_data_is_the_same_as_flat_data(simple: httpx.Client) -> None:
    inputs = in_json(INPUT0=FIRST, INPUT1=SECOND)
    inputs[0]["data"] = FIRST.tolist()
    answer = simple.post("/v2/models/simple/versions/1/infer/", json={"inputs": inputs})
    assert outputs_of(answer)["OUTPUT0"] == (FIRST + SECOND).tolist()


def test_an_answer_in_binary_has_the_values_behind_the_json(simple: httpx.Client) -> None:
    document = {
        "inputs": in_json(INPUT0=FIRST, INPUT1=SECOND),
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "OUTPUT1"}, {"name": "OUTPUT0", "parameters": {"binary_data": False}}],
    }
    answer = simple.post("/v2/models/simple/infer", json=document)

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[HEADER])
    first, second = json.loads(answer.content[:length])["outputs"]
    assert (first["name"], first["parameters"]) == ("OUTPUT1", {"binary_data_size": 128})
    assert answer.content[length:] == (FIRST - SECOND).tobytes()
    assert second["data"] == (FIRST + SECOND).ravel().tolist()


@pytest.mark.parametrize("contenttype", [None, "application/octet-stream", "application/json"])
def test_a_request_in_binary_is_read_whatever_its_content_type(simple: httpx.Client, contenttype: str | None) -> None:
    body, headers = binary_request()
    del headers["content-type"]
    answer = simple.post(
        "/v2/models/simple/infer",
        content=body,
        headers=headers | ({"content-type": contenttype} if contenttype else {}),
    )
    assert answer.status_code == 200, answer.text
    assert outputs_of(answer)["OUTPUT0"] == (FIRST + SECOND).tolist()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [False, True])
def test_a_compressed_body_is_read(simple: httpx.Client, encoding: str, *, binary: bool) -> None:
    body, headers = binary_request()
    if not binary:
        body = json.dumps({"inputs": in_json(INPUT0=FIRST, INPUT1=SECOND)}).encode()
        headers = {"content-type": "application/json"}
    compressed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    answer = simple.post(
        "/v2/models/simple/infer", content=compressed, headers=headers | {"content-encoding": encoding}
    )
    assert answer.status_code == 200, answer.text
    assert outputs_of(answer)["OUTPUT0"] == (FIRST + SECOND).tolist()


def test_a_bomb_is_refused(simple: httpx.Client) -> None:
    bomb = gzip.compress(b"[" * 50_000_000)
    answer = simple.post("/v2/models/simple/infer", content=bomb, headers={"content-encoding": "gzip"})
    assert "4500000" in refused(answer, 413)


def test_a_row_in_json_is_stored_as_it_was_sent_and_can_be_sent_again(simple: httpx.Client) -> None:
    values = "[ 0.0, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 ]"
    inputs = (
        f'[{{"name": "INPUT0", "datatype":"INT32","shape":[1, 16], "data": {values}, "parameters": {{"x": 1}}}}, '
        f'{{"name": "INPUT1", "datatype":"INT32","shape":[1, 16], "data": {values}}}]'
    )
    answer = simple.post("/v2/models/simple/infer", content=f'{{"id": "a", "inputs": {inputs} }}')
    assert answer.status_code == 200, answer.text
    [prediction_id] = answer.json()["parameters"]["prediction_ids"]

    stored = simple.get(f"/prediction/{prediction_id}/input")
    assert stored.headers["content-type"] == "application/json"
    assert HEADER not in stored.headers
    assert stored.text == f'{{"inputs": {inputs}}}'
    assert simple.get(f"/prediction/{prediction_id}").json()["request"] == json.loads(stored.text)
    again = simple.post("/v2/models/simple/infer", content=stored.content)
    assert again.json()["outputs"] == answer.json()["outputs"]


def test_each_of_several_rows_is_stored_alone_and_can_be_sent_again(simple: httpx.Client) -> None:
    body, headers = binary_request()
    document = {"inputs": in_json(INPUT0=FIRST, INPUT1=SECOND)}
    for answer in (
        simple.post("/v2/models/simple/infer", json=document),
        simple.post("/v2/models/simple/infer", content=body, headers=headers),
    ):
        outputs = outputs_of(answer)
        for row, prediction_id in enumerate(answer.json()["parameters"]["prediction_ids"]):
            stored = simple.get(f"/prediction/{prediction_id}/input")
            sent = {HEADER: stored.headers[HEADER]} if HEADER in stored.headers else {}
            again = simple.post(
                "/v2/models/simple/infer",
                content=stored.content,
                headers=sent | {"content-type": stored.headers["content-type"]},
            )
            assert outputs_of(again) == {name: [values[row]] for name, values in outputs.items()}


def test_a_row_in_binary_is_read_back_as_bytes_with_the_length_of_its_json(simple: httpx.Client) -> None:
    body, headers = binary_request()
    answer = simple.post("/v2/models/simple/infer", content=body, headers=headers)
    prediction_id = answer.json()["parameters"]["prediction_ids"][1]

    record = simple.get(f"/prediction/{prediction_id}").json()
    assert record["input_url"] == f"/prediction/{prediction_id}/input"
    assert not {"image", "features", "inputs", "request"} & record.keys()
    stored = simple.get(record["input_url"])
    assert stored.headers["content-type"] == "application/octet-stream"
    length = int(stored.headers[HEADER])
    described = json.loads(stored.content[:length])["inputs"]
    assert [one["shape"] for one in described] == [[1, 16], [1, 16]]
    assert stored.content[length:] == FIRST[1].tobytes() + SECOND[1].tobytes()


def test_values_in_json_and_in_binary_may_be_mixed(simple: httpx.Client) -> None:
    [first] = in_json(INPUT0=FIRST)
    second = {"name": "INPUT1", "shape": [2, 16], "datatype": "INT32", "parameters": {"binary_data_size": 128}}
    body, headers = in_binary({"inputs": [first, second]}, SECOND.tobytes())
    answer = simple.post("/v2/models/simple/infer", content=body, headers=headers)
    assert outputs_of(answer)["OUTPUT1"] == (FIRST - SECOND).tolist()
    stored = simple.get(f"/prediction/{answer.json()['parameters']['prediction_ids'][0]}/input")
    assert stored.content.endswith(SECOND[0].tobytes())


def test_texts_halves_and_booleans_go_in_and_out(serve: Serve) -> None:
    for number, (dtype, datatype, values, content) in enumerate(
        [
            ("string", "BYTES", ["é", ""], b"\2\0\0\0\xc3\xa9\0\0\0\0"),
            ("float16", "FP16", [0.5, -2.0], np.array([0.5, -2.0], np.float16).tobytes()),
            ("bool", "BOOL", [True, False], b"\1\0"),
            ("float64", "FP64", [0.1, 1e300], np.array([0.1, 1e300]).tobytes()),
            ("uint8", "UINT8", [0, 255], b"\0\xff"),
        ]
    ):
        client = serve(passing(dtype, ["batch", 2]), task="tensors", version=str(number), folder=dtype)
        described = {"name": "x", "shape": [1, 2], "datatype": datatype}
        in_words = client.post(
            f"/v2/models/{dtype}/infer",
            json={
                "inputs": [described | {"data": values}],
                "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
            },
        )
        assert in_words.status_code == 200, in_words.text
        assert in_words.content[int(in_words.headers[HEADER]) :] == content
        body, headers = in_binary({"inputs": [described | {"parameters": {"binary_data_size": len(content)}}]}, content)
        in_bytes = client.post(f"/v2/models/{dtype}/infer", content=body, headers=headers)
        [output] = in_bytes.json()["outputs"]
        assert output == {"name": "y", "datatype": datatype, "shape": [1, 2], "data": values}
        forget_environment()


def test_an_image_model_takes_its_tensor_raw(api: httpx.Client) -> None:
    session = onnxruntime.InferenceSession(ROOT / "model_artifacts" / "mnist" / "model.onnx")
    [wanted] = session.get_inputs()
    shape = [3, *(axis if isinstance(axis, int) else 28 for axis in wanted.shape[1:])]
    images = np.random.default_rng(1).random(shape, dtype=np.float32)
    body, headers = in_binary(
        {
            "inputs": [
                {
                    "name": wanted.name,
                    "shape": shape,
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": images.nbytes},
                }
            ]
        },
        images.tobytes(),
    )
    answer = api.post("/v2/models/mnist/infer", content=body, headers=headers)

    assert answer.status_code == 200, answer.text
    [expected] = session.run(None, {wanted.name: images})
    [output] = outputs_of(answer).values()
    np.testing.assert_allclose(output, expected, atol=1e-5)
    for prediction_id, row in zip(answer.json()["parameters"]["prediction_ids"], expected, strict=True):
        record = api.get(f"/prediction/{prediction_id}").json()
        assert record["likely_class"] == row.argmax()


def test_an_image_model_takes_files_where_its_package_allows_it(
    api: httpx.Client, environment: pytest.MonkeyPatch, tmp_path: Path, digit: bytes
) -> None:
    shipped = ROOT / "model_artifacts" / "mnist"
    settings = json.loads((shipped / "model.json").read_text())
    settings.pop("sha256", None)
    folder = package(tmp_path / "files", (shipped / "model.onnx").read_bytes(), **settings | {"encoded": True})
    environment.setenv("MODEL", str(folder))
    content = (len(digit).to_bytes(4, "little") + digit) * 2
    described = {
        "name": "image",
        "shape": [2, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(content)},
    }
    body, headers = in_binary({"inputs": [described]}, content)
    answer = api.post("/v2/models/mnist/infer", content=body, headers=headers)

    assert answer.status_code == 200, answer.text
    by_form = api.post("/prediction", files={"file": digit}).json()
    for row, prediction_id in zip(
        outputs_of(answer)["probabilities"], answer.json()["parameters"]["prediction_ids"], strict=True
    ):
        assert row == pytest.approx(by_form["prediction"], abs=1e-6)
        stored = api.get(f"/prediction/{prediction_id}/input")
        assert stored.content.endswith(digit)
        headers = {HEADER: stored.headers[HEADER]}
        again = api.post("/v2/models/mnist/infer", content=stored.content, headers=headers)
        assert outputs_of(again)["probabilities"] == [pytest.approx(row)]

    broken = b"\4\0\0\0none" + content[: len(content) // 2]
    described["parameters"] = {"binary_data_size": len(broken)}
    body, headers = in_binary({"inputs": [described]}, broken)
    assert "Row 0" in refused(api.post("/v2/models/mnist/infer", content=body, headers=headers))
    for wrong in ({"shape": [2, 1], "data": ["a", "b"]}, {"name": "x"}, {"shape": [1, 2, 1]}, {"shape": [3]}):
        document = described | wrong
        if "data" in wrong:
            document.pop("parameters")
        body, headers = in_binary({"inputs": [document]}, b"" if "data" in wrong else broken)
        refused(api.post("/v2/models/mnist/infer", content=body, headers=headers))


def test_files_are_refused_where_the_package_does_not_allow_them(api: httpx.Client, digit: bytes) -> None:
    content = len(digit).to_bytes(4, "little") + digit
    described = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}
    body, headers = in_binary({"inputs": [described]}, content)
    refused(api.post("/v2/models/mnist/infer", content=body, headers=headers))


def test_a_features_model_takes_its_tensor_and_refuses_what_json_would_not_have(serve: Serve) -> None:
    client = serve(linear(WEIGHTS), version="3", task="regression")
    metadata = client.get("/v2/models/simple").json()
    [described] = metadata["inputs"]
    width = described["shape"][1]
    rows = np.arange(2 * width, dtype=np.float32).reshape(2, width)
    inputs = [{"name": described["name"], "shape": [2, width], "datatype": "FP32", "data": rows.ravel().tolist()}]
    answer = client.post("/v2/models/simple/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    by_features = [client.post("/prediction", json={"features": row.tolist()}).json()["prediction"] for row in rows]
    [output] = [one for one in answer.json()["outputs"] if one["datatype"] == "FP32"]
    np.testing.assert_allclose(np.reshape(output["data"], (2, -1)), by_features, rtol=1e-6)

    rows[1, 0] = np.nan
    inputs[0].pop("data")
    inputs[0]["parameters"] = {"binary_data_size": rows.nbytes}
    body, headers = in_binary({"inputs": inputs}, rows.tobytes())
    assert "finite" in refused(client.post("/v2/models/simple/infer", content=body, headers=headers))


def test_what_a_package_does_not_keep_is_neither_described_nor_answered(serve: Serve) -> None:
    client = serve(sum_and_difference(), task="tensors", keep=["OUTPUT1"])
    document: dict[str, Any] = {"inputs": in_json(INPUT0=FIRST, INPUT1=SECOND)}
    assert [one["name"] for one in client.get("/v2/models/simple").json()["outputs"]] == ["OUTPUT1"]
    answer = client.post("/v2/models/simple/infer", json=document)
    assert outputs_of(answer) == {"OUTPUT1": (FIRST - SECOND).tolist()}
    asked = client.post("/v2/models/simple/infer", json=document | {"outputs": [{"name": "OUTPUT0"}]})
    assert "OUTPUT1" in refused(asked)


def test_a_label_and_a_map_of_probabilities_are_outputs(serve: Serve) -> None:
    rows = np.array([[0, 0], [1, 1], [2, 0], [3, 1]], dtype=np.float32)
    trained = LogisticRegression().fit(rows, ["no", "no", "yes", "yes"])
    client = serve(to_onnx(trained, rows[:1]))  # with a ZipMap
    metadata = client.get("/v2/models/simple").json()
    assert [(one["datatype"], one["shape"]) for one in metadata["outputs"]] == [("BYTES", [-1]), ("FP32", [-1, 2])]
    name = metadata["inputs"][0]["name"]
    answer = client.post("/v2/models/simple/infer", json={"inputs": in_json(**{name: rows})})
    assert answer.status_code == 200, answer.text
    labels, probabilities = outputs_of(answer).values()
    assert labels == trained.predict(rows).tolist()
    np.testing.assert_allclose(probabilities, trained.predict_proba(rows), atol=1e-5)


def test_a_text_or_a_number_for_each_row_is_an_output(serve: Serve) -> None:
    for dtype, datatype, values in (("string", "BYTES", ["a", "é"]), ("int64", "INT64", [1, -1])):
        client = serve(passing(dtype, ["batch"]), task="tensors", folder=dtype)
        described = {"name": "x", "shape": [2], "datatype": datatype}
        answer = client.post(f"/v2/models/{dtype}/infer", json={"inputs": [described | {"data": values}]})
        assert answer.status_code == 200, answer.text
        assert outputs_of(answer) == {"y": values}
        forget_environment()


def test_a_number_that_reading_may_have_rounded_is_no_whole_number(serve: Serve) -> None:
    client = serve(passing("int64", ["batch"]), task="tensors", folder="int64")
    described = {"name": "x", "shape": [1], "datatype": "INT64"}
    for written, status in (("9007199254740991.0", 200), ("9007199254740993", 200), ("9007199254740993.0", 400)):
        data = json.dumps({"inputs": [described | {"data": [0]}]}).replace("[0]", f"[{written}]")
        answer = client.post("/v2/models/int64/infer", content=data, headers={"content-type": "application/json"})
        assert answer.status_code == status, answer.text
        if status == 200:
            assert outputs_of(answer) == {"y": [int(written.removesuffix(".0"))]}


def test_a_graph_without_a_batch_axis_takes_one_row_in_its_own_shape(serve: Serve) -> None:
    nodes = sum_and_difference().graph.node
    inputs = [tensor(f"INPUT{number}", "int32", [16]) for number in range(2)]
    outputs = [tensor(f"OUTPUT{number}", "int32", [16]) for number in range(2)]
    client = serve(graph(list(nodes), inputs, outputs), task="tensors", batched=False)
    answer = client.post("/v2/models/simple/infer", json={"inputs": in_json(INPUT0=FIRST[0], INPUT1=SECOND[0])})
    assert answer.status_code == 200, answer.text
    assert outputs_of(answer)["OUTPUT0"] == (FIRST + SECOND)[0].tolist()
    assert len(answer.json()["parameters"]["prediction_ids"]) == 1


def test_the_same_key_stores_nothing_more_and_is_answered_with_the_first_ids(
    simple: httpx.Client, query: Query
) -> None:
    body, headers = binary_request()
    first, again = (
        simple.post("/v2/models/simple/infer", content=body, headers=headers | {"idempotency-key": "k"})
        for _ in range(2)
    )
    assert first.status_code == again.status_code == 200, again.text
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == first.content
    assert query("SELECT count(*) FROM predictions") == [[2]]
    other, headers = binary_request(SECOND, FIRST)
    answer = simple.post("/v2/models/simple/infer", content=other, headers=headers | {"idempotency-key": "k"})
    assert "Idempotency-Key" in refused(answer, 400)


def test_outputs_that_differ_from_the_stored_ones_in_their_last_bits_are_no_answer(serve: Serve, query: Query) -> None:
    """A run that other requests shared rounds otherwise, and so does another machine."""
    nodes = [
        helper.make_node("RandomUniformLike", ["x"], ["noise"], low=1 - 1e-6, high=1 + 1e-6),
        helper.make_node("Mul", ["x", "noise"], ["y"]),
    ]
    model = graph(nodes, [tensor("x", "float32", ["N", 3])], [tensor("y", "float32", ["N", 3])])
    client = serve(model, version="1", folder="noisy", task="tensors")
    document = {"inputs": in_json(x=np.array([[1, 1e-9, 1e6], [3, 0, 7]], np.float32))}
    first, again = (
        client.post("/v2/models/noisy/infer", json=document, headers={"idempotency-key": "1"}) for _ in range(2)
    )

    assert first.status_code == 200
    assert f"GET /prediction/{first.json()['parameters']['prediction_ids'][0]}" in refused(again, 409)
    assert query("SELECT count(*) FROM predictions") == [[2]]


def test_a_key_that_another_model_was_asked_with_is_never_answered_with_other_outputs(
    serve: Serve, query: Query
) -> None:
    document = {"inputs": in_json(INPUT0=FIRST[:1], INPUT1=SECOND[:1])}
    key = {"idempotency-key": "k"}
    before = serve(sum_and_difference(), task="tensors", version="1")
    [made] = before.post("/v2/models/simple/infer", json=document, headers=key).json()["parameters"]["prediction_ids"]
    exchanged = sum_and_difference()
    exchanged.graph.node[0].op_type, exchanged.graph.node[1].op_type = "Sub", "Add"
    forget_environment()
    after = serve(exchanged, task="tensors", version="1")
    answer = after.post("/v2/models/simple/infer", json=document, headers=key)
    assert made in refused(answer, 409)
    assert query("SELECT count(*) FROM predictions") == [[1]]


def test_rows_belong_to_the_user_of_the_request_or_of_the_token(
    simple: httpx.Client, environment: pytest.MonkeyPatch
) -> None:
    document: dict[str, Any] = {"inputs": in_json(INPUT0=FIRST[:1], INPUT1=SECOND[:1])}
    named = document | {"parameters": {"user_id": "anna"}}
    users = []
    for one in (document, named):
        [made] = simple.post("/v2/models/simple/infer", json=one).json()["parameters"]["prediction_ids"]
        users.append(simple.get(f"/prediction/{made}").json()["user_id"])
    assert users == ["anonymous", "anna"]
    refused(simple.post("/v2/models/simple/infer", json=document | {"parameters": {"user_id": 3}}))

    forget_environment()
    environment.setenv("AUTH", "on")
    bob = httpx.Client(transport=EventTransport("bob"), base_url="https://api.example")
    refused(bob.post("/v2/models/simple/infer", json=named), 403)
    [made] = bob.post("/v2/models/simple/infer", json=document).json()["parameters"]["prediction_ids"]
    assert bob.get(f"/prediction/{made}").json()["user_id"] == "bob"
    nobody = httpx.Client(transport=EventTransport(), base_url="https://api.example")
    refused(nobody.post("/v2/models/simple/infer", json=document), 401)
    refused(nobody.get("/v2/models/simple"), 401)


def nested(levels: int) -> Any:
    """Return a list in a list, and so on."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


GOOD = in_json(INPUT0=FIRST[:1], INPUT1=SECOND[:1])
ZERO, ONE = GOOD

BAD_DOCUMENTS: dict[str, Any] = {
    "no object": [],
    "a text": "x",
    "nothing": {},
    "no inputs": {"inputs": []},
    "inputs of an object": {"inputs": {"INPUT0": []}},
    "an input that is no object": {"inputs": [1, ONE]},
    "a missing input": {"inputs": [ZERO]},
    "an unknown input": {"inputs": [ZERO, ONE, ONE | {"name": "INPUT2"}]},
    "an input twice": {"inputs": [ZERO, ONE, ONE]},
    "no name": {"inputs": [ZERO, ONE | {"name": None}]},
    "an unknown datatype": {"inputs": [ZERO, ONE | {"datatype": "INT33"}]},
    "another datatype": {"inputs": [ZERO, ONE | {"datatype": "INT64"}]},
    "BF16": {"inputs": [ZERO, ONE | {"datatype": "BF16"}]},
    "no shape": {"inputs": [ZERO, ONE | {"shape": None}]},
    "a negative shape": {"inputs": [ZERO, ONE | {"shape": [-1, 16]}]},
    "a shape of texts": {"inputs": [ZERO, ONE | {"shape": ["1", "16"]}]},
    "a shape of booleans": {"inputs": [ZERO, ONE | {"shape": [True, 16]}]},
    "a huge shape": {"inputs": [ZERO, ONE | {"shape": [2**62, 2**62]}]},
    "a very long shape": {"inputs": [ZERO, ONE | {"shape": [1] * 65}]},
    "another rank": {"inputs": [ZERO, ONE | {"shape": [16]}]},
    "another width": {"inputs": [ZERO, ONE | {"shape": [2, 8]}]},
    "other rows": {"inputs": [ZERO, ONE | {"shape": [2, 16], "data": [0] * 32}]},
    "no rows": {"inputs": [one | {"shape": [0, 16], "data": []} for one in GOOD]},
    "too few values": {"inputs": [ZERO, ONE | {"data": [1]}]},
    "too many values": {"inputs": [ZERO, ONE | {"data": [1] * 17}]},
    "no data": {"inputs": [ZERO, {name: ONE[name] for name in ("name", "shape", "datatype")}]},
    "data that is no list": {"inputs": [ZERO, ONE | {"data": 5}]},
    "data nested otherwise": {"inputs": [ZERO, ONE | {"data": [[1] * 8] * 2}]},
    "ragged data": {"inputs": [ZERO, ONE | {"data": [[1] * 15]}]},
    "a fraction": {"inputs": [ZERO, ONE | {"data": [0.5] * 16}]},
    "too large a number": {"inputs": [ZERO, ONE | {"data": [2**31] * 16}]},
    "a number without end": {"inputs": [ZERO, ONE | {"data": [1e999] * 16}]},
    "texts": {"inputs": [ZERO, ONE | {"data": ["1"] * 16}]},
    "booleans": {"inputs": [ZERO, ONE | {"data": [True] * 16}]},
    "nulls": {"inputs": [ZERO, ONE | {"data": [None] * 16}]},
    "binary without the header": {
        "inputs": [
            ZERO,
            {name: ONE[name] for name in ("name", "shape", "datatype")} | {"parameters": {"binary_data_size": 64}},
        ]
    },
    "data and binary": {"inputs": [ZERO, ONE | {"parameters": {"binary_data_size": 64}}]},
    "parameters that are no object": {"inputs": GOOD, "parameters": []},
    "a user beside the parameters": {"inputs": GOOD, "user_id": "anna"},
    "an inference id beside the parameters": {"inputs": GOOD, "inference_id": "a"},
    "another name of one beside the parameters": {"inputs": GOOD, "client_request_id": "a"},
    "parameters 33 deep": {"inputs": [ZERO, ONE | {"parameters": {"a": nested(31)}}]},
    "a member 33 deep": {"inputs": [ZERO, ONE | {"a": nested(32)}]},
    "an input's parameters that are no object": {"inputs": [ZERO, ONE | {"parameters": 1}]},
    "shared memory": {"inputs": [ZERO, ONE | {"parameters": {"shared_memory_region": "r"}}]},
    "an id that is no text": {"inputs": GOOD, "id": 1},
    "half of a surrogate pair": {"inputs": GOOD, "id": "\ud800"},
    "a sequence": {"inputs": GOOD, "parameters": {"sequence_id": 1}},
    "outputs that are no list": {"inputs": GOOD, "outputs": {}},
    "an output that is no object": {"inputs": GOOD, "outputs": ["OUTPUT0"]},
    "an unknown output": {"inputs": GOOD, "outputs": [{"name": "OUTPUT2"}]},
    "an output twice": {"inputs": GOOD, "outputs": [{"name": "OUTPUT0"}] * 2},
    "an output without a name": {"inputs": GOOD, "outputs": [{}]},
    **{
        f"a classification of {count!r}": {
            "inputs": GOOD,
            "outputs": [{"name": "OUTPUT0", "parameters": {"classification": count}}],
        }
        for count in (-1, 1.5, "2", True)
    },
    "an output in shared memory": {
        "inputs": GOOD,
        "outputs": [{"name": "OUTPUT0", "parameters": {"shared_memory_region": "r"}}],
    },
    "binary_data that is no boolean": {
        "inputs": GOOD,
        "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": 1}}],
    },
}


def test_a_bad_document_is_refused_in_words_and_nothing_is_stored(simple: httpx.Client, query: Query) -> None:
    for what, document in BAD_DOCUMENTS.items():
        answer = simple.post("/v2/models/simple/infer", content=json.dumps(document))
        text = refused(answer)
        assert "Traceback" not in text, what
    assert query("SELECT count(*) FROM inputs") == [[0]]


def test_whose_rows_they_are_is_not_read_from_the_query(simple: httpx.Client, query: Query) -> None:
    for name in ("user_id", "inference_id", "client_request_id"):
        refused(simple.post(f"/v2/models/simple/infer?{name}=anna", json={"inputs": GOOD}))
    assert query("SELECT count(*) FROM inputs") == [[0]]


def test_what_can_just_be_read_is_refused_in_words_too(simple: httpx.Client, query: Query) -> None:
    """How deep that is depends on Python, and on what calls the parser."""
    two_rows = [one | {"shape": [2, 16], "data": [1] * 32} for one in GOOD]
    for levels in range(900, 1001):
        deep = "[" * levels + "]" * levels
        for document in ({"inputs": GOOD, "id": "?"}, {"inputs": [one | {"parameters": "?"} for one in two_rows]}):
            text = json.dumps(document).replace('"parameters": "?"', f'"parameters": {{"a": {deep}}}')
            refused(simple.post("/v2/models/simple/infer", content=text.replace('"?"', deep)))
    assert query("SELECT count(*) FROM inputs") == [[0]]


def test_an_input_has_members_32_deep_and_can_be_sent_again(simple: httpx.Client) -> None:
    document = {"inputs": [ZERO, ONE | {"parameters": {"a": nested(30)}}]}
    made = simple.post("/v2/models/simple/infer", json=document)
    assert made.status_code == 200, made.text
    [prediction_id] = made.json()["parameters"]["prediction_ids"]
    again = simple.get(f"/prediction/{prediction_id}/input")
    assert simple.post("/v2/models/simple/infer", content=again.content).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000, b'{"inputs": [], "inputs": []}', b"nonsense"])
def test_what_is_no_json_is_refused(simple: httpx.Client, body: bytes) -> None:
    refused(simple.post("/v2/models/simple/infer", content=body))


def test_bad_bytes_are_refused_in_words_and_nothing_is_stored(simple: httpx.Client, query: Query) -> None:
    body, headers = binary_request()
    length = int(headers[HEADER])
    for wrong in (
        "",
        "x",
        "-1",
        "+5",
        "1e3",
        "9" * 30,
        str(len(body) + 1),
        str(length - 1),
        str(length + 1),
        "0",
    ):
        refused(simple.post("/v2/models/simple/infer", content=body, headers=headers | {HEADER: wrong}))
    for other in (body[:-1], body + b"x", body[:length], body[length:]):
        refused(simple.post("/v2/models/simple/infer", content=other, headers=headers))
    described = {"name": "INPUT0", "shape": [1, 16], "datatype": "INT32"}
    for size in (-1, 1.5, "64", True, None, 2**70, 63):
        document = {"inputs": [described | {"parameters": {"binary_data_size": size}}]}
        body, headers = in_binary(document, bytes(63))
        refused(simple.post("/v2/models/simple/infer", content=body, headers=headers))
    assert query("SELECT count(*) FROM inputs") == [[0]]


def test_bad_texts_and_booleans_in_binary_are_refused(serve: Serve) -> None:
    wrong = {
        "string": [b"", b"\1", b"\1\0\0\0", b"\2\0\0\0a", b"\1\0\0\0\xff", b"\xff\xff\xff\xffa", b"\0\0\0\0" * 2],
        "bool": [b"", b"\2", b"\0\0"],
    }
    for dtype, contents in wrong.items():
        client = serve(passing(dtype, ["batch", 1]), task="tensors", folder=dtype)
        for content in contents:
            described = {"name": "x", "shape": [1, 1], "datatype": {"string": "BYTES", "bool": "BOOL"}[dtype]}
            document = {"inputs": [described | {"parameters": {"binary_data_size": len(content)}}]}
            body, headers = in_binary(document, content)
            refused(client.post(f"/v2/models/{dtype}/infer", content=body, headers=headers))
        forget_environment()


def test_random_damage_to_a_request_is_answered_with_200_or_an_error_of_the_protocol(simple: httpx.Client) -> None:
    body, headers = binary_request(FIRST[:1], SECOND[:1])
    random = np.random.default_rng(7)
    length = int(headers[HEADER])
    statuses = set()
    for _ in range(300):
        damaged = bytearray(body)
        for _ in range(random.integers(1, 4)):
            match random.integers(0, 3):
                case 0:
                    damaged[random.integers(0, len(damaged))] = random.integers(0, 256)
                case 1:
                    del damaged[random.integers(0, len(damaged)) :][: random.integers(1, 9)]
                case 2:
                    damaged[random.integers(0, len(damaged)) :][:0] = random.bytes(4)
        said = str(max(0, length + int(random.integers(-2, 3))))
        answer = simple.post("/v2/models/simple/infer", content=bytes(damaged), headers=headers | {HEADER: said})
        statuses.add(answer.status_code)
        if answer.status_code != 200:
            refused(answer, answer.status_code)
    assert statuses == {200, 400}


def test_other_models_versions_types_and_encodings_are_refused(simple: httpx.Client) -> None:
    document = {"inputs": GOOD}
    for path in ("/v2/models/other/infer", "/v2/models/other/versions/1/infer", "/v2/models/simple/versions/2/infer"):
        assert refused(simple.post(path, json=document), 404).startswith("Request for unknown model")
    for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/simple/versions/2/config", "/v1/models/x"):
        assert refused(simple.get(path), 404).startswith("Request for unknown model")
    refused(simple.post("/v1/models/other:predict", json={"instances": [1]}), 404)
    for path in ("/v2/nothing", "/v2/health/nothing", "/v2/repository/index", "/v1/nothing", "/v1/models/simple"):
        refused(simple.post(path, json={}) if path == "/v1/models/simple" else simple.get(path), 404)
    form = simple.post("/v2/models/simple/infer", content=b"{}", headers={"content-type": "text/plain"})
    assert "application/octet-stream" in refused(form, 415)
    packed = simple.post("/v2/models/simple/infer", content=b"{}", headers={"content-encoding": "br"})
    assert "gzip" in refused(packed, 415)
    wrong = simple.get("/v2/models/simple/infer")
    refused(wrong, 405)
    assert wrong.headers["allow"] == "POST"


def test_too_many_rows_and_too_long_a_body_are_refused(simple: httpx.Client, query: Query) -> None:
    many = np.zeros((257, 16), np.int32)
    body, headers = binary_request(many, many)
    assert "256" in refused(simple.post("/v2/models/simple/infer", content=body, headers=headers), 413)
    long = simple.post("/v2/models/simple/infer", content=b" " * 4_500_001)
    assert "4500000" in refused(long, 413)
    assert query("SELECT count(*) FROM inputs") == [[0]]


def test_an_answer_that_is_too_large_is_refused_before_anything_is_stored(serve: Serve, query: Query) -> None:
    client = serve(passing("uint8", ["batch", 60_000]), task="tensors")
    zeros = np.zeros((60, 60_000), np.uint8)
    inputs = [
        {"name": "x", "shape": [*zeros.shape], "datatype": "UINT8", "parameters": {"binary_data_size": zeros.size}}
    ]
    body, headers = in_binary({"inputs": inputs}, zeros.tobytes())
    answer = client.post("/v2/models/simple/infer", content=body, headers=headers)
    assert "6000000" in refused(answer, 413)
    assert query("SELECT count(*) FROM inputs") == [[0]]


def test_what_is_not_finite_is_refused_before_anything_is_stored(serve: Serve, query: Query) -> None:
    client = serve(passing("float32", ["batch", 1]), task="tensors")
    content = np.array([1, np.nan], np.float32).tobytes()
    inputs = [{"name": "x", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}}]
    body, headers = in_binary({"inputs": inputs}, content)
    assert "Row 1" in refused(client.post("/v2/models/simple/infer", content=body, headers=headers))
    assert query("SELECT count(*) FROM inputs") == [[0]]


def test_what_the_database_cannot_hold_is_refused(serve: Serve) -> None:
    client = serve(passing("string", ["batch", 1]), task="tensors")
    inputs = [{"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": ["a\0b"]}]
    refused(client.post("/v2/models/simple/infer", json={"inputs": inputs}))
    text = '{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": ["a"], "parameters": {"y": NaN}}]}'
    refused(client.post("/v2/models/simple/infer", content=text))


def test_a_database_that_cannot_be_reached_is_told_in_the_protocols_words(
    simple: httpx.Client, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing?sslmode=disable")
    answer = simple.post("/v2/models/simple/infer", json={"inputs": GOOD})
    assert "nothing was stored" in refused(answer, 503)
    assert int(answer.headers["retry-after"]) > 0


def test_an_input_without_the_axis_of_the_rows_goes_with_each_row(serve: Serve) -> None:
    nodes = sum_and_difference().graph.node
    inputs = [tensor("INPUT0", "int32", ["batch", 16]), tensor("INPUT1", "int32", [16])]
    outputs = [tensor(f"OUTPUT{number}", "int32", ["batch", 16]) for number in range(2)]
    client = serve(graph(list(nodes), inputs, outputs), task="tensors", batched=True)
    answer = client.post("/v2/models/simple/infer", json={"inputs": in_json(INPUT0=FIRST, INPUT1=SECOND[0])})
    assert answer.status_code == 200, answer.text
    assert outputs_of(answer)["OUTPUT0"] == (FIRST + SECOND[0]).tolist()
    made = answer.json()["parameters"]["prediction_ids"][1]
    stored = client.get(f"/prediction/{made}/input").json()["inputs"]
    assert [one["shape"] for one in stored] == [[1, 16], [16]]
    again = client.post("/v2/models/simple/infer", json={"inputs": stored})
    assert outputs_of(again)["OUTPUT0"] == [(FIRST[1] + SECOND[0]).tolist()]


@pytest.mark.usefixtures("within_one_hour")
def test_a_quota_holds_for_rows_as_for_other_predictions(
    simple: httpx.Client, environment: pytest.MonkeyPatch, query: Query
) -> None:
    environment.setenv("QUOTA_PREDICTIONS_PER_HOUR", "2")
    body, headers = binary_request()
    assert simple.post("/v2/models/simple/infer", content=body, headers=headers).status_code == 200
    answer = simple.post("/v2/models/simple/infer", json={"inputs": GOOD})
    assert "2 predictions an hour" in refused(answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    assert query("SELECT count(*) FROM predictions") == [[2]]


def test_the_server_and_the_model_are_described(simple: httpx.Client) -> None:
    assert simple.get("/v2").json()["name"] == "triton"
    assert simple.get("/v2/health/live").json() == {"live": True}
    assert simple.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/simple", "/v2/models/simple/", "/v2/models/simple/versions/1"):
        metadata = simple.get(path).json()
        assert metadata["name"] == "simple"
        assert metadata["versions"] == ["1"]
        assert metadata["inputs"][1] == {"name": "INPUT1", "datatype": "INT32", "shape": [-1, 16]}
        assert metadata["outputs"][0] == {"name": "OUTPUT0", "datatype": "INT32", "shape": [-1, 16]}
        path = path.rstrip("/")
        assert simple.get(f"{path}/ready").json() == {"name": "simple", "ready": True}
        config = simple.get(f"{path}/config").json()
        assert config["max_batch_size"] == 256
        [wanted, _] = config["input"]
        assert wanted == {
            "name": "INPUT0",
            "data_type": "TYPE_INT32",
            "dims": [16],
            "format": "FORMAT_NONE",
            "optional": False,
        }
        assert config["output"][0] == {"name": "OUTPUT0", "data_type": "TYPE_INT32", "dims": [16]}
        [statistics] = simple.get(f"{path}/stats").json()["model_stats"]
        assert statistics["name"] == "simple"
    assert len(simple.get("/v2/models/stats").json()["model_stats"]) == 1
    assert simple.get("/v1/models").json() == {"models": ["simple"]}
    assert simple.get("/v1/models/simple").json() == {"name": "simple", "ready": True}
    assert simple.head("/v2/models/simple").status_code == 200


@pytest.mark.of_lambda
def test_a_server_without_its_model_is_live_and_not_ready(
    api: httpx.Client, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("MODEL", str(tmp_path / "nothing"))
    assert api.get("/v2/health/live").status_code == 200
    refused(api.get("/v2/health/ready"), 503)


@pytest.mark.parametrize(("layout", "written"), [("NCHW", "FORMAT_NCHW"), ("NHWC", "FORMAT_NHWC")])
def test_the_configuration_of_an_image_model_says_where_its_channels_are(
    serve: Serve, layout: Literal["NCHW", "NHWC"], written: str
) -> None:
    client = serve(conv_net(layout), version="1")
    [image] = client.get("/v2/models/simple/config").json()["input"]
    assert image["format"] == written
    assert image["dims"] == ([1, 28, 28] if layout == "NCHW" else [28, 28, 1])


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("POST", "/v2/repository/index", "setting MODEL"),
        ("POST", "/v2/repository/models/simple/load", "setting MODEL"),
        ("POST", "/v2/repository/models/simple/unload", "setting MODEL"),
        ("GET", "/v2/systemsharedmemory/status", "in the request"),
        ("POST", "/v2/cudasharedmemory/region/one/register", "in the request"),
        ("POST", "/v2/trace/setting", "the log"),
        ("GET", "/v2/logging", "LOG_LEVEL"),
    ],
)
def test_an_extension_that_is_not_served_is_refused_in_words(
    simple: httpx.Client, method: str, path: str, says: str
) -> None:
    assert says in refused(simple.request(method, path, json={} if method == "POST" else None), 404)


def test_the_largest_values_of_an_output_are_answered_as_texts(serve: Serve) -> None:
    labels = ["bird", "cat", "dog"]
    client = serve(linear(np.eye(3), then=["Softmax"]), labels=labels, version="1")
    rows = np.array([[1, 3, 2], [5, 5, 0]], np.float32)
    shares = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
    asked = {"name": "y", "parameters": {"classification": 2}}
    answer = client.post("/v2/models/simple/infer", json={"inputs": in_json(x=rows), "outputs": [asked]})

    assert answer.status_code == 200, answer.text
    [output] = answer.json()["outputs"]
    assert output == {
        "name": "y",
        "datatype": "BYTES",
        "shape": [2, 2],
        "data": [
            f"{shares[0, 1]:f}:1:cat", f"{shares[0, 2]:f}:2:dog", f"{shares[1, 0]:f}:0:bird", f"{shares[1, 1]:f}:1:cat"
        ],
    }  # fmt: skip
    for prediction_id, label in zip(answer.json()["parameters"]["prediction_ids"], ("cat", "bird"), strict=True):
        record = client.get(f"/prediction/{prediction_id}").json()
        assert (record["label"], len(record["prediction"])) == (label, 3)

    asked["parameters"] = {"classification": 9, "binary_data": True}
    binary = client.post("/v2/models/simple/infer", json={"inputs": in_json(x=rows[:1]), "outputs": [asked]})
    length = int(binary.headers[HEADER])
    assert json.loads(binary.content[:length])["outputs"][0]["shape"] == [1, 3]
    first = f"{shares[0, 1]:f}:1:cat".encode()
    assert binary.content[length:].startswith(len(first).to_bytes(4, "little") + first)


@pytest.mark.parametrize(
    ("answer", "nodes", "wanted"),
    [
        (None, [("ReduceMax", {"axes": [0, 1], "keepdims": 0})], ([1, 1], ["7.000000:0"])),
        (["batch", 1], [("ReduceMax", {"axes": [1]})], ([1, 1], ["7.000000:0"])),
        ([None, 2], [("NonZero", {}), ("Transpose", {"perm": [1, 0]})], ([1, 0, 2], [])),
        (["batch", 3], [("Not", {})], "no numbers"),
    ],
    ids=["a scalar", "one value", "no finds", "truth values"],
)
def test_a_classification_of_any_output_is_answered_or_refused(
    serve: Serve, answer: Any, nodes: list[tuple[str, dict[str, Any]]], wanted: Any
) -> None:
    truth, finds = nodes[0][0] == "Not", nodes[0][0] == "NonZero"
    names = ["x", *[f"step{at}" for at in range(1, len(nodes))], "y"]
    made = [
        helper.make_node(op, [names[at]], [names[at + 1]], **attributes) for at, (op, attributes) in enumerate(nodes)
    ]
    dtype = "bool" if truth else "float32"
    outputs = [tensor("y", "bool" if truth else "int64" if finds else "float32", answer or [])]
    client = serve(graph(made, [tensor("x", dtype, ["batch", 3])], outputs), task="tensors")
    values = [True, False, True] if truth else [0, 0, 0] if finds else [7, 1, 0]
    document = {
        "inputs": [{"name": "x", "shape": [1, 3], "datatype": "BOOL" if truth else "FP32", "data": values}],
        "outputs": [{"name": "y", "parameters": {"classification": 5}}],
    }
    made_answer = client.post("/v2/models/simple/infer", json=document)
    if isinstance(wanted, str):
        assert wanted in refused(made_answer)
        return
    assert made_answer.status_code == 200, made_answer.text
    [output] = made_answer.json()["outputs"]
    assert output["data"] == wanted[1]


@pytest.mark.parametrize("shape", [[2**63 - 1, 0], [0, 2**63 - 1], [2**62, 2**62, 0]], ids=str)
def test_a_shape_that_no_array_can_have_is_refused(simple: httpx.Client, shape: list[int]) -> None:
    inputs = [{"name": "INPUT0", "shape": shape, "datatype": "INT32", "data": []}]
    assert "larger than any array" in refused(simple.post("/v2/models/simple/infer", json={"inputs": inputs}))


def test_what_the_document_says_of_a_shape_is_what_is_taken(simple: httpx.Client) -> None:
    schema = simple.get("/openapi.json").json()["components"]["schemas"]["InferRequest"]
    shape = schema["properties"]["inputs"]["items"]["properties"]["shape"]
    assert (shape["maxItems"], shape["items"]["maximum"]) == (32, 2**63 - 1)
    for wrong in ([1] * 33, [2**63], [-1]):
        inputs = [{"name": "INPUT0", "shape": wrong, "datatype": "INT32", "data": []}]
        assert "up to 32 whole numbers" in refused(simple.post("/v2/models/simple/infer", json={"inputs": inputs}))


def test_a_row_is_as_wide_as_model_json_says_where_the_file_leaves_it_open(serve: Serve) -> None:
    client = serve(passing("float32", ["N", None]), task="regression", feature_names=["a", "b"])
    right = client.post("/v2/models/simple/infer", json={"inputs": in_json(x=np.ones((2, 2), np.float32))})
    assert right.status_code == 200, right.text
    for wrong in (np.ones((1, 3), np.float32), np.ones(2, np.float32)):
        answer = client.post("/v2/models/simple/infer", json={"inputs": in_json(x=wrong)})
        assert "of the shape [-1, 2]" in refused(answer)


def test_whole_numbers_have_largest_values_too_and_texts_have_none(serve: Serve, query: Query) -> None:
    client = serve(passing("uint8", ["batch", 3]), task="tensors")
    document = {
        "inputs": [{"name": "x", "shape": [1, 3], "datatype": "UINT8", "data": [7, 255, 0]}],
        "outputs": [{"name": "y", "parameters": {"classification": 3}}],
    }
    answer = client.post("/v2/models/simple/infer", json=document)
    assert outputs_of(answer)["y"] == [["255:1", "7:0", "0:2"]]
    forget_environment()
    client = serve(passing("string", ["batch", 1]), task="tensors", folder="texts")
    document["inputs"] = in_json(x=np.array([["a"]], dtype=object))
    assert "no numbers" in refused(client.post("/v2/models/texts/infer", json=document))
    assert query("SELECT count(*) FROM predictions") == [[1]]


class TestVersion1:
    """`POST /v1/models/{name}:predict`."""

    def test_instances_of_tensors_are_predicted_and_stored_as_their_inputs(self, simple: httpx.Client) -> None:
        instance = {"INPUT0": FIRST[0].tolist(), "INPUT1": SECOND[0].tolist()}
        answer = simple.post("/v1/models/simple:predict", json={"instances": [instance, instance]})
        assert answer.status_code == 200, answer.text
        document = answer.json()
        expected = {"OUTPUT0": (FIRST + SECOND)[0].tolist(), "OUTPUT1": (FIRST - SECOND)[0].tolist()}
        assert document["predictions"] == [expected, expected]
        assert simple.get(f"/prediction/{document['prediction_ids'][0]}").json()["inputs"] == instance

    def test_features_are_instances(self, serve: Serve) -> None:
        client = serve(linear(WEIGHTS), task="regression")
        [described] = client.get("/v2/models/simple").json()["inputs"]
        row = [1.5] * described["shape"][1]
        answer = client.post("/v1/models/simple:predict", json={"instances": [row], "parameters": {"user_id": "anna"}})
        assert answer.status_code == 200, answer.text
        record = client.get(f"/prediction/{answer.json()['prediction_ids'][0]}").json()
        assert (record["features"], record["user_id"]) == (row, "anna")
        assert "Row 1" in refused(client.post("/v1/models/simple:predict", json={"instances": [row, ["x"]]}))

    @pytest.mark.parametrize(
        "instance",
        [
            pytest.param(lambda image: {"b64": b64encode(image).decode()}, id="as it is"),
            pytest.param(lambda image: {"b64": encodebytes(image).decode()}, id="with line breaks"),
            pytest.param(lambda image: {"b64": urlsafe_b64encode(image).decode().rstrip("=")}, id="as in a URL"),
            pytest.param(lambda image: {"image": {"b64": b64encode(image).decode()}}, id="by the name of the input"),
        ],
    )
    def test_an_image_file_is_an_instance(
        self, api: httpx.Client, digit: bytes, instance: Callable[[bytes], dict[str, Any]]
    ) -> None:
        answer = api.post("/v1/models/mnist:predict", json={"instances": [instance(digit)]})
        assert answer.status_code == 200, answer.text
        record = api.get(f"/prediction/{answer.json()['prediction_ids'][0]}").json()
        assert (record["label"], record["contenttype"]) == ("7", "image/png")
        assert record["prediction"] == pytest.approx(answer.json()["predictions"][0])

    @pytest.mark.parametrize(
        "document",
        [
            {},
            {"instances": []},
            {"instances": {}},
            {"instances": [1]},
            {"instances": [{"b64": "%"}]},
            {"instances": [{"other": {"b64": ""}}]},
            {"instances": [{"image": {}}]},
            {"instances": [{"image": 1}]},
            {"instances": [{"image": {"b64": 1}}]},
            {"instances": [{"b64": SEVEN}], "parameters": "anna"},
            {"instances": [{"b64": SEVEN}], "user_id": "anna"},
            {"instances": [{"b64": SEVEN}], "inference_id": "a"},
            [],
            None,
            "x",
        ],
    )
    def test_what_is_no_list_of_instances_is_refused(self, api: httpx.Client, document: Any) -> None:
        refused(api.post("/v1/models/mnist:predict", json=document))
