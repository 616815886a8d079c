"""The probability distributions that the tests of significance need, without SciPy.

Each agrees with SciPy to 1e-9 of the value, which `tests/evaluation/test_distributions.py` checks.
"""

import math
from collections.abc import Iterable

_CERTAIN = 0.04
"""Below this, the Kolmogorov distribution is 0 to the last digit of a float."""

_NOTHING = 1e-17
"""A term that is a smaller share of a sum than this does not change the sum."""

_SERIES_MEET = 1.0
"""Where the two series of the Kolmogorov distribution need equally few terms."""


def chi_squared_survival(statistic: float, degrees: int) -> float:
    """Return the probability that a chi-squared variable is above a statistic, as `scipy.stats.chi2.sf` does.

    It is the regularised upper incomplete gamma function Q(degrees / 2, statistic / 2). That is a finite sum where
    `degrees` is an integer: Q(1, x) = exp(-x), Q(1/2, x) = erfc(sqrt(x)) and
    Q(a + 1, x) = Q(a, x) + x**a * exp(-x) / gamma(a + 1). See https://dlmf.nist.gov/8.4 and https://dlmf.nist.gov/8.8.
    Every term is positive, so nothing cancels.

    Parameters
    ----------
    statistic : float
        The sum of squares.
    degrees : int
        The degrees of freedom. With none, the variable is 0.
    """
    x = statistic / 2
    if x <= 0:
        return 1.0
    if degrees < 1:
        return 0.0
    log = math.log(x)
    if degrees % 2:
        first, total = 0.5, math.erfc(math.sqrt(x))
    else:
        first, total = 1.0, math.exp(-x)
    for step in range((degrees - 1) // 2):
        exponent = first + step
        total += math.exp(exponent * log - x - math.lgamma(exponent + 1))
    return min(total, 1.0)


def kolmogorov_survival(statistic: float) -> float:
    """Return the probability that a Kolmogorov variable is above a statistic, as `scipy.stats.kstwobign.sf` does.

    For large samples it is the distribution of sqrt(m * n / (m + n)) times the largest distance of two empirical
    distributions. Kolmogorov 1933 gives 2 * sum((-1)**(k - 1) * exp(-2 * k**2 * x**2)). Below 1 its complement
    converges sooner in the form sqrt(2 * pi) / x * sum(exp(-(2 * k - 1)**2 * pi**2 / (8 * x**2))). See Marsaglia,
    Tsang and Wang 2003, https://doi.org/10.18637/jss.v008.i18.
    """
    if statistic < _CERTAIN:
        return 1.0
    square = statistic * statistic
    if statistic < _SERIES_MEET:
        part = -math.pi * math.pi / 8 / square
        below = sum(math.exp(odd * odd * part) for odd in (1, 3, 5, 7))
        return 1.0 - math.sqrt(2 * math.pi) / statistic * below
    above = sum(sign * math.exp(-2 * number * number * square) for number, sign in enumerate((1, -1, 1, -1), start=1))
    return 2 * above


def normal_two_sided(statistic: float) -> float:
    """Return the probability that a standard normal variable is farther from 0 than a statistic is."""
    return math.erfc(abs(statistic) / math.sqrt(2))


def fair_coin_two_sided(one: int, other: int) -> float:
    """Return the p-value of the exact binomial test that two counts are equally likely.

    It is that of `scipy.stats.binomtest(one, one + other, 0.5)`: twice the probability of the smaller count or fewer,
    at most 1.
    """
    tosses = one + other
    ways = sum(math.comb(tosses, heads) for heads in range(min(one, other) + 1))
    return min(2 * ways / (1 << tosses), 1.0)


def hypergeometric_two_sided(found: int, total: int, marked: int, drawn: int) -> float:
    """Return the p-value of a hypergeometric count: `found` of `drawn` are marked, where `marked` of `total` are.

    It is twice the smaller of both tails, at most 1: Fisher's exact test of two samples. The tails are those of
    `scipy.stats.hypergeom(total, marked, drawn)`. With a total of 10 million, the eighth digit is no longer exact.
    """
    least, most = max(0, drawn + marked - total), min(drawn, marked)
    here = math.exp(_log_comb(marked, found) + _log_comb(total - marked, drawn - found) - _log_comb(total, drawn))
    rest = total - marked - drawn
    expected = drawn * (marked / total) if total else 0.0
    tails = [1.0]
    # The median is within 1 of the mean, so farther away the smaller tail is known.
    if found < expected + 1:
        ratios = (n * (rest + n) / ((marked - n + 1) * (drawn - n + 1)) for n in range(found, least, -1))
        tails.append(_tail(here, ratios))
    if found > expected - 1:
        ratios = ((marked - n) * (drawn - n) / ((n + 1) * (rest + n + 1)) for n in range(found, most))
        tails.append(_tail(here, ratios))
    return min(2 * min(tails), 1.0)


def _tail(first: float, ratios: Iterable[float]) -> float:
    """Return the sum of a series: its first term, and the ratio of each later term to the one before."""
    total = term = first
    for ratio in ratios:
        term *= ratio
        total += term
        if term <= total * _NOTHING:
            break
    return total


def _log_comb(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
