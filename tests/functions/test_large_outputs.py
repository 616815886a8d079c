"""An output that does not fit into an answer is stored apart, and can be read: whole, in parts, or in JSON."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import numpy as np
import onnxruntime
import pytest
import requests
from moto import mock_aws
from numpy.typing import NDArray
from onnx import ModelProto, helper

from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from tests.support.buckets import Bucket, make_bucket
from tests.support.database import Query
from tests.support.event_transport import EventTransport
from tests.support.graphs import as_long_as_told, conv_net, graph, package, passing, pixels, tensor, yolo_shaped
from tests.support.prediction_queue import AWS, Queue, listed
from tests.support.repository import DIGIT

FEATURES = [0.1, 0.2, 0.3, 0.4]
MIBI = 1024 * 1024
LARGEST_ANSWER = 6_000_000
BINARY = {"accept": "application/octet-stream"}
JSON = {"accept": "application/json"}

Serve = Callable[..., httpx.Client]


@dataclass(frozen=True)
class Stack:
    """The queue, and the bucket of inputs where there is one."""

    bucket: Bucket | None
    queue: Queue

    def objects(self) -> dict[str, bytes]:
        return {} if self.bucket is None else self.bucket.contents()


@pytest.fixture(params=["database", "bucket"])
def stack(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch) -> Iterator[Stack]:
    """What is deployed: what is large is kept in the database, or in a bucket."""
    for name, value in AWS.items():
        environment.setenv(name, value)
    with mock_aws():
        bucket = None
        if request.param == "bucket":
            bucket = make_bucket("inputs-of-tests")
            environment.setenv("INPUTS_BUCKET", bucket.name)
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
        environment.setenv("QUEUE_URL", url)
        yield Stack(bucket, Queue(sqs, url))


@pytest.fixture
def serve(api: httpx.Client, environment: pytest.MonkeyPatch, tmp_path: Path) -> Serve:
    """Return a function that makes the API serve a model, with `settings` in its model.json."""

    def with_model(model: ModelProto, **settings: Any) -> httpx.Client:
        environment.setenv("MODEL", str(package(tmp_path / "model", model, **{"task": "tensors", **settings})))
        return api

    return with_model


def run(folder: Path, name: str = "x", value: Any = FEATURES, dtype: str = "float32") -> NDArray[Any]:
    """Return the first output of a served model for one example, as the runtime computes it."""
    session = onnxruntime.InferenceSession(folder / "model" / "model.onnx")
    array: NDArray[Any] = session.run(None, {name: np.array([value], dtype=dtype)})[0][0]
    return array


def predict(api: httpx.Client, inputs: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = api.post("/prediction", json={"inputs": inputs, "user_id": "anna"}, headers=headers)
    assert answer.status_code in (201, 202), answer.text
    return dict(answer.json())


def read(api: httpx.Client, prediction_id: str) -> dict[str, Any]:
    """Read a record without its input, and see that it is the one that the list has."""
    answer = api.get(f"/prediction/{prediction_id}")
    assert answer.status_code == 200
    assert len(answer.content) <= LARGEST_ANSWER
    record = {name: value for name, value in answer.json().items() if name not in ("inputs", "features", "image")}
    page = api.get("/predictions").json()["predictions"]
    assert [one for one in page if one["prediction_id"] == prediction_id] == [record]
    return record


def shape_of(answer: httpx.Response) -> list[int]:
    return [int(length) for length in answer.headers["tensor-shape"].split(", ")]


def array_of(answer: httpx.Response, dtype: str = "<f4") -> NDArray[Any]:
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, dtype).reshape(shape_of(answer))


class TestStored:
    """What is stored, and where."""

    def test_a_yolos_output_is_a_reference_in_the_record_and_read_back_bit_for_bit(
        self, serve: Serve, stack: Stack, tmp_path: Path, query: Query
    ) -> None:
        api = serve(yolo_shaped())
        expected = run(tmp_path)

        record = predict(api, {"x": FEATURES})

        prediction_id = record["prediction_id"]
        assert record["prediction"] == {
            "outputs": {
                "output0": {
                    "shape": [84, 8400],
                    "datatype": "FP32",
                    "size": expected.nbytes,
                    "sha256": hashlib.sha256(expected.tobytes()).hexdigest(),
                    "href": f"/prediction/{prediction_id}/output/output0",
                }
            }
        }
        assert read(api, prediction_id) == record
        got = api.get(record["prediction"]["outputs"]["output0"]["href"])
        np.testing.assert_array_equal(array_of(got), expected)
        assert got.headers["content-type"] == "application/octet-stream"
        assert (got.headers["tensor-datatype"], got.headers["tensor-shape"]) == ("FP32", "84, 8400")

        [[content, uri, name, shape]] = query("SELECT content, uri, name, shape::text FROM large_outputs")
        assert (name, shape) == ("output0", "{84,8400}")
        if stack.bucket is None:
            assert uri is None
        else:
            assert content is None
            [(key, content)] = stack.objects().items()
            assert uri == f"s3://{stack.bucket.name}/{key}"
            assert key.startswith("inputs/anna/")
        assert gzip.decompress(content) == expected.tobytes()

    def test_a_batch_an_asynchronous_one_and_a_repeated_one_are_stored_alike(
        self, serve: Serve, stack: Stack, tmp_path: Path, query: Query
    ) -> None:
        api = serve(yolo_shaped(20, 9000))
        examples = [[float(number)] * 4 for number in range(1, 4)]

        body = {"instances": [{"inputs": {"x": one}} for one in examples], "user_id": "anna"}
        batch = api.post("/predictions", json=body, headers={"idempotency-key": "once"})
        again = api.post("/predictions", json=body, headers={"idempotency-key": "once"})
        queued = [predict(api, {"x": one}, prefer="respond-async")["prediction_id"] for one in examples]
        assert stack.queue.deliver() == []

        assert batch.status_code == 201, batch.text
        assert (again.content, again.headers["idempotency-replayed"]) == (batch.content, "true")
        made = [one["prediction_id"] for one in batch.json()["predictions"]]
        for prediction_ids in (made, queued):
            for prediction_id, one in zip(prediction_ids, examples, strict=True):
                record = read(api, prediction_id)
                assert record["status"] == "succeeded"
                got = api.get(record["prediction"]["outputs"]["output0"]["href"])
                np.testing.assert_array_equal(array_of(got), run(tmp_path, value=one))
        assert query("SELECT count(*) FROM large_outputs") == [[6]]
        assert len(stack.objects()) == (0 if stack.bucket is None else 6)

    def test_only_what_is_large_is_stored_apart(self, serve: Serve, stack: Stack, query: Query) -> None:
        assert stack is not None
        nodes = [
            helper.make_node("Add", ["x", "x"], ["small/sum"]),
            helper.make_node("Expand", ["x", "shape"], ["/model/large:0"]),
        ]
        outputs = [tensor("small/sum", "float32", ["N", 1]), tensor("/model/large:0", "float32", ["N", 50_000])]
        model = graph(nodes, [tensor("x", "float32", ["N", 1])], outputs, {"shape": np.array([1, 50_000])})
        api = serve(model)

        record = predict(api, {"x": [0.5]})

        found = record["prediction"]["outputs"]
        assert found["small/sum"] == {"shape": [1], "datatype": "FP32", "data": [1.0]}
        href = f"/prediction/{record['prediction_id']}/output/%2Fmodel%2Flarge%3A0"
        assert found["/model/large:0"]["href"] == href
        np.testing.assert_array_equal(array_of(api.get(href)), np.full(50_000, 0.5, np.float32))
        assert read(api, record["prediction_id"]) == record
        assert query("SELECT name FROM large_outputs") == [["/model/large:0"]]

    def test_of_many_outputs_that_are_too_large_together_the_largest_are_stored_apart(
        self, serve: Serve, tmp_path: Path
    ) -> None:
        lengths = {f"part{number}": 29_000 + number for number in range(8)}
        nodes = [helper.make_node("Expand", ["x", f"shape of {name}"], [name]) for name in lengths]
        model = graph(
            nodes,
            [tensor("x", "float32", ["N", 1])],
            [tensor(name, "float32", ["N", length]) for name, length in lengths.items()],
            {f"shape of {name}": np.array([1, length]) for name, length in lengths.items()},
        )
        assert tmp_path is not None
        record = predict(serve(model), {"x": [1 / 3]})

        apart = [name for name, one in record["prediction"]["outputs"].items() if "href" in one]
        assert sorted(apart) == ["part4", "part5", "part6", "part7"]

    def test_an_autoencoders_answer_is_a_reference_and_its_value_is_not_answered_beside_it(
        self, serve: Serve, stack: Stack, tmp_path: Path
    ) -> None:
        assert stack is not None
        api = serve(pixels(["N", 1, 224, 224]), task="regression")
        answer = api.post("/prediction", content=DIGIT.read_bytes(), headers={"content-type": "image/png"})

        assert answer.status_code == 201, answer.text
        record = answer.json()
        assert "predicted_value" not in record
        assert record["prediction"]["outputs"]["y"]["shape"] == [224 * 224]
        assert read(api, record["prediction_id"]) == record
        values = array_of(api.get(record["prediction"]["outputs"]["y"]["href"]))
        assert tmp_path is not None
        assert (values.min(), values.max()) == (0, 1)

    def test_a_class_among_very_many_is_told_although_its_scores_are_stored_apart(self, serve: Serve) -> None:
        api = serve(conv_net(classes=60_000), task="classification")
        answer = api.post("/prediction", content=DIGIT.read_bytes(), headers={"content-type": "image/png"})

        record = answer.json()
        scores = array_of(api.get(record["prediction"]["outputs"]["scores"]["href"]))
        assert record["likely_class"] == scores.argmax()
        assert record["confidence"] == pytest.approx(scores.max())

    def test_a_record_without_large_outputs_has_no_row(self, api: httpx.Client, digit: bytes, query: Query) -> None:
        answer = api.post("/prediction", content=digit, headers={"content-type": "image/png"})
        assert answer.status_code == 201
        assert query("SELECT count(*) FROM large_outputs") == [[0]]

    def test_nothing_is_left_in_the_bucket_if_the_database_does_not_take_the_rows(
        self, serve: Serve, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        api = serve(yolo_shaped(20, 9000))

        def refuse(*_: object, **__: object) -> None:
            raise LedgerUnavailableError("the database is on fire")

        def refused_each(_: Ledger, __: object, requests: Sequence[object]) -> list[LedgerUnavailableError]:
            return [LedgerUnavailableError("the database is on fire") for _ in requests]

        with monkeypatch.context() as broken:
            broken.setattr(Ledger, "store", refuse)
            broken.setattr(Ledger, "store_requests", refused_each)
            answer = api.post("/prediction", json={"inputs": {"x": FEATURES}})
        assert answer.status_code == 503
        assert stack.objects() == {}

        queued = predict(api, {"x": FEATURES}, prefer="respond-async")["prediction_id"]
        with monkeypatch.context() as broken:
            broken.setattr(Ledger, "complete", refuse)
            with pytest.raises(LedgerUnavailableError):
                stack.queue.deliver()
        assert stack.objects() == {}
        assert read(api, queued)["status"] == "processing"

    def test_of_two_workers_that_make_one_prediction_the_later_leaves_no_object(
        self, serve: Serve, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from functions.shared.prediction import worker_batch
        from functions.worker.handler import environment

        api = serve(yolo_shaped(20, 9000))
        queued = predict(api, {"x": FEATURES}, prefer="respond-async")["prediction_id"]
        into = worker_batch.outcomes_of

        def made_twice(*arguments: Any) -> Any:
            tried, outcomes = into(arguments[0], list(arguments[1]), *arguments[2:])
            outcome: Any = outcomes[0]
            other = outcome._replace(large=tuple(one._replace(uri=one.uri and f"{one.uri}0") for one in outcome.large))
            environment().serving.ledger.complete(environment().serving.identity, [other])
            return tried, outcomes

        monkeypatch.setattr(worker_batch, "outcomes_of", made_twice)
        assert stack.queue.deliver() == []

        assert read(api, queued)["status"] == "succeeded"
        assert stack.objects() == {}  # the other worker's is only named in this test


class TestRead:
    """`GET /prediction/{id}/output/{name}`."""

    @pytest.fixture
    def href(self, serve: Serve) -> str:
        """The path of an output of 200 KB, which fits into an answer in any form."""
        record = predict(serve(yolo_shaped(5, 10_000)), {"x": FEATURES})
        return str(record["prediction"]["outputs"]["output0"]["href"])

    def test_accept_chooses_between_binary_and_json(self, api: httpx.Client, href: str, tmp_path: Path) -> None:
        expected = run(tmp_path)
        for accept in ("application/octet-stream", "*/*", "application/json;q=0.5, application/octet-stream"):
            np.testing.assert_array_equal(array_of(api.get(href, headers={"accept": accept})), expected)
        for accept in ("application/json", "application/*;q=0.1, application/json"):
            answer = api.get(href, headers={"accept": accept})
            assert answer.headers["content-type"] == "application/json"
            document = answer.json()
            assert {name: document[name] for name in ("name", "shape", "datatype")} == {
                "name": "output0",
                "shape": [5, 10_000],
                "datatype": "FP32",
            }
            assert document["data"] == expected.ravel().tolist()
        refused = api.get(href, headers={"accept": "text/html"})
        assert refused.status_code == 406
        assert "application/octet-stream or application/json" in refused.json()["detail"]

    @pytest.mark.parametrize(
        ("dtype", "datatype", "values"),
        [
            ("bool", "BOOL", [True, False]),
            ("uint8", "UINT8", [0, 255]),
            ("int8", "INT8", [-128, 127]),
            ("uint16", "UINT16", [0, 65_535]),
            ("int32", "INT32", [-(2**31), 2**31 - 1]),
            ("int64", "INT64", [-(2**63), 2**63 - 1]),
            ("float16", "FP16", [0.5, -65_504.0]),
            ("float64", "FP64", [0.1, -1e-300]),
            ("string", "BYTES", ["", "Grüße \U0001f600"]),
        ],
    )
    def test_every_type_comes_back_as_it_was(
        self, serve: Serve, dtype: str, datatype: str, values: Sequence[Any]
    ) -> None:
        count = 30_000 if datatype == "INT64" else 130_000
        many = list(values) * count
        api = serve(passing(dtype, ["N", "n"]))

        record = predict(api, {"x": many})

        found = record["prediction"]["outputs"]["y"]
        assert (found["datatype"], found["shape"]) == (datatype, [len(many)])
        document = api.get(found["href"], headers=JSON).json()
        assert document == {"name": "y", "shape": [len(many)], "datatype": datatype, "data": many}
        got = api.get(found["href"], headers=BINARY)
        assert got.headers["tensor-datatype"] == datatype
        assert len(got.content) == found["size"]
        assert hashlib.sha256(got.content).hexdigest() == found["sha256"]
        if datatype == "BYTES":
            one = values[1].encode()
            assert got.content == (bytes(4) + len(one).to_bytes(4, "little") + one) * count
        else:
            np.testing.assert_array_equal(array_of(got, np.dtype(dtype).newbyteorder("<").str), np.array(many, dtype))

    def test_it_is_asked_for_again_only_if_it_has_changed(self, api: httpx.Client, href: str) -> None:
        tags = set()
        for headers in (BINARY, JSON):
            first = api.get(href, headers=headers)
            assert first.headers["cache-control"] == "private, no-cache"
            assert first.headers["vary"] == "Accept, Accept-Encoding"
            assert first.headers["x-content-type-options"] == "nosniff"
            tags.add(first.headers["etag"])
            again = api.get(href, headers={**headers, "if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert len(tags) == 2

    def test_head_is_answered_as_get_is(self, api: httpx.Client, href: str) -> None:
        answer = api.head(href, headers=BINARY)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["tensor-shape"] == "5, 10000"

    def test_what_is_not_there_is_not_found_and_the_record_names_what_is(self, api: httpx.Client, href: str) -> None:
        unknown = "/prediction/019a0000-0000-7000-8000-000000000000/output/output0"
        for path in (f"{href}1", unknown):
            answer = api.get(path)
            assert answer.status_code == 404
            assert "its record names those it has" in answer.json()["detail"]
        assert api.get("/prediction/seven/output/output0").status_code == 422
        assert api.get(f"{href}%00").status_code == 422

    def test_a_range_is_a_part_of_the_bytes(self, api: httpx.Client, href: str) -> None:
        content = api.get(href).content
        size, tag = len(content), api.get(href).headers["etag"]
        for asked, start, stop in (
            ("bytes=0-99", 0, 100),
            ("bytes=100-", 100, size),
            ("bytes=-7", size - 7, size),
            (f"bytes=-{size * 2}", 0, size),
            (f"bytes={size - 1}-{size * 2}", size - 1, size),
        ):
            answer = api.get(href, headers={"range": asked, "if-range": tag})
            assert answer.status_code == 206
            assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert answer.content == content[start:stop]
        for asked in ("bytes=0-1,3-4", "rows=0-1", "bytes=-", "bytes=9-3", "bytes=a-b"):
            answer = api.get(href, headers={"range": asked})
            assert (answer.status_code, answer.content) == (200, content)
        changed = api.get(href, headers={"range": "bytes=0-1", "if-range": '"other"'})
        assert (changed.status_code, changed.content) == (200, content)
        for asked in (f"bytes={size}-", "bytes=-0"):
            answer = api.get(href, headers={"range": asked})
            assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}")

    def test_others_do_not_find_it_and_a_scope_does(
        self, environment: pytest.MonkeyPatch, tmp_path: Path, database_url: str
    ) -> None:
        assert database_url is not None
        environment.setenv("AUTH", "on")
        environment.setenv("MODEL", str(package(tmp_path, yolo_shaped(5, 10_000), task="tensors")))

        def client(subject: str | None, **claims: object) -> httpx.Client:
            return httpx.Client(transport=EventTransport(subject, **claims), base_url="https://api.example")

        record = client("anna").post("/prediction", json={"inputs": {"x": FEATURES}}).json()
        href = record["prediction"]["outputs"]["output0"]["href"]

        assert client("anna").get(href).status_code == 200
        assert client("bob").get(href).status_code == 404
        assert client("bob", scope="predictions:read-all").get(href).status_code == 200
        assert client(None).get(href).status_code == 401


class TestTooLargeForOneAnswer:
    """An output of more than Lambda answers."""

    LENGTH = 2_000_000

    @pytest.fixture
    def href(self, serve: Serve, stack: Stack) -> str:
        assert stack is not None
        record = predict(serve(as_long_as_told(0.25), batched=False), {"length": [self.LENGTH]})
        return str(record["prediction"]["outputs"]["values"]["href"])

    def test_it_can_be_read_in_parts(self, api: httpx.Client, href: str) -> None:
        parts: list[bytes] = []
        while sum(map(len, parts)) < self.LENGTH * 4:
            answer = api.get(href, headers={"range": f"bytes={sum(map(len, parts))}-", "accept-encoding": "identity"})
            assert answer.status_code == 206
            parts.append(answer.content)
        assert len(parts) == 2
        assert b"".join(parts) == np.full(self.LENGTH, 0.25, "<f4").tobytes()

    def test_a_client_that_reads_gzip_gets_it_compressed(self, api: httpx.Client, href: str, stack: Stack) -> None:
        answer = api.get(href, headers={"accept-encoding": "gzip, deflate"})

        if stack.bucket is None:
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["tensor-shape"] == str(self.LENGTH)
            content = answer.content  # httpx decompresses
        else:
            assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
            fetched = requests.get(answer.headers["location"], timeout=30)  # moto replaces S3 for this client
            assert fetched.headers["content-type"] == "application/octet-stream"
            content = gzip.decompress(fetched.content) if fetched.content[:2] == b"\x1f\x8b" else fetched.content
            assert "response-content-encoding=gzip" in answer.headers["location"]
        assert content == np.full(self.LENGTH, 0.25, "<f4").tobytes()

    @pytest.mark.parametrize("encoding", ["identity", "gzip;q=0", ""])
    def test_any_other_client_is_told_how_to_read_it(self, api: httpx.Client, href: str, encoding: str) -> None:
        answer = api.get(href, headers={"accept-encoding": encoding})
        assert answer.status_code == 406
        assert "Range: bytes=0-4399999" in answer.json()["detail"]
        assert "gzip" in answer.json()["detail"]
        in_json = api.get(href, headers=JSON)
        assert in_json.status_code == 406
        assert "accept application/octet-stream" in in_json.json()["detail"]


class TestProtocol:
    """The Open Inference Protocol answers outputs in full, where they fit."""

    def infer(self, api: httpx.Client, *, binary: bool, key: str = "once") -> httpx.Response:
        body = {
            "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": FEATURES}],
            "parameters": {"binary_data_output": binary},
        }
        return api.post("/v2/models/model/infer", json=body, headers={"idempotency-key": key})

    def test_binary_has_room_for_what_json_has_not(
        self, serve: Serve, stack: Stack, tmp_path: Path, query: Query
    ) -> None:
        assert stack is not None
        api = serve(yolo_shaped())

        refused = self.infer(api, binary=False)
        assert refused.status_code == 413
        assert "keep" in refused.json()["error"]
        assert query("SELECT count(*) FROM predictions") == [[0]]
        assert stack.objects() == {}

        answers = [self.infer(api, binary=True) for _ in range(2)]
        for answer in answers:
            assert answer.status_code == 200, answer.text
            length = int(answer.headers["inference-header-content-length"])
            assert answer.content[length:] == run(tmp_path).tobytes()
        assert answers[1].headers["idempotency-replayed"] == "true"
        [prediction_id] = json.loads(answers[0].content[:length])["parameters"]["prediction_ids"]
        record = api.get(f"/prediction/{prediction_id}").json()
        np.testing.assert_array_equal(
            array_of(api.get(record["prediction"]["outputs"]["output0"]["href"])), run(tmp_path)
        )
        assert listed(api) == [prediction_id]

    def test_json_has_what_fits_in_versions_1_and_2(self, serve: Serve, stack: Stack, tmp_path: Path) -> None:
        assert stack is not None
        api = serve(yolo_shaped(5, 10_000))
        expected = run(tmp_path)

        second = self.infer(api, binary=False).json()
        first = api.post("/v1/models/model:predict", json={"instances": [FEATURES]}).json()

        assert second["outputs"][0]["data"] == expected.ravel().tolist()
        assert first["predictions"] == [expected.tolist()]
        for prediction_id in (*second["parameters"]["prediction_ids"], *first["prediction_ids"]):
            record = api.get(f"/prediction/{prediction_id}").json()
            assert record["prediction"]["outputs"]["output0"]["shape"] == [5, 10_000]

    def test_a_key_is_not_answered_with_other_outputs_than_those_stored(
        self, serve: Serve, forget: Callable[[], None]
    ) -> None:
        api = serve(yolo_shaped(5, 10_000), name="model", version="1")
        assert self.infer(api, binary=True).status_code == 200
        other = yolo_shaped(5, 10_000)
        other.graph.initializer[0].raw_data = bytes(len(other.graph.initializer[0].raw_data))
        serve(other, name="model", version="1")
        forget()
        assert self.infer(api, binary=True).status_code == 409


class TestNeverStored:
    """What is too large to be stored is refused, at start where the file tells."""

    def test_a_prediction_is_refused_before_anything_is_stored(self, serve: Serve, stack: Stack, query: Query) -> None:
        api = serve(as_long_as_told(), batched=False)
        answer = api.post("/prediction", json={"inputs": {"length": [8 * MIBI + 1]}})
        assert answer.status_code == 413
        assert f"at most {32 * MIBI} can be stored" in answer.json()["detail"]
        assert "keep" in answer.json()["detail"]
        assert query("SELECT count(*) FROM predictions") == [[0]]
        assert stack.objects() == {}

        queued = predict(api, {"length": [8 * MIBI + 1]}, prefer="respond-async")["prediction_id"]
        assert stack.queue.deliver() == []
        assert read(api, queued)["status"] == "failed"
        assert f"at most {32 * MIBI} can be stored" in read(api, queued)["error"]

    def test_the_largest_is_stored_and_read(self, serve: Serve, stack: Stack) -> None:
        assert stack is not None
        api = serve(as_long_as_told(), batched=False)
        record = predict(api, {"length": [8 * MIBI]})
        href = record["prediction"]["outputs"]["values"]["href"]
        last = api.get(href, headers={"range": "bytes=-4"})
        assert (last.status_code, last.content) == (206, bytes(4))

    def test_a_batch_is_refused_that_is_too_large_together(self, serve: Serve, stack: Stack, query: Query) -> None:
        api = serve(as_long_as_told(), batched=False)
        body = {"instances": [{"inputs": {"length": [4 * MIBI + 1]}}] * 2}
        answer = api.post("/predictions", json=body)
        assert answer.status_code == 413
        assert "send fewer inputs" in answer.json()["detail"].lower()
        assert query("SELECT count(*) FROM predictions") == [[0]]
        assert stack.objects() == {}

        inputs = {"length": [4 * MIBI + 1]}
        queued = [predict(api, inputs, prefer="respond-async")["prediction_id"] for _ in range(2)]
        assert stack.queue.deliver() == []
        assert [read(api, one)["status"] for one in queued] == ["succeeded"] * 2


class TestQuota:
    """The quota of bytes counts what is stored apart."""

    def used(self, query: Query) -> int:
        rows = query("SELECT stored_bytes FROM quota_usage WHERE user_id = 'anna'")
        return int(rows[0][0]) if rows else 0

    def test_outputs_count_and_are_given_back(
        self, serve: Serve, stack: Stack, environment: pytest.MonkeyPatch, query: Query
    ) -> None:
        environment.setenv("QUOTA_STORED_BYTES", "1000000")
        api = serve(yolo_shaped(10, 10_000))
        size = 400_000

        first = predict(api, {"x": FEATURES}, **{"idempotency-key": "once"})
        predict(api, {"x": FEATURES}, **{"idempotency-key": "once"})
        assert size < self.used(query) < size + 1000
        queued = predict(api, {"x": FEATURES}, prefer="respond-async")
        assert stack.queue.deliver() == []
        assert 2 * size < self.used(query) < 2 * size + 1000

        refused = api.post("/prediction", json={"inputs": {"x": FEATURES}, "user_id": "anna"})
        assert refused.status_code == 429
        assert len(stack.objects()) == (0 if stack.bucket is None else 2)

        for one in (first, queued):
            assert api.delete(f"/prediction/{one['prediction_id']}").status_code == 204
        assert self.used(query) == 0
        assert query("SELECT count(*) FROM large_outputs") == [[0]]
        assert stack.objects() == {}
        predict(api, {"x": FEATURES})


class TestLargestScores:
    """`top_k` keeps the largest scores of a classification."""

    def test_values_and_indices_are_answered_and_stored_in_place_of_all_scores(self, serve: Serve) -> None:
        api = serve(conv_net(classes=60_000), task="classification", top_k=3)
        answer = api.post("/prediction", content=DIGIT.read_bytes(), headers={"content-type": "image/png"})
        record = answer.json()
        kept = record["prediction"]
        assert list(map(len, (kept["values"], kept["indices"]))) == [3, 3]
        assert kept["values"] == sorted(kept["values"], reverse=True)
        assert (record["likely_class"], record["confidence"]) == (kept["indices"][0], kept["values"][0])
        assert read(api, record["prediction_id"]) == record
