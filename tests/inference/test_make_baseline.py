"""`python -m model_artifacts baseline`: what data and a model's answers look like, counted as the ledger counts."""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from functions.shared.evaluation.bins import bin_of
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from model_artifacts.__main__ import main
from model_artifacts.idx import read_digits
from model_artifacts.patients import FEATURE_NAMES, PROGRESSION, read_patients
from model_artifacts.split import split
from tests.inference import corpus
from tests.support import graphs
from tests.support.idx import made_up_digits, write_idx
from tests.support.repository import ROOT

pytestmark = pytest.mark.slow

DIABETES = ROOT / "model_artifacts" / "diabetes"
MNIST = ROOT / "model_artifacts" / "mnist"
WEIGHTS = np.array([[1.0], [10.0]])
SCORES = np.array([[1, -1], [0, 0], [0, 1]])

Baseline = Callable[..., dict[str, Any]]


@pytest.fixture
def baseline() -> Baseline:
    """Run the command, and return what it has written."""

    def run(folder: Path, data: Path, *options: str) -> dict[str, Any]:
        assert main(["baseline", str(folder), str(data), *options]) == 0
        document: dict[str, Any] = json.loads((folder / "baseline.json").read_bytes())
        assert ModelPackage.load(folder).baseline is not None
        return document

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command, and return the one line that says why it has made none."""

    def run(folder: Path, data: Path, *options: str) -> str:
        assert main(["baseline", str(folder), str(data), *options]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert not (folder / "baseline.json").exists()
        return line.removeprefix("error: ")

    return run


def table(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return path


def sums(folder: Path, **settings: Any) -> Path:
    """Write a model that answers ``age + 10 * size``."""
    settings = {"feature_names": ["age", "size"], "task": "regression"} | settings
    return graphs.package(folder / "sums", graphs.linear(WEIGHTS), **settings)


def classes(folder: Path, **settings: Any) -> Path:
    """Write a model that tells a cat by its first feature, with the names `labels`."""
    settings = {"labels": ["cat", "dog"], "activation": "softmax", "feature_names": ["x", "y", "z"]} | settings
    return graphs.package(folder / "classes", graphs.linear(SCORES), **settings)


# --- features --------------------------------------------------------------------------------------------------------


def test_each_feature_and_each_value_is_counted_in_its_bin(tmp_path: Path, baseline: Baseline) -> None:
    data = table(tmp_path / "data.csv", "size,note,age", "2,a,1", "0,b,-1.5", "2,c,1", "", "7.25,d,3")
    document = baseline(sums(tmp_path), data)
    assert document["count"] == 4
    assert document["performance"] == {}
    columns = document["columns"]
    assert list(columns) == ["value", "feature:age", "feature:size"]
    assert columns["feature:age"] == {
        "n": 4,
        "sum": 3.5,
        "squares": 1 + 2.25 + 1 + 9,
        "missing": 0,
        "bins": {str(bin_of(-1.5)): 1, str(bin_of(1)): 2, str(bin_of(3)): 1},
    }
    assert columns["feature:size"]["bins"] == {"0": 1, str(bin_of(2)): 2, str(bin_of(7.25)): 1}
    assert columns["value"]["bins"] == dict(Counter(str(bin_of(value)) for value in (-1.5, 21, 21, 75.5)))
    assert columns["value"]["sum"] == pytest.approx(116)


def test_a_number_whose_square_is_none_is_counted_as_the_ledger_counts_it(tmp_path: Path, baseline: Baseline) -> None:
    model = graphs.linear(WEIGHTS, dtype="float64")
    folder = graphs.package(tmp_path / "sums", model, feature_names=["age", "size"], task="regression")
    data = table(tmp_path / "data.csv", "age,size,truth", "1e200,0,-1e200", "-1e300,0,1")
    document = baseline(folder, data, "--truth", "truth")
    for column in ("value", "feature:age"):
        assert document["columns"][column]["squares"] == 2e200
        assert document["columns"][column]["sum"] == 0
    assert document["performance"]["regression"]["rmse"] == pytest.approx(math.sqrt(2.5) * 1e100)


def test_what_is_missing_is_counted_apart(tmp_path: Path, baseline: Baseline) -> None:
    folder = graphs.package(tmp_path / "imputer", corpus.imputer(), missing="nan", task="regression")
    columns = baseline(folder, table(tmp_path / "data.csv", "a,b", "1,2", ",3", "nan,4"))["columns"]
    assert (columns["feature:0"]["n"], columns["feature:0"]["missing"]) == (1, 2)
    assert (columns["feature:1"]["n"], columns["feature:1"]["missing"]) == (3, 0)


def test_a_regression_is_scored_as_scikit_learn_scores_it(tmp_path: Path, baseline: Baseline) -> None:
    data = table(tmp_path / "data.csv", "age,size,truth", "1,2,20", "2,0,3", "3,1,13", "4,1,14.5")
    regression = baseline(sums(tmp_path), data, "--truth", "truth")["performance"]["regression"]
    truth, predicted = [20, 3, 13, 14.5], [21, 2, 13, 14]
    assert regression["count"] == 4
    assert regression["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted))
    assert regression["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted))
    assert regression["r2"] == pytest.approx(metrics.r2_score(truth, predicted))


def test_a_classifier_is_scored_as_scikit_learn_scores_it(tmp_path: Path, baseline: Baseline) -> None:
    rows = [(2, 0, 0, "cat"), (0, 0, 2, "dog"), (0, 1, 1, "cat"), (3, 1, 1, "cat"), (1, 0, 2, "dog")]
    data = table(tmp_path / "data.csv", "x,y,z,kind", *[",".join(map(str, row)) for row in rows])
    folder = classes(tmp_path)
    document = baseline(folder, data, "--truth", "kind")
    model = Model.load(ModelPackage.load(folder))
    predictions = model.predict([model.decode_features(list(row[:3])) for row in rows])
    shares = np.array([one.output for one in predictions], float)
    truth, predicted = [row[3] for row in rows], [str(one.label) for one in predictions]
    assert document["columns"]["label"] == Counter(predicted)
    assert document["columns"]["confidence"]["n"] == len(rows)
    performance = document["performance"]
    assert performance["classification"]["accuracy"] == metrics.accuracy_score(truth, predicted)
    assert performance["classification"]["macro"]["f1"] == pytest.approx(
        metrics.f1_score(truth, predicted, average="macro")
    )
    assert performance["log_loss"] == pytest.approx(metrics.log_loss(truth, shares, labels=["cat", "dog"]))
    assert performance["brier_score"] == pytest.approx(metrics.brier_score_loss(truth, shares[:, 1], pos_label="dog"))


def test_texts_and_truth_values_are_counted_by_what_they_say(tmp_path: Path, baseline: Baseline) -> None:
    model = corpus.columns(("size", "int64", ["N", 1]), ("name", "string", ["N", 1]), ("flag", "bool", ["N", 1]))
    folder = graphs.package(tmp_path / "mixed", model, task="regression")
    rows = [f"{number},name{number % 120},{'true' if number % 3 else '0'}" for number in range(240)]
    columns = baseline(folder, table(tmp_path / "data.csv", "size,name,flag", *rows))["columns"]
    assert columns["feature:flag"] == {"n": 240, "missing": 0, "categories": {"true": 160, "false": 80}}
    names = columns["feature:name"]
    assert (names["n"], names["missing"], len(names["categories"])) == (240, 0, 101)
    assert names["categories"][""] == 40
    assert columns["feature:size"]["n"] == 240


def test_one_score_says_both_labels(tmp_path: Path, baseline: Baseline) -> None:
    model = graphs.linear(np.array([[1.0], [-1.0]]), then=["Sigmoid"])
    folder = graphs.package(tmp_path / "sure", model, labels=["no", "yes"], task="classification")
    rows = ["2,1,yes", "1,2,yes", "0,3,no"]
    performance = baseline(folder, table(tmp_path / "data.csv", "a,b,y", *rows), "--truth", "y")["performance"]
    shares = 1 / (1 + np.exp(-np.array([1.0, -1.0, -3.0])))
    assert performance["log_loss"] == pytest.approx(
        metrics.log_loss(["yes", "yes", "no"], shares, labels=["no", "yes"])
    )
    assert performance["brier_score"] == pytest.approx(metrics.brier_score_loss([1, 1, 0], shares))


def test_each_of_several_targets_is_counted_and_scored_by_itself(tmp_path: Path, baseline: Baseline) -> None:
    model = graphs.linear(np.array([[1.0, 2.0], [10.0, 0.0]]))
    folder = graphs.package(tmp_path / "two", model, task="regression")
    data = table(tmp_path / "data.csv", "a,b,first,second", "1,2,21,3", "3,0,5,6")
    document = baseline(folder, data, "--truth", "first", "--truth", "second")
    assert document["columns"]["value:0"]["sum"] == 24
    assert document["columns"]["value:1"]["sum"] == 8
    targets = document["performance"]["targets"]
    assert targets["0"]["regression"]["mae"] == pytest.approx(1)
    assert targets["1"]["regression"]["mae"] == pytest.approx(0.5)


def test_an_embedding_is_no_number_to_compare(tmp_path: Path, baseline: Baseline) -> None:
    folder = graphs.package(tmp_path / "vectors", graphs.linear(np.ones((2, 3))), task="embedding")
    document = baseline(folder, table(tmp_path / "data.csv", "a,b", "1,2"))
    assert list(document["columns"]) == ["feature:0", "feature:1"]


def test_a_model_of_many_features_has_no_columns_of_them(tmp_path: Path, baseline: Baseline) -> None:
    folder = graphs.package(tmp_path / "wide", graphs.linear(np.ones((101, 1))), task="regression")
    row = ",".join(["1"] * 101)
    document = baseline(folder, table(tmp_path / "data.csv", ",".join(f"x{at}" for at in range(101)), row))
    assert list(document["columns"]) == ["value"]


def test_the_same_data_make_the_same_file_and_other_data_another(tmp_path: Path, baseline: Baseline) -> None:
    folder = sums(tmp_path)
    data = table(tmp_path / "data.csv", "age,size", "1,2", "3,4")
    baseline(folder, data)
    first = (folder / "baseline.json").read_bytes()
    baseline(folder, data)
    assert (folder / "baseline.json").read_bytes() == first
    baseline(folder, table(data, "age,size", "1,2", "3,5"))
    assert (folder / "baseline.json").read_bytes() != first


def test_a_bad_file_that_is_there_already_is_replaced(tmp_path: Path, baseline: Baseline) -> None:
    folder = sums(tmp_path)
    (folder / "baseline.json").write_text("{")
    assert baseline(folder, table(tmp_path / "data.csv", "age,size", "1,2"))["count"] == 1


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        ([], [], "data.csv: is empty: its first line must name its columns"),
        (["age,size"], [], "data.csv: has no rows to make a baseline of"),
        (["age,weight", "1,2"], [], "data.csv: has no column size: its columns are age, weight"),
        (["age,size,age", "1,2,3"], [], "data.csv: the column 'age' is there twice"),
        (["age,size", "1,2"], ["--truth", "y"], "data.csv: has no column 'y': its columns are age, size"),
        (["age,size", "1,2", "1"], [], "data.csv: row 3: has 1 cells, but the first row 2"),
        (["age,size", "1,2", "1,many"], [], "data.csv: row 3: size: 'many' is not a number"),
        (["age,size", "1,2", "1,inf"], [], "data.csv: row 3: feature \"size\" must be a finite number"),
        (["age,size", "1,2", "1,"], [], "data.csv: row 3: feature \"size\" must be a finite number"),
        (["age,size,y", "1,2,3", "1,2,?"], ["--truth", "y"], "data.csv: row 3: the truth: '?' is not a number"),
        (["age,size,y,z", "1,2,3,4"], ["--truth", "y", "--truth", "z"], "has 2 true values, and the model answers 1"),
        (["age,size", '1,"2'], [], "is no CSV file"),
        (["age,size", "1,2"], ["--held-out", "5"], "has no rows to make a baseline of"),
    ],
)  # fmt: skip
def test_data_that_the_model_does_not_take_are_refused_by_the_row(
    tmp_path: Path, refused: Callable[..., str], rows: list[str], options: list[str], problem: str
) -> None:
    assert problem in refused(sums(tmp_path), table(tmp_path / "data.csv", *rows), *options)


def test_a_label_that_the_model_does_not_know_is_refused_with_those_it_does(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    data = table(tmp_path / "data.csv", "x,y,z,kind", "1,2,3,cat", "1,2,3,cow")
    assert refused(classes(tmp_path), data, "--truth", "kind") == (
        "data.csv: row 3: 'cow' is no label of classes: cat, dog"
    )


def test_a_file_that_is_no_text_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "data.csv").write_bytes(b"age,size\n1,\xff\n")
    assert "is not UTF-8 at byte" in refused(sums(tmp_path), tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("model", "data", "problem"),
    [
        ("sums", "nowhere.csv", "there is no such file or folder"),
        ("sums", ".", "is a folder, but sums takes features: name a CSV file"),
        ("photos", "data.csv", "is a file, but photos takes an image: name a folder of IDX files"),
        ("photos", ".", "train-images-idx3-ubyte.gz: no such file"),
        ("tensors", "data.csv", "tensors takes tensors: a baseline is made of an image or features"),
    ],
)
def test_data_of_another_kind_are_refused(
    tmp_path: Path, refused: Callable[..., str], model: str, data: str, problem: str
) -> None:
    table(tmp_path / "data.csv", "age,size", "1,2")
    sums(tmp_path)
    graphs.package(tmp_path / "photos", graphs.conv_net())
    graphs.package(tmp_path / "tensors", corpus.bert("input_ids", "attention_mask"), task="tensors")
    assert problem in refused(tmp_path / model, tmp_path / data)


# --- images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """Sixty made-up digits as MNIST's two files."""
    folder = tmp_path / "idx"
    folder.mkdir()
    images, labels = made_up_digits(60)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-labels-idx1-ubyte.gz", labels)
    return folder


