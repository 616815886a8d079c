"""What is measured of each prediction, by whatever way it came: the ledger has it, and the record shows the times."""

import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.database import Query
from tests.support.graphs import conv_net, package
from tests.support.repository import DIGIT, ROOT

ONE = "SELECT measured FROM predictions WHERE prediction_id = :id"


def picture(width: int, height: int, level: int) -> bytes:
    """Return a picture whose left half is black and whose right half is grey."""
    image = Image.new("L", (width, height), 0)
    image.paste(level, (width // 2, 0, width, height))
    with BytesIO() as file:
        image.save(file, "PNG")
        return file.getvalue()


def sent(content: bytes) -> list[Any]:
    """Return what must have been measured of a picture but for the times."""
    with Image.open(BytesIO(content)) as image:
        seen = image.resize((28, 28), Image.Resampling.BICUBIC) if image.size != (28, 28) else image.convert("L")
        light = np.asarray(seen, np.float64) / 255
        return [
            image.width,
            image.height,
            len(content),
            *(pytest.approx(value, rel=1e-5) for value in (light.mean(), light.std())),
        ]


def check(measured: list[float | None], content: bytes, record: dict[str, Any]) -> None:
    """Check what was measured of a picture that was predicted at once, and what its record shows of it."""
    decode_ms, inference_ms, queue_ms, *others = measured
    assert queue_ms is None
    assert others == sent(content)
    check_times(decode_ms, inference_ms, record)


def check_times(decode_ms: float | None, inference_ms: float | None, record: dict[str, Any]) -> None:
    """Check the times of a prediction that was made at once."""
    assert isinstance(decode_ms, float)
    assert isinstance(inference_ms, float)
    assert min(decode_ms, inference_ms) > 0
    assert (record["decode_ms"], record["inference_ms"]) == (decode_ms, inference_ms)
    assert "queue_ms" not in record
    assert decode_ms + inference_ms == pytest.approx(record["duration_ms"], rel=0.001, abs=0.002)


def test_a_picture_as_a_file_as_the_body_and_in_json(api: httpx.Client, query: Query) -> None:
    content = picture(60, 40, 200)
    uri = f"data:image/png;base64,{b64encode(content).decode()}"
    answers = [
        api.post("/prediction", files={"file": ("a.png", content, "image/png")}),
        api.post("/prediction", content=content, headers={"content-type": "image/png"}),
        api.post("/prediction", json={"image": uri}),
    ]
    for answer in answers:
        assert answer.status_code == 201
        record = answer.json()
        [[measured]] = query(ONE, id=record["prediction_id"])
        check(measured, content, record)


def test_each_of_many_has_its_own_picture_and_its_share_of_the_time(api: httpx.Client, query: Query) -> None:
    contents = [picture(20 + at, 30, 100 + 50 * at) for at in range(3)]
    files = [("file", (f"{at}.png", content, "image/png")) for at, content in enumerate(contents)]
    records = api.post("/predictions", files=files).json()["predictions"]
    for record, content in zip(records, contents, strict=True):
        [[measured]] = query(ONE, id=record["prediction_id"])
        check(measured, content, record)


def test_an_image_file_in_the_open_inference_protocol_is_a_picture_and_a_tensor_is_none(
    api: httpx.Client, environment: pytest.MonkeyPatch, query: Query, tmp_path: Path
) -> None:
    environment.setenv("MODEL", str(package(tmp_path / "photos", conv_net(), encoded=True)))
    content = picture(60, 40, 200)
    size = len(content) + 4  # each text in binary comes after its length
    file = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [file]}).encode()
    body = header + len(content).to_bytes(4, "little") + content
    tensor = {"name": "image", "shape": [1, 28, 28, 1], "datatype": "FP32", "data": [0.5] * 784}
    path = "/v2/models/photos/infer"
    in_binary = {"inference-header-content-length": str(len(header)), "content-type": "application/octet-stream"}
    answers = [api.post(path, content=body, headers=in_binary), api.post(path, json={"inputs": [tensor]})]
    assert [answer.status_code for answer in answers] == [200, 200]
    ids = [one for answer in answers for one in answer.json()["parameters"]["prediction_ids"]]
    [[of_file]], [[of_tensor]] = (query(ONE, id=one) for one in ids)
    assert of_file[3:6] == [60, 40, len(content)]
    assert len(of_tensor) == 2


def test_features_have_their_times_alone(api: httpx.Client, environment: pytest.MonkeyPatch, query: Query) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
    for row in ([59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87],):
        record = api.post("/prediction", json={"features": row}).json()
        [[measured]] = query(ONE, id=record["prediction_id"])
        decode_ms, inference_ms = measured
        check_times(decode_ms, inference_ms, record)


def test_the_times_are_the_same_in_every_answer(api: httpx.Client) -> None:
    headers = {"content-type": "image/png", "idempotency-key": "one"}
    made, again = (api.post("/prediction", content=DIGIT.read_bytes(), headers=headers) for _ in range(2))
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == made.content
    record = made.json()
    read = api.get(f"/prediction/{record['prediction_id']}").json()
    [listed] = api.get("/predictions").json()["predictions"]
    times = ("duration_ms", "decode_ms", "inference_ms")
    for shown in (read, listed):
        assert [shown[name] for name in times] == [record[name] for name in times]


def test_the_model_is_registered_with_its_baseline(api: httpx.Client, query: Query) -> None:
    answer = api.post("/prediction", content=DIGIT.read_bytes(), headers={"content-type": "image/png"})
    assert answer.status_code == 201
    [[count]] = query("SELECT (baseline->>'count')::int FROM models")
    assert count == api.get("/model").json()["baseline"]["count"] == 5_000


def test_the_model_says_what_range_each_feature_had(api: httpx.Client, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
    model = api.get("/model").json()
    baseline = model["baseline"]
    assert list(baseline["features"]) == [one["name"] for one in model["features"]]
    age = baseline["features"]["age"]
    assert age["missing"] == 0
    assert 18 < age["p01"] < age["p50"] < age["p99"] < 82
    assert baseline["performance"]["regression"]["r2"] > 0.5


def test_a_model_without_a_baseline_says_so(
    api: httpx.Client, environment: pytest.MonkeyPatch, query: Query, tmp_path: Path
) -> None:
    environment.setenv("MODEL", str(package(tmp_path / "photos", conv_net())))
    assert api.get("/model").json()["baseline"] is None
    answer = api.post("/prediction", content=DIGIT.read_bytes(), headers={"content-type": "image/png"})
    assert answer.status_code == 201
    assert query("SELECT baseline FROM models") == [[None]]
