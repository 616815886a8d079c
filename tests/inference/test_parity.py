"""Models as the libraries export them answer what the libraries themselves predict, to 1e-5, on real data."""

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.ensemble import (
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.prediction import Prediction
from tests.support import graphs
from tests.support.onnx_signature import assert_agrees_with_the_runtime

# skl2onnx and onnxmltools lean on names that numpy, onnx and scikit-learn have renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

TOLERANCE = 1e-5
ROWS = 200

Serve = Callable[..., tuple[Model, list[Prediction]]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Give a model and what it predicts for rows, one at a time and all at once, which must be the same."""

    def write_load_and_predict(
        model: onnx.ModelProto, rows: Sequence[object], **settings: object
    ) -> tuple[Model, list[Prediction]]:
        folder = graphs.package(tmp_path / "model", model, **settings)
        assert_agrees_with_the_runtime(folder / "model.onnx")
        loaded = Model.load(ModelPackage.load(folder))
        loaded.warm_up()
        instances = [loaded.decode_features(row) for row in rows]
        together = loaded.predict(instances)
        for at in range(0, len(rows), 50):
            (alone,) = loaded.predict(instances[at : at + 1])
            assert alone.label == together[at].label
            assert np.allclose(np.array(alone.output, float), np.array(together[at].output, float), atol=1e-6)
        return loaded, together

    return write_load_and_predict


def assert_same_probabilities(predictions: list[Prediction], expected: NDArray[Any], labels: NDArray[Any]) -> None:
    assert np.abs(np.array([one.output for one in predictions]) - expected).max() <= TOLERANCE
    assert [one.label for one in predictions] == [str(label) for label in labels]
    for one in predictions:
        assert one.likely_class is not None
        assert one.confidence is not None
        assert isinstance(one.output, list)
        assert one.confidence == pytest.approx(one.output[one.likely_class], abs=1e-6)
        assert 0 <= one.confidence <= 1


def _real_numbers(rows: NDArray[Any]) -> list[object]:
    return [list(map(float, row)) for row in rows]


CANCER, CANCER_CLASSES = load_breast_cancer(return_X_y=True)
CANCER = CANCER.astype(np.float32)
NAMES = np.array(["malignant", "benign"])
NUMBERS, TEXTS, OTHER_NUMBERS = CANCER_CLASSES, NAMES[CANCER_CLASSES], CANCER_CLASSES * 7 + 3


@pytest.mark.parametrize(
    ("classifier", "labels", "zipmap"),
    [
        pytest.param(make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, True, id="logistic-zipmap"),
        pytest.param(make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, False, id="logistic"),
        pytest.param(make_pipeline(StandardScaler(), LogisticRegression()), TEXTS, True, id="logistic-texts-zipmap"),
        pytest.param(make_pipeline(StandardScaler(), LogisticRegression()), TEXTS, False, id="logistic-texts"),
        pytest.param(make_pipeline(StandardScaler(), LogisticRegression()), OTHER_NUMBERS, False, id="logistic-3-10"),
        pytest.param(RandomForestClassifier(20, random_state=0), OTHER_NUMBERS, True, id="forest-3-10-zipmap"),
        pytest.param(RandomForestClassifier(20, random_state=0), TEXTS, False, id="forest-texts"),
        pytest.param(GaussianNB(), OTHER_NUMBERS, False, id="bayes-3-10"),
        pytest.param(GaussianNB(), TEXTS, True, id="bayes-texts-zipmap"),
        pytest.param(KNeighborsClassifier(), OTHER_NUMBERS, True, id="neighbours-3-10-zipmap"),
        pytest.param(
            make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=20, random_state=0)),
            TEXTS,
            False,
            id="mlp-texts",
        ),
        pytest.param(
            make_pipeline(StandardScaler(), SVC(probability=True, random_state=0)), OTHER_NUMBERS, False, id="svc-3-10"
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_classifiers_of_scikit_learn(serve: Serve, classifier: Any, labels: NDArray[Any], zipmap: bool) -> None:
    classifier.fit(CANCER, labels)
    rows = CANCER[:ROWS]
    model = to_onnx(classifier, initial_types=[("X", FloatTensorType([None, 30]))], options={"zipmap": zipmap})
    loaded, predictions = serve(model, _real_numbers(rows))
    assert loaded.package.task == "classification"
    assert loaded.package.labels == tuple(str(label) for label in classifier.classes_)
    assert_same_probabilities(predictions, classifier.predict_proba(rows), classifier.predict(rows))


def test_a_classifier_of_many_classes(serve: Serve) -> None:
    digits, classes = load_digits(return_X_y=True)
    classifier = GaussianNB().fit(digits / 16 + 1, classes)
    model = to_onnx(classifier, initial_types=[("X", FloatTensorType([None, 64]))], options={"zipmap": False})
    rows = (digits[:ROWS] / 16 + 1).astype(np.float32)
    _, predictions = serve(model, _real_numbers(rows), name="digits", labels=[f"digit {at}" for at in range(10)])
    expected = np.array([f"digit {at}" for at in classifier.predict(rows)])
    assert_same_probabilities(predictions, classifier.predict_proba(rows), expected)


def test_scores_that_are_no_probabilities_have_a_label_and_no_confidence(serve: Serve) -> None:
    iris, classes = load_iris(return_X_y=True)
    classifier = SVC().fit(iris, classes)
    model = to_onnx(classifier, initial_types=[("X", FloatTensorType([None, 4]))], options={"zipmap": False})
    rows = np.tile(iris, (2, 1))[:ROWS].astype(np.float32)
    _, predictions = serve(model, _real_numbers(rows))
    assert [one.likely_class for one in predictions] == classifier.predict(rows).tolist()
    assert {one.confidence for one in predictions} == {None}


def test_an_isolation_forest_says_1_or_minus_1(serve: Serve) -> None:
    forest = IsolationForest(n_estimators=20, random_state=0).fit(CANCER)
    model = to_onnx(forest, initial_types=[("X", FloatTensorType([None, 30]))], target_opset={"": 17, "ai.onnx.ml": 3})
    _, predictions = serve(model, _real_numbers(CANCER[:ROWS]))
    assert [one.label for one in predictions] == [str(label) for label in forest.predict(CANCER[:ROWS])]
    scores = np.ravel([one.output for one in predictions])
    assert np.abs(scores - forest.decision_function(CANCER[:ROWS])).max() <= TOLERANCE
    assert {one.confidence for one in predictions} == {None}


def test_k_means_answers_the_cluster_which_is_the_nearest_not_the_farthest(serve: Serve) -> None:
    rows = StandardScaler().fit_transform(CANCER).astype(np.float32)
    clusters = KMeans(5, random_state=0, n_init=1).fit(rows)
    model = to_onnx(clusters, initial_types=[("X", FloatTensorType([None, 30]))])
    _, predictions = serve(model, _real_numbers(rows[:ROWS]))
    assert [one.likely_class for one in predictions] == clusters.predict(rows[:ROWS]).tolist()
    assert {one.confidence for one in predictions} == {None}


DIABETES, PROGRESSION = load_diabetes(return_X_y=True)


@pytest.mark.parametrize(
    ("regressor", "kind"),
    [
        (LinearRegression(), FloatTensorType),
        (LinearRegression(), DoubleTensorType),
        (GradientBoostingRegressor(n_estimators=20, random_state=0), FloatTensorType),
    ],
    ids=["linear", "linear-float64", "boosting"],
)
def test_regressors_of_scikit_learn(serve: Serve, regressor: Any, kind: Any) -> None:
    rows = DIABETES.astype(np.float32)
    regressor.fit(rows, PROGRESSION)
    model = to_onnx(regressor, initial_types=[("X", kind([None, 10]))])
    loaded, predictions = serve(model, _real_numbers(rows[:ROWS]), feature_names=load_diabetes().feature_names)
    assert loaded.package.task == "regression"
    values = np.array([one.predicted_value for one in predictions])
    assert np.allclose(values, regressor.predict(rows[:ROWS]), rtol=TOLERANCE)


def test_several_targets_of_scikit_learn(serve: Serve) -> None:
    targets = np.stack([PROGRESSION, -2 * PROGRESSION, np.sqrt(PROGRESSION)], axis=1)
    regressor = LinearRegression().fit(DIABETES, targets)
    model = to_onnx(regressor, initial_types=[("X", DoubleTensorType([None, 10]))])
    _, predictions = serve(model, _real_numbers(DIABETES[:ROWS]), task="regression")
    values = np.array([one.predicted_value for one in predictions])
    assert np.allclose(values, regressor.predict(DIABETES[:ROWS]), rtol=TOLERANCE)


@pytest.mark.parametrize("zipmap", [True, False], ids=["zipmap", "tensor"])
def test_a_data_frame_with_one_input_per_column_some_of_them_text(serve: Serve, zipmap: bool) -> None:
    rng = np.random.default_rng(0)
    cities = rng.choice(["Oslo", "Bergen", "Trondheim"], 300)
    ages = rng.integers(18, 90, 300)
    incomes = rng.normal(50, 20, 300).astype(np.float32)
    table = np.array(list(zip(ages, incomes, cities, strict=True)), dtype=object)
    buys = (incomes + 10 * (cities == "Oslo") + rng.normal(0, 10, 300)) > 55
    pipeline = make_pipeline(
        ColumnTransformer(
            [("numbers", StandardScaler(), [0, 1]), ("city", OneHotEncoder(handle_unknown="ignore"), [2])]
        ),
        LogisticRegression(),
    ).fit(table, np.where(buys, "buys", "passes"))
    model = to_onnx(
        pipeline,
        initial_types=[
            ("age", Int64TensorType([None, 1])),
            ("income", FloatTensorType([None, 1])),
            ("city", StringTensorType([None, 1])),
        ],
        options={"zipmap": zipmap},
    )
    rows = [
        {"city": str(city), "age": int(age), "income": float(income)}
        for age, income, city in zip(ages, incomes, cities, strict=True)
    ]
    loaded, predictions = serve(model, rows)
    assert loaded.package.feature_names == ("age", "income", "city")
    assert_same_probabilities(predictions, pipeline.predict_proba(table), pipeline.predict(table))
    unseen = loaded.predict([loaded.decode_features({"city": "Paris", "age": 40, "income": 50})])
    assert unseen[0].label in ("buys", "passes")


@pytest.mark.skipif(sys.platform != "linux", reason="xgboost-cpu has wheels for Linux only")
def test_a_classifier_and_a_regressor_of_xgboost(serve: Serve) -> None:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as XgbFloatTensorType
    from xgboost import XGBClassifier, XGBRegressor

    kind = [("X", XgbFloatTensorType([None, 10]))]
    rows = DIABETES.astype(np.float32)
    grades = np.digitize(PROGRESSION, [100, 200])
    for classes in (grades, (grades > 0).astype(int)):
        classifier = XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1).fit(rows, classes)
        loaded, predictions = serve(convert_xgboost(classifier, initial_types=kind), _real_numbers(rows[:ROWS]))
        assert loaded.package.task == "classification"
        assert_same_probabilities(predictions, classifier.predict_proba(rows[:ROWS]), classifier.predict(rows[:ROWS]))
    regressor = XGBRegressor(n_estimators=10, max_depth=3, n_jobs=1).fit(rows, PROGRESSION)
    _, predictions = serve(convert_xgboost(regressor, initial_types=kind), _real_numbers(rows[:ROWS]))
    values = np.array([one.predicted_value for one in predictions])
    assert np.allclose(values, regressor.predict(rows[:ROWS]), rtol=TOLERANCE)


def test_the_model_in_the_runtimes_own_wheel_runs_unchanged(tmp_path: Path) -> None:
    shutil.copy(Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx", tmp_path / "model.onnx")
    model = Model.load(ModelPackage.load(tmp_path))
    rows = np.tile(load_iris().data[:, :2], (2, 1))[:ROWS].astype(np.float32)
    predictions = model.predict([model.decode_features(row) for row in _real_numbers(rows)])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for at in range(0, ROWS - 2, 3):
        labels, maps = session.run(None, {"float_input": rows[at : at + 3]})
        for one, label, probabilities in zip(predictions[at : at + 3], labels, maps, strict=True):
            assert one.label == str(label)
            assert one.output == [probabilities[key] for key in (0, 1, 2)]


# --- images ----------------------------------------------------------------------------------------------------------


def _digit_files() -> list[bytes]:
    """Write scikit-learn's 8 x 8 digits as PNG files."""
    files = []
    for digit in load_digits().images[:ROWS]:
        file = io.BytesIO()
        Image.fromarray((digit * 255 / 16).astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files


DIGIT_FILES = _digit_files()


@pytest.mark.parametrize(("layout", "channels"), [("NHWC", 1), ("NHWC", 3), ("NCHW", 3)])
@pytest.mark.parametrize("batch", ["N", 1, 16])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8", "int64"])
def test_images_give_what_pillow_numpy_and_the_runtime_give(
    tmp_path: Path, layout: Any, batch: int | str, dtype: str, channels: int
) -> None:
    folder = graphs.package(tmp_path, graphs.conv_net(layout, batch=batch, dtype=dtype, channels=channels))
    assert_agrees_with_the_runtime(folder / "model.onnx")
    model = Model.load(ModelPackage.load(folder))
    predictions = model.predict([model.decode_image(data) for data in DIGIT_FILES])

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    mode = "L" if channels == 1 else "RGB"
    images = [Image.open(io.BytesIO(data)).convert(mode) for data in DIGIT_FILES]
    pixels = np.stack([np.asarray(image.resize((28, 28), Image.Resampling.BILINEAR)) for image in images])
    tensors = pixels.reshape(ROWS, 28, 28, channels)
    tensors = (tensors / 255 if dtype.startswith("float") else tensors).astype(dtype)
    tensors = tensors.transpose(0, 3, 1, 2) if layout == "NCHW" else tensors
    rows = batch if isinstance(batch, int) else ROWS
    padded = np.concatenate([tensors, np.repeat(tensors[-1:], -ROWS % rows, axis=0)])
    runs = [session.run(None, {"image": padded[at : at + rows]})[0] for at in range(0, len(padded), rows)]
    expected = np.concatenate(runs)[:ROWS].astype(float)
    assert np.abs(np.array([one.output for one in predictions]) - expected).max() <= TOLERANCE
    assert [one.likely_class for one in predictions] == expected.argmax(axis=1).tolist()
