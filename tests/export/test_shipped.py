"""The model packages that the repository ships."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageOps

from functions.shared.inference.model import Model
from functions.shared.inference.package import FeatureInput, ImageInput, ModelPackage
from model_artifacts import train_diabetes, train_mnist
from model_artifacts.__main__ import main
from model_artifacts.patients import FEATURE_NAMES, read_patients

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "model_artifacts" / "mnist", ROOT / "model_artifacts" / "diabetes"]
SAMPLES = ROOT / "local" / "samples"


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_a_shipped_model_is_the_one_that_its_model_json_records(folder: Path) -> None:
    recorded = json.loads((folder / "model.json").read_bytes())["sha256"]
    assert ModelPackage.load(folder).sha256 == recorded


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_a_shipped_model_takes_any_number_of_inputs_at_once(folder: Path) -> None:
    signature = ModelPackage.load(folder).signature
    shapes = [each.shape for each in signature.inputs] + [each.shape for each in signature.outputs]
    assert [shape[0] for shape in shapes if shape] == ["batch", "batch"]


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)
def test_a_shipped_model_is_at_most_two_megabytes(folder: Path) -> None:
    assert (folder / "model.onnx").stat().st_size <= 2_000_000


@pytest.mark.parametrize(
    ("folder", "description"),
    [(PACKAGES[0], train_mnist.DESCRIPTION), (PACKAGES[1], train_diabetes.DESCRIPTION)],
    ids=["mnist", "diabetes"],
)
def test_a_shipped_model_json_says_what_its_training_command_writes(
    folder: Path, description: dict[str, object]
) -> None:
    shipped = json.loads((folder / "model.json").read_bytes())
    assert shipped == {**description, "sha256": shipped["sha256"]}


def test_the_digit_model_takes_grey_images_and_is_sure_of_the_sample() -> None:
    package = ModelPackage.load(PACKAGES[0])
    assert isinstance(package.input, ImageInput)
    assert (package.input.height, package.input.width, package.input.color) == (28, 28, "grey")
    model = Model.load(package)
    (prediction,) = model.predict([model.decode_image((SAMPLES / "mnist_sample.png").read_bytes())])
    assert (prediction.label, prediction.likely_class) == ("7", 7)
    assert prediction.confidence is not None
    assert prediction.confidence > 0.99


def test_dark_ink_on_paper_is_the_same_digit_to_the_digit_model() -> None:
    model = Model.load(ModelPackage.load(PACKAGES[0]))
    with Image.open(SAMPLES / "mnist_sample.png") as sample, io.BytesIO() as file:
        ImageOps.invert(sample).save(file, format="PNG")
        on_paper = file.getvalue()
    instances = [model.decode_image(data) for data in ((SAMPLES / "mnist_sample.png").read_bytes(), on_paper)]
    light, dark = model.predict(instances)
    np.testing.assert_allclose(np.array(dark.output, float), np.array(light.output, float), atol=1e-5)


def test_the_regressor_explains_half_of_the_variance_between_patients() -> None:
    package = ModelPackage.load(PACKAGES[1])
    assert isinstance(package.input, FeatureInput)
    assert package.feature_names == FEATURE_NAMES
    model = Model.load(package)
    measurements, progression = read_patients()
    predictions = model.predict([model.decode_features(row) for row in measurements.tolist()])
    predicted = np.array([prediction.predicted_value for prediction in predictions], float)
    assert 1 - np.square(progression - predicted).mean() / progression.var() > 0.5


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mnist", "--input", str(SAMPLES / "mnist_sample.png")], "predicted value  7"),
        (["mnist"], "of a made-up input"),
        (["diabetes", "--features", str(SAMPLES / "diabetes.json")], "diabetes.json (CPUExecutionProvider)"),
        (["diabetes"], "body_mass_index    number  float32"),
    ],
)
def test_check_shows_a_shipped_package_and_predicts(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(ROOT / "model_artifacts" / arguments[0]), *arguments[1:]]) == 0
    assert expected in capsys.readouterr().out


def test_check_names_each_file_with_its_size_and_hash_and_the_digest_over_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(PACKAGES[1] / "model.onnx")
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert main(["check", str(tmp_path)]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name in ("model.onnx", "w.bin"):
        content = (tmp_path / name).read_bytes()
        assert [name, str(len(content)), "bytes", "sha256", hashlib.sha256(content).hexdigest()] in printed
    assert ["sha256", ModelPackage.load(tmp_path).sha256] in printed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["mnist", "--features", "[1]"], "mnist takes an image (--input), not features"),
        (
            ["diabetes", "--input", str(SAMPLES / "mnist_sample.png")],
            "diabetes takes features (--features), not an image",
        ),
        (["mnist", "--input", "nowhere.png"], "nowhere.png: No such file"),
        (["diabetes", "--features", "{"], "--features is not valid JSON"),
        (["mnist/model.json"], "is a file: name the folder"),
    ],
)
def test_check_refuses_what_it_cannot_serve_in_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(ROOT / "model_artifacts" / arguments[0]), *arguments[1:]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert problem in line
