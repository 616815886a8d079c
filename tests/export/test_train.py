"""Training of the shipped models, on next to no data."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from model_artifacts import train_mnist
from model_artifacts.__main__ import main
from model_artifacts.patients import FEATURE_NAMES, read_patients
from model_artifacts.split import split

# Keras itself converts its variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def trained(idx_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train for one epoch on 240 images; give the package's folder and what was printed."""
    folder = tmp_path_factory.mktemp("trained")
    command = ["train", "mnist", "--idx-folder", str(idx_folder), "--output", str(folder / "digits")]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*command, "--epochs", "1", "--keras", str(folder / "digits.keras")]) == 0
    return folder / "digits", printed.getvalue()


def test_training_on_a_few_images_makes_a_package_that_loads_and_predicts(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    model = Model.load(ModelPackage.load(folder))
    png = (Path(__file__).parents[2] / "local" / "samples" / "mnist_sample.png").read_bytes()
    (prediction,) = model.predict([model.decode_image(png)])
    assert prediction.label in [str(digit) for digit in range(10)]
    assert np.sum(np.array(prediction.output, float)) == pytest.approx(1, abs=1e-5)


def test_training_prints_accuracy_and_parity(trained: tuple[Path, str]) -> None:
    _, printed = trained
    assert "Training on 220 images, validating on 20." in printed
    assert re.search(r"Validation accuracy: \d+\.\d\d% of 20 images\.", printed)
    assert "ONNX Runtime and Keras agree on 20 images" in printed


def test_the_keras_model_that_was_kept_exports_to_the_same_function_again(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    folder, _ = trained
    assert main(["export", str(folder.with_suffix(".keras")), str(tmp_path)]) == 0
    x = np.random.default_rng(1).random((50, 28, 28, 1), dtype=np.float32)
    first, again = (
        onnxruntime.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]
        for path in (folder, tmp_path)
    )
    np.testing.assert_allclose(first, again, atol=1e-6)


def test_no_image_is_both_trained_on_and_validated_on() -> None:
    kept, held_out = split(60_000, train_mnist.VALIDATION_SHARE)
    assert len(held_out) == 5_000
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(60_000))
    assert split(60_000, train_mnist.VALIDATION_SHARE)[1].tobytes() == held_out.tobytes()


def test_a_folder_without_idx_files_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mnist", "--idx-folder", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "train-images-idx3-ubyte.gz: no such file" in line
    assert not (tmp_path / "out").exists()


def test_the_regressor_takes_raw_measurements_and_answers_in_the_data_sets_own_units(tmp_path: Path) -> None:
    assert main(["train", "diabetes", "--output", str(tmp_path), "--epochs", "2"]) == 0
    model = Model.load(ModelPackage.load(tmp_path))
    measurements, progression = read_patients()
    patients = [dict(zip(FEATURE_NAMES, row.tolist(), strict=True)) for row in measurements[:50]]
    predictions = model.predict([model.decode_features(patient) for patient in patients])
    values = np.array([prediction.predicted_value for prediction in predictions])
    assert progression.min() - 50 < values.min() < values.max() < progression.max() + 50
