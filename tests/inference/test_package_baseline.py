"""baseline.json: what it must have is checked at load, and it is no part of what the model is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions.shared.evaluation import bins
from functions.shared.inference import package_baseline
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.package import ModelPackage
from tests.support import graphs
from tests.support.repository import ROOT

LINEAR = graphs.linear(np.ones((2, 1)))
PHOTOS = graphs.conv_net("NCHW", channels=3, size=(8, 8), ends_in="Softmax")

NUMBERS = {"n": 3, "sum": 6.0, "squares": 14.0, "missing": 1, "bins": {"-1048": 1, "0": 1, "1083": 1}}
REGRESSION = {
    "count": 4,
    "columns": {"value": NUMBERS, "feature:age": NUMBERS},
    "performance": {"regression": {"r2": None, "mae": 0.5}},
}
PICTURES = {
    "count": 2,
    "columns": {
        "label": {"0": 1, "1": 1},
        "confidence": {"n": 2, "sum": 1.8, "bins": {"40": 1, "49": 1}},
        "picture:width": {"n": 2, "sum": 16, "squares": 128, "missing": 0, "bins": {"1153": 2}},
    },
    "performance": {},
}


def regression(folder: Path, baseline: object) -> Path:
    """Write a package of two named features with a baseline."""
    graphs.package(folder, LINEAR, feature_names=["age", "size"], task="regression")
    text = baseline if isinstance(baseline, str) else json.dumps(baseline)
    (folder / "baseline.json").write_text(text, "utf-8")
    return folder


def changed(*keys: str, to: object, of: Any = None) -> dict[str, Any]:
    """Return a good baseline with another value at a place."""
    document: dict[str, Any] = json.loads(json.dumps(REGRESSION if of is None else of))
    at = document
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = to
    return document


def test_a_package_without_one_has_none(tmp_path: Path) -> None:
    assert ModelPackage.load(graphs.package(tmp_path, LINEAR)).baseline is None


def test_it_is_kept_as_it_is_and_the_model_stays_what_it_is(tmp_path: Path) -> None:
    package = ModelPackage.load(regression(tmp_path, REGRESSION))
    assert package.baseline is not None
    assert json.loads(package.baseline) == REGRESSION
    (tmp_path / "baseline.json").unlink()
    without = ModelPackage.load(tmp_path)
    assert (without.sha256, without.settings, without.version) == (package.sha256, package.settings, package.version)


def test_a_model_of_pictures_has_other_columns(tmp_path: Path) -> None:
    graphs.package(tmp_path, PHOTOS)
    (tmp_path / "baseline.json").write_text(json.dumps(PICTURES), "utf-8")
    assert ModelPackage.load(tmp_path).baseline == json.dumps(PICTURES, sort_keys=True, separators=(",", ":"))


def test_features_without_names_are_called_by_their_positions(tmp_path: Path) -> None:
    graphs.package(tmp_path, LINEAR, task="regression")
    (tmp_path / "baseline.json").write_text(json.dumps(changed("columns", to={"feature:1": NUMBERS})), "utf-8")
    assert ModelPackage.load(tmp_path).baseline is not None
    (tmp_path / "baseline.json").write_text(json.dumps(changed("columns", to={"feature:2": NUMBERS})), "utf-8")
    with pytest.raises(ModelPackageError, match="feature:2: is no feature of the model"):
        ModelPackage.load(tmp_path)


@pytest.mark.parametrize(
    ("baseline", "problem"),
    [
        ("", "is not JSON"),
        ("[]", "must be an object"),
        ("9" * 5000, "is not JSON"),
        ('{"count": 1, "count": 1}', "count: is there twice"),
        ("[" * 100_000, "is nested too deeply"),
        ({}, "count: is missing: make the file by python -m model_artifacts baseline"),
        ({"count": 4, "columns": {}}, "performance: is missing"),
        (changed("extra", to=1), '"extra": is no key of it: the keys are count, columns, performance'),
        (changed("count", to=0), "count: must be at least 1, not 0"),
        (changed("count", to=True), "count: must be a whole number of at least 0, not true"),
        (changed("count", to=2.5), "count: must be a whole number of at least 0, not 2.5"),
        (changed("count", to=10**400), "count: must be a whole number of at least 0"),
        (changed("columns", to=[]), "columns: must be an object, not []"),
        (changed("columns", "value", to=3), "columns: value: must be an object, not 3"),
        (changed("columns", "colour", to=NUMBERS), "columns: colour: is no column of it: the columns are label"),
        (changed("columns", "picture:width", to=NUMBERS), "columns: picture:width: is no column of it"),
        (changed("columns", "feature:weight", to=NUMBERS), "columns: feature:weight: is no feature of the model"),
        (changed("columns", "value", to={}), 'value: must have bins, missing, n, squares, sum, not '),
        (changed("columns", "value", "sum", to="6"), 'columns: value: sum: must be a number, not "6"'),
        (changed("columns", "value", "sum", to=float("nan")), "columns: value: sum: must be a number, not NaN"),
        (changed("columns", "value", "squares", to=-1), "columns: value: squares: must not be negative"),
        (changed("columns", "value", "n", to=4), "columns: value: n: is 4, but the counts make 3"),
        (changed("columns", "value", "missing", to=2), "columns: value: counts 5 inputs, but the baseline has 4"),
        (changed("columns", "value", "bins", to={"2444": 3}), '"2444" is no bin: they are -2443 to 2443'),
        (changed("columns", "value", "bins", to={"01": 3}), '"01" is no bin'),
        (changed("columns", "value", "bins", to={"a": 3}), '"a" is no bin'),
        (changed("columns", "value", "bins", to={"9" * 5000: 3}), "is no bin"),
        (changed("columns", "value:x", to=NUMBERS), "columns: value:x: is no column of it"),
        (changed("columns", "value:", to=NUMBERS), "columns: value:: is no column of it"),
        (changed("columns", "value", "bins", "0", to=-1), 'value: bins: "0": must be a whole number of at least 0'),
        (changed("columns", "confidence", to=PICTURES["columns"]), "confidence: must have bins, n, sum"),
        (
            changed("columns", "confidence", to={"n": 1, "sum": 1, "bins": {"50": 1}}),
            'confidence: bins: "50" is no bin: they are 0 to 49',
        ),
        (
            changed("columns", "feature:age", to={"n": 1, "missing": 0, "categories": {"a\0": 1}}),
            "is no text that can be stored",
        ),
        (changed("performance", "r2", to=float("inf")), "performance: r2: must be a number, not Infinity"),
        (changed("performance", "note", to="\ud800"), "performance: note: "),
    ],
)  # fmt: skip
def test_a_bad_one_is_refused_in_one_line_that_says_what_is_wrong(
    tmp_path: Path, baseline: object, problem: str
) -> None:
    folder = regression(tmp_path, baseline)
    with pytest.raises(ModelPackageError) as refused:
        ModelPackage.load(folder)
    message = str(refused.value)
    assert message.startswith("baseline.json: ")
    assert problem in message
    assert "\n" not in message


def test_one_of_another_model_is_refused_by_its_labels(tmp_path: Path) -> None:
    photos = graphs.conv_net("NCHW", channels=3, size=(8, 8), classes=2)
    graphs.package(tmp_path, photos, labels=["cat", "dog"])
    (tmp_path / "baseline.json").write_text(json.dumps(PICTURES), "utf-8")
    with pytest.raises(ModelPackageError, match='columns: label: "0" is no label of the model'):
        ModelPackage.load(tmp_path)


def test_one_that_would_slow_every_start_down_is_refused(tmp_path: Path) -> None:
    folder = regression(tmp_path, changed("performance", "note", to="x" * 1_000_000))
    with pytest.raises(ModelPackageError, match="at most 1000000 are taken"):
        ModelPackage.load(folder)


def test_the_bins_are_those_that_the_ledger_counts_in() -> None:
    assert package_baseline.LAST_BIN == bins.LAST
    assert package_baseline.CONFIDENCE_BINS == bins.CONFIDENCE_BINS


@pytest.mark.parametrize("name", ["mnist", "diabetes"])
def test_a_shipped_model_has_one_and_is_still_the_model_that_it_was(name: str) -> None:
    folder = ROOT / "model_artifacts" / name
    package = ModelPackage.load(folder)
    assert package.baseline is not None
    assert len(package.baseline) < 100_000
    assert package.sha256 == json.loads((folder / "model.json").read_bytes())["sha256"]
    assert (
        package.sha256
        == {
            "mnist": "74f314549efc872529808e0a31c1b64ee54c0cc21a4aed4e3521225502f05f4c",
            "diabetes": "103f6c87fed2b0b35f32dcc6b993a35d95e02eb50557015a55e1afce47766c24",
        }[name]
    )