def test_images_are_counted_by_what_is_measured_of_them(tmp_path: Path, idx_folder: Path, baseline: Baseline) -> None:
    folder = graphs.package(tmp_path / "photos", graphs.conv_net(), labels=list("abcdefghij"))
    document = baseline(folder, idx_folder)
    images, digits = read_digits(idx_folder)
    columns = document["columns"]
    assert document["count"] == 60
    assert columns["picture:width"]["bins"] == columns["picture:height"]["bins"] == {str(bin_of(28)): 60}
    light = images.astype(np.float64) / 255
    assert columns["picture:brightness"]["sum"] == pytest.approx(light.mean(axis=(1, 2)).sum(), rel=1e-5)
    assert columns["picture:contrast"]["sum"] == pytest.approx(light.std(axis=(1, 2)).sum(), rel=1e-5)
    assert columns["picture:bytes"]["n"] == 60
    supports = {one["label"]: one["support"] for one in document["performance"]["classification"]["classes"]}
    assert supports == {label: int((digits == at).sum()) for at, label in enumerate("abcdefghij")}


def test_what_was_held_out_of_training_can_be_taken_alone(
    tmp_path: Path, idx_folder: Path, baseline: Baseline, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = graphs.package(tmp_path / "photos", graphs.conv_net())
    document = baseline(folder, idx_folder, "--held-out", "12")
    images, _ = read_digits(idx_folder)
    chosen = images[split(60, 12)[1]].astype(np.float64) / 255
    assert document["count"] == len(chosen) == 5
    assert document["columns"]["picture:brightness"]["sum"] == pytest.approx(chosen.mean(axis=(1, 2)).sum(), rel=1e-5)
    assert "5 inputs" in capsys.readouterr().out


# --- the shipped ones ------------------------------------------------------------------------------------------------


def moved(committed: dict[str, Any], made: dict[str, Any]) -> int:
    """Return how many inputs are in another bin: another processor may round an answer otherwise."""
    assert committed["columns"].keys() == made["columns"].keys()
    total = 0
    for name, counts in committed["columns"].items():
        ours, theirs = (one.get("bins", one) for one in (counts, made["columns"][name]))
        total += sum(abs(ours.get(key, 0) - theirs.get(key, 0)) for key in {*ours, *theirs})
    return total


def test_the_baseline_of_the_diabetes_model_is_what_the_command_makes(tmp_path: Path, baseline: Baseline) -> None:
    assert main(["patients", str(tmp_path / "patients.csv")]) == 0
    with (tmp_path / "patients.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    measurements, progression = read_patients()
    assert header == [*FEATURE_NAMES, PROGRESSION]
    np.testing.assert_array_equal(np.array(rows, float), np.column_stack([measurements, progression]))
    folder = tmp_path / "diabetes"
    folder.mkdir()
    for name in ("model.onnx", "model.json"):
        (folder / name).write_bytes((DIABETES / name).read_bytes())
    made = baseline(folder, tmp_path / "patients.csv", "--truth", PROGRESSION)
    committed = json.loads((DIABETES / "baseline.json").read_bytes())
    assert committed["count"] == made["count"] == 442
    assert moved(committed, made) <= 4
    assert committed["performance"]["regression"]["r2"] == pytest.approx(
        made["performance"]["regression"]["r2"], abs=1e-4
    )


def test_the_baseline_of_the_digit_model_is_of_what_it_was_not_trained_on() -> None:
    committed = json.loads((MNIST / "baseline.json").read_bytes())
    assert committed["count"] == 5_000
    assert committed["columns"].keys() == {
        *("label", "confidence"),
        *(f"picture:{name}" for name in ("width", "height", "bytes", "brightness", "contrast")),
    }
    assert committed["performance"]["classification"]["accuracy"] == pytest.approx(0.9946)
