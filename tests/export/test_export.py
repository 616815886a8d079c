"""Exporting Keras models to model packages."""

import json
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from keras import layers

from functions.shared.inference.package import FeatureInput, ImageInput, ModelPackage
from model_artifacts.__main__ import main
from model_artifacts.errors import ExportError, ParityError
from model_artifacts.export import export_package, largest_difference, made_up_inputs

# Keras itself converts its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

GENERATOR = np.random.default_rng(3)


def tabular_model(width: int = 3) -> keras.Model:
    """Build a regressor that scales its features itself."""
    keras.utils.set_random_seed(1)
    scale = layers.Normalization()
    scale.adapt(GENERATOR.normal(50, 9, (100, width)))
    return keras.Sequential([keras.Input((width,), name="measured"), scale, layers.Dense(1, name="price")])


def image_model(height: int | None = 20, width: int | None = 24) -> keras.Model:
    """Build a classifier of colour images."""
    keras.utils.set_random_seed(1)
    image = keras.Input((height, width, 3), name="photo")
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(5, activation="softmax", name="kinds")(x))


def test_a_saved_image_model_becomes_a_package_with_an_open_batch_axis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_model().save(tmp_path / "photos.keras")
    assert main(["export", str(tmp_path / "photos.keras"), str(tmp_path / "photos")]) == 0
    package = ModelPackage.load(tmp_path / "photos")
    assert (package.name, package.task) == ("photos", "classification")
    assert isinstance(package.input, ImageInput)
    assert (package.input.height, package.input.width, package.input.channels) == (20, 24, 3)
    assert package.signature.inputs[0].shape == ("batch", 20, 24, 3)
    assert [(each.name, each.shape) for each in package.signature.outputs] == [("kinds", ("batch", 5))]
    assert "agree to" in capsys.readouterr().out


def test_a_saved_tabular_model_keeps_its_normalization_inside_the_graph(tmp_path: Path) -> None:
    model = tabular_model()
    model.save(tmp_path / "prices.keras")
    assert main(["export", str(tmp_path / "prices.keras"), str(tmp_path / "prices")]) == 0
    package = ModelPackage.load(tmp_path / "prices")
    assert isinstance(package.input, FeatureInput)
    assert [(each.name, each.shape) for each in package.signature.inputs] == [("measured", ("batch", 3))]
    assert package.task == "regression"
    rows = GENERATOR.normal(50, 9, (200, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(package.path, providers=["CPUExecutionProvider"])
    (served,) = session.run(None, {"measured": rows})
    np.testing.assert_allclose(served, model.predict(rows, verbose=0), rtol=1e-5, atol=1e-5)


def test_a_model_of_several_inputs_is_compared_input_by_input(tmp_path: Path) -> None:
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    joined = layers.Concatenate()([layers.Dense(2)(left), right])
    model = keras.Model({"left": left, "right": right}, layers.Dense(1, name="value")(joined))
    assert export_package(model, tmp_path, {"name": "two"}, made_up_inputs(model)) <= 1e-5
    assert [each.name for each in ModelPackage.load(tmp_path).signature.inputs] == ["left", "right"]


def test_whole_number_inputs_stay_whole_numbers(tmp_path: Path) -> None:
    words = keras.Input((4,), dtype="int32", name="words")
    x = layers.Flatten()(layers.Embedding(2, 3)(words))
    model = keras.Model(words, layers.Dense(1)(x))
    export_package(model, tmp_path, {"name": "words"}, made_up_inputs(model))
    assert ModelPackage.load(tmp_path).signature.inputs[0].dtype == "int32"


def test_an_image_model_that_takes_any_size_exports(tmp_path: Path) -> None:
    model = image_model(None, None)
    export_package(model, tmp_path, {"name": "any"}, made_up_inputs(model))
    package = ModelPackage.load(tmp_path)
    assert isinstance(package.input, ImageInput)
    assert package.input.height is None


def test_exporting_again_keeps_what_was_added_to_model_json(tmp_path: Path) -> None:
    image_model().save(tmp_path / "photos.keras")
    written = {"name": "my photos", "labels": ["a", "b", "c", "d", "e"], "sha256": "0" * 64}
    (tmp_path / "model.json").write_text(json.dumps(written))
    assert main(["export", str(tmp_path / "photos.keras"), str(tmp_path)]) == 0
    package = ModelPackage.load(tmp_path)
    assert (package.name, package.labels) == ("my photos", ("a", "b", "c", "d", "e"))
    assert "sha256" not in json.loads((tmp_path / "model.json").read_bytes())  # it was that of the model before


def test_two_models_that_differ_are_told_apart(tmp_path: Path) -> None:
    model = image_model()
    samples = made_up_inputs(model)
    export_package(model, tmp_path, {"name": "photos"}, samples)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + np.linspace(0, 1e-3, 5)])
    assert 1e-5 < largest_difference(model, tmp_path / "model.onnx", samples) < 1e-2


def test_nothing_is_exported_where_the_outputs_cannot_be_compared(tmp_path: Path) -> None:
    samples = [np.full((2, 3), np.nan, np.float32)]
    with pytest.raises(ParityError, match="differ by inf on 2 inputs"):
        export_package(tabular_model(), tmp_path, {"name": "prices"}, samples)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_two_outputs_is_refused(tmp_path: Path) -> None:
    features = keras.Input((2,))
    model = keras.Model(features, [layers.Dense(1)(features), layers.Dense(1)(features)])
    with pytest.raises(ExportError, match="2 outputs"):
        export_package(model, tmp_path, {"name": "two"}, made_up_inputs(model))


def test_a_file_that_is_no_keras_model_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.keras").write_text("Dear model")
    assert main(["export", str(tmp_path / "letter.keras"), str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "letter.keras cannot be loaded as a Keras model" in line


def test_a_missing_keras_file_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none.keras"), str(tmp_path / "out")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_model_json_that_is_no_object_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tabular_model().save(tmp_path / "prices.keras")
    (tmp_path / "model.json").write_text("[]")
    assert main(["export", str(tmp_path / "prices.keras"), str(tmp_path)]) == 1
    assert "model.json holds list, not an object" in capsys.readouterr().err
    assert (tmp_path / "model.json").read_text() == "[]"
