"""Evidently and NannyML find the same figures of drift on the same samples and bins."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions.shared.evaluation import bins, drift
from tests.support.clients import ClientPython, run

pytestmark = [pytest.mark.slow, pytest.mark.server]

HERE = Path(__file__).parent


def in_bins(values: Any) -> list[float]:
    """Move each value to the middle of its bin."""
    return [bins.middle(bins.bin_of(value) or 0) for value in values.tolist()]


def counts_of(values: list[float]) -> dict[str, Any]:
    """Count values as the rollups do."""
    numbers = [str(bins.bin_of(value)) for value in values]
    return {"bins": {number: numbers.count(number) for number in set(numbers)}}


@pytest.fixture(params=["shifted", "unchanged", "a part beyond the baseline"])
def sides(request: pytest.FixtureRequest) -> tuple[list[float], list[float]]:
    """A baseline and a window whose values are the middles of bins."""
    random = np.random.default_rng(13)
    window = random.normal(12 if request.param == "shifted" else 10, 3, 600)
    if request.param.startswith("a part"):
        window[:60] = 100
    return in_bins(random.normal(10, 3, 9_000)), in_bins(window)


def group_of(column: drift.Column, value: float) -> str:
    number = bins.bin_of(value) or 0
    inside = [place for place, group in enumerate(column._groups) if group.first <= number <= group.last]
    return str(inside[0]) if inside else "elsewhere"


@pytest.fixture
def samples(sides: tuple[list[float], list[float]], tmp_path: Path) -> Path:
    """The file with both samples and the group of each value."""
    column = drift.Column("number", counts_of(sides[0]))
    groups = [[group_of(column, value) for value in side] for side in sides]
    content: dict[str, Any] = {"numbers": sides, "groups": groups}
    named = {column: {"baseline": both[0], "window": both[1]} for column, both in content.items()}
    file = tmp_path / "samples.json"
    file.write_text(json.dumps(named))
    return file


def test_evidently_finds_the_same(
    client_python: ClientPython, sides: tuple[list[float], list[float]], samples: Path, tmp_path: Path
) -> None:
    script = str(HERE / "evidently_drift.py")
    found = json.loads(run(client_python("evidently"), script, str(samples), cwd=tmp_path, DO_NOT_TRACK="1"))
    figures = drift.Column("number", counts_of(sides[0])).compare(counts_of(sides[1]))
    # Its logarithm is natural, and it measures the Wasserstein distance in standard deviations of the baseline.
    assert figures["jensen_shannon_distance"] == pytest.approx(
        found["jensenshannon"] / math.sqrt(math.log(2)), abs=1e-9
    )
    assert figures["population_stability_index"] == pytest.approx(found["psi"], rel=1e-9)
    assert figures["wasserstein_distance"] == pytest.approx(found["wasserstein"] * float(np.std(sides[0])), rel=1e-9)
    assert figures["ks_test"] is not None
    assert figures["ks_test"]["pvalue"] == pytest.approx(found["ks"], abs=0.01)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="NannyML is for no later Python")
def test_nannyml_finds_the_same(
    client_python: ClientPython, sides: tuple[list[float], list[float]], samples: Path, tmp_path: Path
) -> None:
    script = str(HERE / "nannyml_drift.py")
    found = json.loads(run(client_python("nannyml"), script, str(samples), cwd=tmp_path, NML_DISABLE_USAGE_LOGGING="1"))
    column = drift.Column("number", counts_of(sides[0]))
    figures = column.compare(counts_of(sides[1]))
    labels = [[group_of(column, value) for value in side] for side in sides]
    counted = [{label: side.count(label) for label in side} for side in labels]
    of_groups = drift.Column("label", counted[0]).compare(counted[1])
    assert figures["ks_test"] is not None
    assert of_groups["chi_squared_test"] is not None
    assert figures["jensen_shannon_distance"] == pytest.approx(found["jensen_shannon"], abs=1e-9)
    assert figures["wasserstein_distance"] == pytest.approx(found["wasserstein"], rel=1e-9)
    assert figures["ks_test"]["statistic"] == pytest.approx(found["kolmogorov_smirnov"], abs=1e-9)
    assert of_groups["chi_squared_test"]["statistic"] == pytest.approx(found["chi2"], rel=1e-9)
