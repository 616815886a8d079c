"""The bins of the histograms: each number has one, and keeps it."""

import math
from itertools import pairwise

import numpy as np
import pytest

from functions.shared.evaluation import bins


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.0, 0),
        (-0.0, 0),
        (9.99e-10, 0),
        (-9.99e-10, 0),
        (5e-324, 0),
        (1e-9, 1),
        (-1e-9, -1),
        (1.0, 1048),
        (-1.0, -1048),
        (1e12, 2443),
        (1e300, 2443),
        (-1e300, -2443),
        (math.inf, None),
        (-math.inf, None),
        (math.nan, None),
    ],
)
def test_a_number_keeps_its_bin_for_ever(value: float, number: int | None) -> None:
    assert bins.bin_of(value) == number


def test_each_bin_begins_where_the_one_before_ends() -> None:
    every = [bins.edges(number) for number in range(-bins.LAST, bins.LAST + 1)]
    for number, (one, other) in enumerate(pairwise(every), start=1 - bins.LAST):
        assert math.isclose(one[1], other[0], rel_tol=1e-12)
        assert other[0] <= bins.middle(number) <= other[1]


@pytest.mark.parametrize("number", [bins.LAST + 1, -bins.LAST - 1])
def test_a_bin_that_does_not_exist_is_refused(number: int) -> None:
    for of in (bins.edges, bins.middle):
        with pytest.raises(ValueError, match="There is no bin"):
            of(number)


@pytest.mark.parametrize("count", [bins.CONFIDENCE_BINS, bins.CALIBRATION_BINS])
def test_equal_bins_share_the_range_of_shares(count: int) -> None:
    bin_of = bins.confidence_bin_of if count == bins.CONFIDENCE_BINS else bins.calibration_bin_of
    for number in range(count):
        lower, upper = bins.equal_edges(number, count)
        assert lower < bins.equal_middle(number, count) < upper
        assert bin_of(bins.equal_middle(number, count)) == number
    assert bins.equal_edges(0, count)[0] == 0
    assert bins.equal_edges(count - 1, count)[1] == 1


@pytest.mark.parametrize(
    ("confidence", "number"),
    [(0.0, 0), (-1e-9, 0), (0.5, 25), (0.019, 0), (0.02, 1), (0.999, 49), (1.0, 49), (1.0000001, 49), (math.nan, None)],
)
def test_a_confidence_on_an_edge_is_in_the_bin_above(confidence: float, number: int | None) -> None:
    assert bins.confidence_bin_of(confidence) == number


@pytest.mark.parametrize(
    ("confidence", "number"),
    [(0.0, 0), (-1e-9, 0), (0.2, 2), (0.6, 8), (0.600001, 9), (0.8, 11), (1.0, 14), (1.0000001, 14), (math.nan, None)],
)
def test_a_calibration_has_a_confidence_on_an_edge_in_the_bin_below(confidence: float, number: int | None) -> None:
    assert bins.calibration_bin_of(confidence) == number


def test_a_forest_of_any_size_has_the_bins_of_scikit_learn() -> None:
    edges = np.linspace(0, 1, bins.CALIBRATION_BINS + 1)
    for trees in range(1, 101):
        for votes in range(trees + 1):
            expected = int(np.searchsorted(edges[1:-1], votes / trees))
            assert bins.calibration_bin_of(votes / trees) == expected, f"{votes} of {trees} trees"
