"""The bins of every histogram. Their edges never change, so any two histograms can be added or compared.

Numbers of any size have log-linear bins: a bin is 2 % wide, so its middle is within 1 % of each value in it, as in
DDSketch (Masson, Rim and Lee 2019, https://www.vldb.org/pvldb/vol12/p2195-masson.pdf). Shares, which lie between 0
and 1, have bins of equal width. The ledger counts with the same formulas, written in SQL.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import accumulate

GROWTH = 1.02
"""How much wider each log-linear bin is than the one before."""

LOG_GROWTH = math.log(GROWTH)
"""The natural logarithm of `GROWTH`: the width of a bin on a natural logarithmic scale."""

SMALLEST = 1e-9
"""A number nearer to 0 than this is counted as 0."""

LARGEST = 1e12
"""A number farther from 0 than this is counted in the last bin of its sign."""

OFFSET = 1 - math.floor(math.log(SMALLEST) / LOG_GROWTH)
"""Added to the logarithm of a number, so that `SMALLEST` is in bin 1."""

LAST = math.floor(math.log(LARGEST) / LOG_GROWTH) + OFFSET
"""The bin of `LARGEST`. The bins are -LAST to LAST."""

CONFIDENCE_BINS = 50
"""How many bins of equal width confidences are counted in."""

CALIBRATION_BINS = 15
"""How many bins of equal width a calibration has: Guo et al. 2017, https://proceedings.mlr.press/v70/guo17a.html."""


def bin_of(value: float) -> int | None:
    """Return the log-linear bin of a number, or None for a NaN or an infinity, which are counted as missing.

    The bin is 0 if `abs(value) < SMALLEST`, otherwise `floor(log(abs(value)) / LOG_GROWTH) + OFFSET`, at most `LAST`,
    with the sign of the value.
    """
    if not math.isfinite(value):
        return None
    size = abs(value)
    if size < SMALLEST:
        return 0
    number = min(math.floor(math.log(size) / LOG_GROWTH) + OFFSET, LAST)
    return number if value > 0 else -number


def edges(number: int) -> tuple[float, float]:
    """Return the lower and the upper edge of a log-linear bin.

    A positive bin holds its lower edge and not its upper one; negative bins mirror positive ones. The last bins also
    hold what is beyond their outer edge.

    Raises
    ------
    ValueError
        There is no such bin.
    """
    if abs(number) > LAST:
        raise ValueError(f"There is no bin {number}: bins are {-LAST} to {LAST}.")
    if number == 0:
        return -SMALLEST, SMALLEST
    exponent = abs(number) - OFFSET
    inner = max(math.exp(exponent * LOG_GROWTH), SMALLEST)
    outer = math.exp((exponent + 1) * LOG_GROWTH)
    return (inner, outer) if number > 0 else (-outer, -inner)


def middle(number: int) -> float:
    """Return the geometric middle of a log-linear bin: no value in it is more than 1 % away, but for the last bins.

    Raises
    ------
    ValueError
        There is no such bin.
    """
    if abs(number) > LAST:
        raise ValueError(f"There is no bin {number}: bins are {-LAST} to {LAST}.")
    return middles()[number]


@cache
def middles() -> tuple[float, ...]:
    """Return the middles of all log-linear bins: `middles()[number]` is that of a bin, which may be negative."""
    positive = [max(math.exp((number - OFFSET + 0.5) * LOG_GROWTH), SMALLEST) for number in range(1, LAST + 1)]
    return (0.0, *positive, *(-size for size in reversed(positive)))


@cache
def numbers() -> Mapping[str, int]:
    """Return the numbers of all log-linear bins by their text, which is the key of a bin's count in JSON."""
    return {str(number): number for number in range(-LAST, LAST + 1)}


def quantile(counts: Mapping[str, float], share: float) -> float | None:
    """Return one of the `quantiles`."""
    return quantiles(counts, [share])[0]


def quantiles(counts: Mapping[str, float], shares: Iterable[float]) -> list[float | None]:
    """Return quantiles of the values that a log-linear histogram counts, or None for each if it counts nothing.

    A quantile is the middle of the bin that has the value at the rank `ceil(share * n)`, and so within 1 % of that
    value, which is NumPy's quantile by the method `inverted_cdf`. Values beyond `LARGEST` are reported as about
    `LARGEST`, those within `SMALLEST` of 0 as 0.

    Parameters
    ----------
    counts : Mapping[str, float]
        How many values each bin has. The keys are the numbers of bins.
    shares : Iterable[float]
        Which quantiles: 0.5 is the median.
    """
    ordered = sorted(zip(map(numbers().__getitem__, counts), counts.values(), strict=True))
    upto = [0.0, *accumulate(count for _, count in ordered)]
    ranks = [max(math.ceil(share * upto[-1]), 1) for share in shares]
    return [middle(ordered[bisect_left(upto, rank) - 1][0]) if upto[-1] >= rank else None for rank in ranks]


def confidence_bin_of(confidence: float) -> int | None:
    """Return the bin of a confidence, 0 to `CONFIDENCE_BINS - 1`, or None for a NaN.

    A bin holds its lower edge and not its upper one, but the last bin also holds 1. A confidence that rounding has put
    outside 0 to 1 is in the first or the last bin.
    """
    if math.isnan(confidence):
        return None
    return min(math.floor(_share(confidence) * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)


def calibration_bin_of(confidence: float) -> int | None:
    """Return the bin of a confidence in a calibration, 0 to `CALIBRATION_BINS - 1`, or None for a NaN.

    A bin holds its upper edge and not its lower one, but the first bin also holds 0, as in Guo et al. and in
    scikit-learn's `calibration_curve`. It matters for the 0.6 and 0.8 of a forest of ten trees, which are edges.
    """
    if math.isnan(confidence):
        return None
    return max(math.ceil(_share(confidence) * CALIBRATION_BINS) - 1, 0)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def equal_edges(number: int, bins: int) -> tuple[float, float]:
    """Return the lower and the upper edge of one of `bins` bins of equal width between 0 and 1."""
    return number / bins, (number + 1) / bins


def equal_middle(number: int, bins: int) -> float:
    """Return the middle of one of `bins` bins of equal width between 0 and 1."""
    return (number + 0.5) / bins
