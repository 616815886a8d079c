"""The service knows no model: each of these is served unchanged, and its answers are stored, listed and read back."""

from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from json import dumps
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.inference import corpus
from tests.support import graphs
from tests.support.repository import ROOT

Serve = Callable[[Path], httpx.Client]


@pytest.fixture
def serve(api: httpx.Client, environment: pytest.MonkeyPatch) -> Serve:
    """Return a function that makes the API serve a model package."""

    def with_model(folder: Path) -> httpx.Client:
        environment.setenv("MODEL", str(folder))
        return api

    return with_model


def package(folder: Path, onnx_model: Any) -> Path:
    """Write a package that is an ONNX file and nothing else."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(onnx_model.SerializeToString())
    return folder


def predict_all(api: httpx.Client, rows: list[Any], at_a_time: int = 100) -> list[dict[str, Any]]:
    """Predict rows in batches, check that each is stored as it was answered, and return the records."""
    records = []
    for start in range(0, len(rows), at_a_time):
        instances = [{"features": row} for row in rows[start : start + at_a_time]]
        answer = api.post("/predictions", json={"instances": instances})
        assert answer.status_code == 201, answer.text
        records += answer.json()["predictions"]
    listed = api.get("/predictions", params={"limit": 1000}).json()["predictions"]
    assert listed == records[::-1]
    for row, record in list(zip(rows, records, strict=True))[::25]:
        read = api.get(f"/prediction/{record['prediction_id']}").json()
        assert read.pop("features") == row
        assert read == record
    return records


def test_the_model_in_onnxruntimes_own_wheel_with_its_fixed_batch_and_zipmap(serve: Serve, tmp_path: Path) -> None:
    shipped = Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx"
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.onnx").write_bytes(shipped.read_bytes())
    api = serve(tmp_path / "iris")
    session = onnxruntime.InferenceSession(shipped)
    rows = load_iris().data[:, : session.get_inputs()[0].shape[1]].astype(np.float32)
    expected = [session.run(None, {session.get_inputs()[0].name: rows[at : at + 3]}) for at in range(0, 150, 3)]

    records = predict_all(api, rows.tolist())

    labels = [int(label) for group in expected for label in group[0]]
    scores = [[row[key] for key in sorted(row)] for group in expected for row in group[1]]
    assert [record["likely_class"] for record in records] == labels
    np.testing.assert_allclose([record["prediction"] for record in records], scores, atol=1e-5)


def test_a_scikit_learn_classifier_says_what_it_says_in_python(serve: Serve, tmp_path: Path) -> None:
    data = load_breast_cancer()
    rows = data.data.astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, data.target_names[data.target])
    api = serve(package(tmp_path / "cancer", to_onnx(model, rows[:1], target_opset=18)))

    records = predict_all(api, rows[:250].tolist())

    np.testing.assert_allclose([record["prediction"] for record in records], model.predict_proba(rows[:250]), atol=1e-5)
    assert [record["label"] for record in records] == list(model.predict(rows[:250]))
    assert all(record["predicted_value"] == record["label"] for record in records)


def test_a_data_frame_with_one_input_a_column_some_of_them_text(serve: Serve, tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    ages, cities = random.normal(40, 10, 220), random.choice(["Bern", "Köln", "Oslo"], 220)
    frame = np.array(list(zip(ages, cities, strict=True)), dtype=object)
    target = np.where((ages > 40) ^ (cities == "Oslo"), "yes", "no")
    columns = ColumnTransformer([("scale", StandardScaler(), [0]), ("one_hot", OneHotEncoder(), [1])])
    model = make_pipeline(columns, RandomForestClassifier(20, random_state=7)).fit(frame, target)
    types = [("age", FloatTensorType([None, 1])), ("city", StringTensorType([None, 1]))]
    api = serve(package(tmp_path / "frame", to_onnx(model, initial_types=types, target_opset=18)))
    rows = [{"age": float(age), "city": str(city)} for age, city in frame]

    records = predict_all(api, rows)

    np.testing.assert_allclose([record["prediction"] for record in records], model.predict_proba(frame), atol=1e-5)
    problem = api.post("/prediction", json={"features": {"age": "old", "city": 7}}).json()
    assert [error["pointer"] for error in problem["errors"]] == ["/features/age", "/features/city"]


@pytest.mark.parametrize("targets", [1, 3])
def test_a_regression_answers_the_number_or_one_number_a_target(serve: Serve, tmp_path: Path, targets: int) -> None:
    rows, target = load_diabetes(return_X_y=True)
    rows = rows.astype(np.float32)
    answers = target if targets == 1 else np.stack([target, -target, target**2], axis=1)
    model = LinearRegression().fit(rows, answers)
    (tmp_path / "line").mkdir()
    (tmp_path / "line" / "model.json").write_text('{"task": "regression"}')
    api = serve(package(tmp_path / "line", to_onnx(model, rows[:1], target_opset=18)))

    records = predict_all(api, rows[:210].tolist())

    values = np.array([record["predicted_value"] for record in records])
    expected = model.predict(rows[:210].astype(np.float64))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert not {"likely_class", "label", "confidence"} & set(records[0])


def stored(api: httpx.Client, **body: Any) -> dict[str, Any]:
    """Predict, check that what is listed and read back is what was answered, and return the record with its input."""
    answer = api.post("/prediction", json=body)
    assert answer.status_code == 201, answer.text
    record = answer.json()
    assert api.get("/predictions").json()["predictions"][0] == record
    read: dict[str, Any] = api.get(f"/prediction/{record['prediction_id']}").json()
    assert {name: value for name, value in read.items() if name in record} == record
    return read


def test_every_output_is_stored_by_name_and_once(serve: Serve, tmp_path: Path) -> None:
    api = serve(graphs.package(tmp_path / "heads", corpus.heads(corpus.best(), corpus.shares(), corpus.age())))
    record = stored(api, features=[0.0, 1.0, 2.0])
    assert (record["label"], record["predicted_value"], len(record["prediction"])) == ("2", "2", 3)
    assert record["outputs"] == {"age": {"shape": [1], "datatype": "FP32", "data": [8.0]}}


def test_an_embedding_is_its_vector_and_has_no_label(serve: Serve, tmp_path: Path) -> None:
    api = serve(graphs.package(tmp_path / "vectors", corpus.dense(corpus.SIXTEEN), task="embedding"))
    record = stored(api, features=[1.0, 2.0])
    assert record["prediction"] == record["predicted_value"] == [1.0, 2.0, *[0.0] * 14]
    assert not {"label", "likely_class", "confidence", "outputs"} & set(record)


def test_each_target_has_its_class(serve: Serve, tmp_path: Path) -> None:
    api = serve(graphs.package(tmp_path / "targets", corpus.several_labels(), task="multi-target"))
    record = stored(api, features=[0.75, 0.25])
    assert record["predicted_value"] == [1, 0]
    assert [record["outputs"][f"probabilities[{at}]"]["data"] for at in (0, 1)] == [[0.25, 0.75], [0.75, 0.25]]
    assert not {"label", "likely_class", "confidence"} & set(record)


@pytest.mark.parametrize(("brightness", "found"), [(0, 0), (255, 9)])
def test_a_detection_lists_what_it_found_which_may_be_nothing(
    serve: Serve, tmp_path: Path, brightness: int, found: int
) -> None:
    api = serve(graphs.package(tmp_path / "finds", corpus.torchvision(), task="detection"))
    file = BytesIO()
    Image.new("L", (9, 8), brightness).save(file, "PNG")
    record = stored(api, image=f"data:image/png;base64,{b64encode(file.getvalue()).decode()}")
    assert record["prediction"] == [{"box": [at] * 4, "score": 1.0, "label": str(at + 1)} for at in range(found)]
    assert record["predicted_value"] == [str(at + 1) for at in range(found)]


def test_a_missing_value_is_null_and_is_read_back_as_it_was_sent(serve: Serve, tmp_path: Path) -> None:
    api = serve(graphs.package(tmp_path / "trees", corpus.trees(), missing="nan"))
    assert stored(api, features=[None, 1.5])["features"] == [None, 1.5]
    assert stored(api, features=[None, 1.5])["predicted_value"] == 10.0


@pytest.fixture
def diabetes(serve: Serve) -> httpx.Client:
    """The API with the shipped tabular model, whose features have names."""
    return serve(ROOT / "model_artifacts" / "diabetes")


def features(api: httpx.Client) -> dict[str, float]:
    """Return features that the served model takes, by name."""
    return {feature["name"]: 1.5 for feature in api.get("/model").json()["features"]}


def test_features_may_be_a_list_in_order_or_an_object_by_name(diabetes: httpx.Client) -> None:
    by_name = features(diabetes)

    first = diabetes.post("/prediction", json={"features": by_name, "user_id": "anna", "metadata": {"form": 3}})
    second = diabetes.post("/prediction", json={"features": list(by_name.values())})

    assert first.status_code == second.status_code == 201
    assert first.json()["prediction"] == second.json()["prediction"]
    assert first.json()["predicted_value"] == first.json()["prediction"][0]
    assert (first.json()["user_id"], second.json()["user_id"]) == ("anna", "anonymous")
    assert (first.json()["contenttype"], first.json()["metadata"]) == ("application/json", {"form": 3})


def test_features_are_stored_to_the_letter(diabetes: httpx.Client) -> None:
    values = ", ".join(["1.50", "-0.0", "1e0", "12345678901234567890", "0.1000000000000000055"] + ["2"] * 5)
    body = f'{{"features": [{values}]}}'

    answer = diabetes.post("/prediction", content=body, headers={"content-type": "application/json"})
    read = diabetes.get(f"/prediction/{answer.json()['prediction_id']}/input")

    assert read.text == f"[{values}]"
    assert read.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"hdl": None}, "/features/hdl"),
        ({"hdl": "1"}, "/features/hdl"),
        ({"hdl": True}, "/features/hdl"),
        ({"hdl": [1]}, "/features/hdl"),
        ({"hdl": float("nan")}, "/features/hdl"),
        ({"hdl": float("-inf")}, "/features/hdl"),
        ({"hdl": 1e39}, "/features/hdl"),
        ({"colour": 1}, "/features/colour"),
    ],
)
def test_a_feature_that_cannot_be_used_is_named_with_what_was_expected(
    diabetes: httpx.Client, change: dict[str, object], pointer: str
) -> None:
    answer = diabetes.post(
        "/prediction",
        content=dumps({"features": features(diabetes) | change}),
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert pointer.rpartition("/")[2] in answer.json()["detail"]
    assert diabetes.get("/predictions").json()["predictions"] == []


def test_a_missing_feature_and_a_wrong_count_are_said(diabetes: httpx.Client) -> None:
    given = features(diabetes)
    del given["hdl"]

    missing = diabetes.post("/prediction", json={"features": given})
    count = diabetes.post("/prediction", json={"features": [1, 2, 3]})

    assert missing.status_code == count.status_code == 422
    assert "hdl" in missing.json()["detail"]
    assert "10" in count.json()["detail"]
    assert "3" in count.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"features": None}, {"features": []}, {"features": {}}])
def test_no_features_at_all_is_malformed(diabetes: httpx.Client, body: dict[str, object]) -> None:
    assert diabetes.post("/prediction", json=body).status_code == 400


def test_an_image_is_not_what_a_model_of_features_takes(diabetes: httpx.Client, digit: bytes) -> None:
    form = diabetes.post("/prediction", files={"file": ("seven.png", digit, "image/png")})
    uri = diabetes.post("/prediction", json={"image": "data:image/png;base64,AAAA"})

    assert form.status_code == 415
    assert "application/json" in form.json()["detail"]
    assert uri.status_code == 422
