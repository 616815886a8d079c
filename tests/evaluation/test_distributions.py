"""The distributions agree with SciPy's to 1e-9 of their value, far into their tails."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from functions.shared.evaluation import distributions
from tests.support.properties import no_deadline

SMALLEST = 1e-280
"""Below this, SciPy and we round to what a float can still hold."""


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 19, 50, 99, 100, 255, 999, 2000])
@pytest.mark.parametrize("ratio", [1e-12, 1e-6, 0.01, 0.3, 0.7, 0.9, 1.0, 1.1, 1.5, 2.0, 5.0, 20.0, 100.0])
def test_the_chi_squared_distribution_is_that_of_scipy(degrees: int, ratio: float) -> None:
    expected = float(stats.chi2.sf(ratio * degrees, degrees))
    found = distributions.chi_squared_survival(ratio * degrees, degrees)
    assert found == pytest.approx(expected, rel=1e-9, abs=SMALLEST)


@no_deadline
@given(st.floats(0, 1e6), st.integers(0, 500))
def test_a_chi_squared_probability_is_one(statistic: float, degrees: int) -> None:
    assert 0 <= distributions.chi_squared_survival(statistic, degrees) <= 1


def test_without_a_degree_of_freedom_only_0_is_expected() -> None:
    assert distributions.chi_squared_survival(0, 0) == 1
    assert distributions.chi_squared_survival(1, 0) == 0


@pytest.mark.parametrize("hundredths", range(1, 1000, 7))
def test_the_kolmogorov_distribution_is_that_of_scipy(hundredths: int) -> None:
    statistic = hundredths / 100
    expected = float(stats.kstwobign.sf(statistic))
    assert distributions.kolmogorov_survival(statistic) == pytest.approx(expected, rel=1e-9, abs=SMALLEST)


@no_deadline
@given(st.floats(0, 1e9))
def test_a_kolmogorov_probability_is_one(statistic: float) -> None:
    assert 0 <= distributions.kolmogorov_survival(statistic) <= 1


@no_deadline
@given(st.floats(-1e9, 1e9))
def test_the_normal_distribution_is_that_of_scipy(statistic: float) -> None:
    expected = 2 * float(stats.norm.sf(abs(statistic)))
    assert distributions.normal_two_sided(statistic) == pytest.approx(expected, rel=1e-9, abs=SMALLEST)


@no_deadline
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_binomial_test_is_that_of_scipy(one: int, other: int) -> None:
    expected = stats.binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert math.isclose(distributions.fair_coin_two_sided(one, other), float(expected), rel_tol=1e-9)


@no_deadline
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_exact_test_of_two_samples_has_the_tails_of_scipy(total: int, a: float, b: float, c: float) -> None:
    marked, drawn = round(a * total), round(b * total)
    least, most = max(0, marked + drawn - total), min(marked, drawn)
    found = least + round(c * (most - least))
    known = stats.hypergeom(total, marked, drawn)
    expected = min(1.0, 2 * min(float(known.cdf(found)), float(known.sf(found - 1))))
    pvalue = distributions.hypergeometric_two_sided(found, total, marked, drawn)
    assert pvalue == pytest.approx(expected, rel=1e-9, abs=1e-200)
