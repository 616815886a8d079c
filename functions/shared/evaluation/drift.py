"""How a window of predictions differs from its baseline, column by column, from histograms alone.

A `Column` is a baseline that is ready to be compared with many windows. `decide` says which columns of a window
drifted. `docs/decisions/drift.md` says why the decision is as it is, and how often it errs.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from operator import mul, sub, truediv
from typing import Any, Literal, NamedTuple, TypedDict

from functions.shared.evaluation.bins import CONFIDENCE_BINS, equal_middle, middles, numbers
from functions.shared.evaluation.distributions import (
    chi_squared_survival,
    hypergeometric_two_sided,
    kolmogorov_survival,
    normal_two_sided,
)

GROUPS = 10
"""A group of bins has at least one in this many of the baseline's values."""

EMPTY_SHARE = 0.0001
"""The share that a population stability index takes an empty group to have, as Evidently does."""

EXPECTED = 5
"""The least count to expect in each cell of a chi-squared test that decides: Cochran 1954's rule."""

LEAST_EXPECTED = 1
"""The same if no two categories have `EXPECTED`: Cochran 1954 allows as few in some cells."""

COARSE = 10
"""If a baseline fills fewer bins than this, its mean is compared too: it may move within a bin."""

NEW_CATEGORIES = 20
"""The most categories that are named although the baseline does not have them."""

Kind = Literal["number", "share", "label", "category"]
"""What a column holds: numbers in log-linear bins, shares (a confidence) in equal bins, labels, or texts."""

Counts = Mapping[str, Any]
"""The counts of one measure, as a rollup has them."""


class StatisticalTest(TypedDict):
    """A statistic, and the probability of one at least as large if nothing has changed."""

    statistic: float
    pvalue: float


class Side(TypedDict):
    """The values on one side of a comparison."""

    count: int
    missing: int
    missing_share: float | None
    mean: float | None
    standard_deviation: float | None


class Figures(TypedDict):
    """How a window differs from the baseline in one column. A figure is None where it has no value."""

    kind: Kind
    baseline: Side
    window: Side
    jensen_shannon_distance: float | None
    population_stability_index: float | None
    wasserstein_distance: float | None
    ks_test: StatisticalTest | None
    chi_squared_test: StatisticalTest | None
    grouped_chi_squared_test: StatisticalTest | None
    rare_test: StatisticalTest | None
    rare_distance: float | None
    mean_test: StatisticalTest | None
    mean_difference: float | None
    missing_test: StatisticalTest | None
    missing_distance: float | None
    new_categories: list[str]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a column drifted: a test is significant, and its effect is large enough to matter.

    Attributes
    ----------
    pvalue : float
        The largest adjusted p-value: about the probability of a false alarm in an unchanged window, in all its columns
        together.
    jensen_shannon_distance : float
        The least distance of categories, of groups of numbers, or of what is missing.
    ks_statistic : float
        The least Kolmogorov-Smirnov statistic of numbers.
    mean_difference : float
        The least difference of the means, in standard deviations.
    count : int
        The least count on each side. With fewer, nothing is decided.
    """

    pvalue: float = 0.001
    jensen_shannon_distance: float = 0.1
    ks_statistic: float = 0.1
    mean_difference: float = 0.25
    count: int = 30


DEFAULT = Thresholds()
"""The thresholds that the API and the metrics use."""


_CONFIDENCES = tuple(equal_middle(number, CONFIDENCE_BINS) for number in range(CONFIDENCE_BINS))


class Decision(TypedDict):
    """Whether a column drifted: None if a side has too few values to decide."""

    adjusted_pvalue: float | None
    drift: bool | None


@dataclass(slots=True)
class _Group:
    first: int
    last: int
    size: float
    atom: bool


class _Moments(NamedTuple):
    mean: float
    squares: float | None
    """The sum of the squares of the distances from the mean."""
    deviation: float | None
    """The standard deviation; None if it is not known, or lost in the rounding of the sums."""


_ROUNDING = 1e-12
"""A variance below this share of the squared mean is a rounding error."""


def jensen_shannon_distance(baseline: Sequence[float], window: Sequence[float]) -> float | None:
    """Return the square root of the Jensen-Shannon divergence to the base 2: 0 for equal shares, 1 for disjoint sides.

    With shares p and q and m = (p + q) / 2 the divergence is (KL(p, m) + KL(q, m)) / 2: Lin 1991,
    https://doi.org/10.1109/18.61115. It is `scipy.spatial.distance.jensenshannon(baseline, window, base=2)`. Empty bins
    add 0. It is None if a side is empty.

    Parameters
    ----------
    baseline, window : Sequence[float]
        The counts of both sides in the same bins.
    """
    if (totals := _totals(baseline, window)) is None:
        return None
    m, n = totals
    total = 0.0
    for one, other in zip(baseline, window, strict=True):
        p, q = one / m, other / n
        both = p + q
        if not p or not q:
            total += both
        elif (skew := (one * n - other * m) / (one * n + other * m)) != 0:
            # With p = both * (1 + skew) / 2 nothing cancels when both sides are nearly alike.
            entropy = (1 + skew) * math.log1p(skew) + (1 - skew) * math.log1p(-skew)
            total += both * entropy / math.log(4)
    return math.sqrt(min(max(total / 2, 0.0), 1.0))


def population_stability_index(baseline: Sequence[float], window: Sequence[float]) -> float | None:
    """Return the sum of (q - p) * ln(q / p) over the shares p of the baseline and q of the window.

    It is Jeffreys' divergence, with the natural logarithm; see Yurdakul and Naranjo 2020,
    https://doi.org/10.21314/JRMV.2020.227. A share of 0 counts as `EMPTY_SHARE`, without scaling the others, and a
    bin that is empty on both sides adds 0. It is None if a side is empty.

    Parameters
    ----------
    baseline, window : Sequence[float]
        The counts of both sides in the same bins.
    """
    if (totals := _totals(baseline, window)) is None:
        return None
    m, n = totals
    shares = ((one / m or EMPTY_SHARE, other / n or EMPTY_SHARE) for one, other in zip(baseline, window, strict=True))
    return sum((q - p) * math.log(q / p) for p, q in shares)


def wasserstein_distance(
    baseline: Sequence[float], window: Sequence[float], positions: Sequence[float]
) -> float | None:
    """Return how far a unit of the baseline must be moved to become the window, in the unit of the positions.

    It is the area between both cumulative distributions: Ramdas et al. 2017, https://doi.org/10.3390/e19020047, as
    `scipy.stats.wasserstein_distance(positions, positions, baseline, window)`. It is None if a side is empty.

    Parameters
    ----------
    baseline, window : Sequence[float]
        The counts of both sides in the same bins.
    positions : Sequence[float]
        Where the bins are, in ascending order.
    """
    gaps = _gaps(baseline, window)
    return _area(gaps, positions) if gaps else None


def ks_test(baseline: Sequence[float], window: Sequence[float]) -> StatisticalTest | None:
    """Return the two-sample Kolmogorov-Smirnov test of values that lie at the positions of their bins.

    The statistic is the largest distance D of both cumulative distributions, that of `scipy.stats.ks_2samp`. The
    p-value is that of the limiting distribution, `scipy.stats.kstwobign.sf(D * sqrt(m * n / (m + n)))`: Smirnov 1939,
    in Hodges 1958, https://doi.org/10.1007/BF02589501. Values that share a bin make the test conservative: the p-value
    is too large, never too small. SciPy's methods `exact` and `asymp` use the distributions of finite samples, which
    take 100 times as long; they differ less as the samples grow. It is None if a side is empty.

    Parameters
    ----------
    baseline, window : Sequence[float]
        The counts of both sides in the same bins, in ascending order.
    """
    gaps = _gaps(baseline, window)
    return _ks(max(gaps), sum(baseline), sum(window)) if gaps else None


def chi_squared_test(baseline: Sequence[float], window: Sequence[float]) -> StatisticalTest | None:
    """Return Pearson's chi-squared test that both sides have the same shares.

    It is `scipy.stats.chi2_contingency([baseline, window], correction=False)`: Pearson 1900,
    https://doi.org/10.1080/14786440009463897. Categories without a value on either side are left out. With a single
    category the statistic is 0 and the p-value 1. It is None if a side is empty.

    Parameters
    ----------
    baseline, window : Sequence[float]
        The counts of both sides in the same categories.
    """
    if (totals := _totals(baseline, window)) is None:
        return None
    m, n = totals
    statistic, filled = 0.0, 0
    for one, other in zip(baseline, window, strict=True):
        if (both := one + other) > 0:
            difference = one * n - other * m
            statistic += difference / m * (difference / n) / both
            filled += 1
    return StatisticalTest(statistic=statistic, pvalue=chi_squared_survival(statistic, filled - 1))


def pooled(baseline: Sequence[float], window: Sequence[float]) -> tuple[list[float], list[float]]:
    """Pool the rarest categories until each cell of a chi-squared test expects at least `EXPECTED` values.

    With fewer, the p-value is too small (Cochran 1954, https://doi.org/10.2307/3001616): a single value of a category
    that is nearly unknown would raise an alarm. If that leaves a single category, as in a small window of many labels
    that are equally frequent, each cell must expect `LEAST_EXPECTED`: otherwise a window of one label alone would pass.
    """
    kept = _pooled(baseline, window, EXPECTED)
    if len(kept) < 2:
        kept = _pooled(baseline, window, LEAST_EXPECTED)
    return [pair[0] for pair in kept], [pair[1] for pair in kept]


def _pooled(baseline: Sequence[float], window: Sequence[float], expected: float) -> list[tuple[float, float]]:
    least = _least(baseline, window, expected)
    pairs = sorted(zip(baseline, window, strict=True), key=sum)
    one = other = 0.0
    taken = 0
    while taken < len(pairs) and (sum(pairs[taken]) < least or 0 < one + other < least):
        one += pairs[taken][0]
        other += pairs[taken][1]
        taken += 1
    kept = pairs[taken:]
    if one + other > 0:
        kept.append((one, other))
    return kept


def rare_test(baseline: Sequence[float], window: Sequence[float]) -> tuple[float | None, StatisticalTest | None]:
    """Return the distance between the shares of the rare categories, and the exact test that the shares are equal.

    A category is rare if a chi-squared test expects fewer than `EXPECTED` of it: a new category, or the few predictions
    that a good model is unsure of. All rare categories are pooled, and this test is exact: Fisher 1922,
    https://doi.org/10.2307/2340521. The statistic is the window's count, the distance is Jensen and Shannon's. Both are
    None if nothing is rare, or everything.

    Parameters
    ----------
    baseline, window : Sequence[float]
        The counts of both sides in the same categories.
    """
    least = _least(baseline, window)
    rare = [pair for pair in zip(baseline, window, strict=True) if 0 < sum(pair) < least]
    m, n = sum(baseline), sum(window)
    one, other = sum(pair[0] for pair in rare), sum(pair[1] for pair in rare)
    if not rare or not m or not n or one + other == m + n:
        return None, None
    sides = [m - one, one], [n - other, other]
    return jensen_shannon_distance(*sides), _exact_test(*sides)


def _exact_test(baseline: Sequence[float], window: Sequence[float]) -> StatisticalTest | None:
    """Return Fisher's test of two categories. Its statistic is the window's count of the second."""
    (others, one), (rest, found) = map(int, baseline), map(int, window)
    drawn, total = rest + found, others + one + rest + found
    if drawn in (0, total):
        return None
    return StatisticalTest(statistic=float(found), pvalue=hypergeometric_two_sided(found, total, one + found, drawn))


def _least(baseline: Sequence[float], window: Sequence[float], expected: float = EXPECTED) -> float:
    """Return how many values a category must have on both sides together for the smaller side to expect `expected`."""
    m, n = sum(baseline), sum(window)
    return expected * (m + n) / max(min(m, n), 1)


class Column:
    """The baseline of a column, ready to be compared with windows.

    Parameters
    ----------
    kind : {"number", "share", "label", "category"}
        What the column holds.
    baseline : Mapping
        Its counts: `{"bins", "sum", "squares", "missing"}` for numbers, `{"bins", "sum"}` for shares,
        `{"categories", "missing"}` for texts, of which each may be absent; for labels, the count of each label.

    Notes
    -----
    The Kolmogorov-Smirnov test and the Wasserstein distance use the bins as they are. The Jensen-Shannon distance,
    the population stability index and `grouped_chi_squared_test` use groups of bins, because fine bins differ by
    chance. A group has a `GROUPS`-th of the baseline, or little more. A bin that has as much by itself, such as the
    bin of 0 or of certainty, is a group of its own. One more group has the bins below and above the baseline's, and
    those between two such bins.
    """

    def __init__(self, kind: Kind, baseline: Counts) -> None:
        self._kind = kind
        self._missing = self._missing_of(baseline)
        if kind in ("label", "category"):
            self._counts: dict[Any, float] = self._categories_of(baseline)
        else:
            self._counts = dict(sorted(_bins(baseline).items()))
            self._groups = _grouped(self._counts)
            self._positions = middles() if kind == "number" else _CONFIDENCES
        self._total = sum(self._counts.values())
        self._moments = _moments(baseline, self._total) if kind in ("number", "share") else None
        self._side = _side(self._total, self._missing, self._moments)

    @classmethod
    def of(cls, measure: str, baseline: Counts) -> "Column":
        """Return the column of a measure. One with categories is text, and one of an unknown kind is a number."""
        kinds: dict[str, Kind] = {"label": "label", "confidence": "share"}
        text = isinstance(baseline.get("categories"), Mapping)
        return cls(kinds.get(measure.partition(":")[0], "category" if text else "number"), baseline)

    def compare(self, window: Counts) -> Figures:
        """Return how a window differs from this baseline. If the window has no value, every figure is None.

        Parameters
        ----------
        window : Mapping
            The window's counts, in the form of the baseline's.
        """
        missing = self._missing_of(window)
        if self._kind in ("label", "category"):
            return self._of_categories(self._categories_of(window), missing)
        return self._of_numbers(window, missing)

    def _categories_of(self, counts: Counts) -> dict[str, float]:
        found = counts if self._kind == "label" else counts.get("categories", {})
        return {category: count for category, count in found.items() if count > 0}

    def _missing_of(self, counts: Counts) -> int:
        return 0 if self._kind == "label" else int(counts.get("missing", 0))

    def _of_categories(self, counts: dict[str, float], missing: int) -> Figures:
        total = sum(counts.values())
        figures = self._figures(_side(total, missing, None))
        every = list(self._counts | counts)
        one = [self._counts.get(category, 0) for category in every]
        other = [counts.get(category, 0) for category in every]
        _add_groups(figures, one, other)
        figures["chi_squared_test"] = chi_squared_test(one, other)
        figures["new_categories"] = [category for category in counts if category not in self._counts][:NEW_CATEGORIES]
        return figures

    def _of_numbers(self, window: Counts, missing: int) -> Figures:
        counts = _bins(window)
        total = sum(counts.values())
        moments = _moments(window, total)
        figures = self._figures(_side(total, missing, moments))
        if not self._total or not total:
            return figures
        filled = sorted([*self._counts, *sorted(counts.keys() - self._counts.keys())])  # two runs, which it merges
        one, other = (list(map(side.get, filled, repeat(0))) for side in (self._counts, counts))
        below = [0, *accumulate(other)]
        groups = [
            below[bisect_right(filled, group.last)] - below[bisect_left(filled, group.first)] for group in self._groups
        ]
        _add_groups(figures, [*(group.size for group in self._groups), 0], [*groups, total - sum(groups)])
        gaps = _gaps(one, other)
        figures["ks_test"] = _ks(max(gaps), self._total, total)
        figures["wasserstein_distance"] = _area(gaps, [self._positions[number] for number in filled])
        if self._moments and moments and len(self._counts) < COARSE:
            figures["mean_difference"], figures["mean_test"] = _mean_test(self._moments, self._total, moments, total)
        return figures

    def _figures(self, window: Side) -> Figures:
        figures = Figures(
            kind=self._kind,
            baseline=self._side,
            window=window,
            jensen_shannon_distance=None,
            population_stability_index=None,
            wasserstein_distance=None,
            ks_test=None,
            chi_squared_test=None,
            grouped_chi_squared_test=None,
            rare_test=None,
            rare_distance=None,
            mean_test=None,
            mean_difference=None,
            missing_test=None,
            missing_distance=None,
            new_categories=[],
        )
        if self._missing or window["missing"]:
            one, other = [self._total, self._missing], [window["count"], window["missing"]]
            figures["missing_distance"] = jensen_shannon_distance(one, other)
            figures["missing_test"] = _exact_test(one, other)
        return figures


def decide(columns: Mapping[str, Figures], thresholds: Thresholds = DEFAULT) -> dict[str, Decision]:
    """Return which columns of one window drifted.

    A column has up to five tests: of the distribution, of its groups, of the rare categories, of the mean if the
    baseline fills few bins, and of the missing values. A test counts only if its effect reaches its threshold: among a
    million values, any difference is significant. The smallest p-value is multiplied by the number of tests
    (Bonferroni), and then adjusted for the number of columns: Holm 1979, https://www.jstor.org/stable/4615733. So a
    window with 100 columns gives no more false alarms than one with 5.

    Parameters
    ----------
    columns : Mapping[str, Figures]
        What `Column.compare` returned for each column of the window.
    thresholds : Thresholds, optional
        When a column drifted.
    """
    evidence = {name: _evidence(figures, thresholds) for name, figures in columns.items()}
    told = sorted((pvalue, name) for name, pvalue in evidence.items() if pvalue is not None)
    decisions = {name: Decision(adjusted_pvalue=None, drift=None) for name in columns}
    adjusted = 0.0
    for place, (pvalue, name) in enumerate(told):
        adjusted = max(adjusted, min((len(told) - place) * pvalue, 1.0))
        decisions[name] = Decision(adjusted_pvalue=adjusted, drift=adjusted <= thresholds.pvalue)
    return decisions


def _evidence(figures: Figures, thresholds: Thresholds) -> float | None:
    one, other = figures["baseline"], figures["window"]
    tests: list[tuple[StatisticalTest | None, bool]] = []
    if min(one["count"], other["count"]) >= thresholds.count:
        ks = figures["ks_test"]
        tests = [
            (ks, ks is not None and ks["statistic"] >= thresholds.ks_statistic),
            (
                figures["grouped_chi_squared_test"],
                (figures["jensen_shannon_distance"] or 0) >= thresholds.jensen_shannon_distance,
            ),
            (figures["rare_test"], (figures["rare_distance"] or 0) >= thresholds.jensen_shannon_distance),
            (figures["mean_test"], abs(figures["mean_difference"] or 0) >= thresholds.mean_difference),
        ]
    if min(one["count"] + one["missing"], other["count"] + other["missing"]) >= thresholds.count:
        distance = figures["missing_distance"] or 0
        tests.append((figures["missing_test"], distance >= thresholds.jensen_shannon_distance))
    made = [(test["pvalue"], large) for test, large in tests if test is not None]
    if not made:
        return None
    return min(min((pvalue for pvalue, large in made if large), default=1.0) * len(made), 1.0)


def _grouped(counts: Mapping[int, float]) -> list[_Group]:
    """Return the groups of a baseline's bins, in order. A group of several bins extends to its neighbours."""
    least = sum(counts.values()) / GROUPS
    groups: list[_Group] = []
    for number, count in counts.items():
        if count >= least or not groups or groups[-1].atom or groups[-1].size >= least:
            groups.append(_Group(number, number, count, atom=count >= least))
        else:
            groups[-1].last = number
            groups[-1].size += count
    for before, after in pairwise(groups):
        if not after.atom:
            after.first = before.last + 1
        elif not before.atom:
            before.last = after.first - 1
    return groups


def _add_groups(figures: Figures, one: Sequence[float], other: Sequence[float]) -> None:
    figures["jensen_shannon_distance"] = jensen_shannon_distance(one, other)
    figures["population_stability_index"] = population_stability_index(one, other)
    figures["grouped_chi_squared_test"] = chi_squared_test(*pooled(one, other))
    figures["rare_distance"], figures["rare_test"] = rare_test(one, other)


def _totals(baseline: Sequence[float], window: Sequence[float]) -> tuple[float, float] | None:
    """Return how many values each side has, or None if a side is empty: then nothing can be compared."""
    m, n = sum(baseline), sum(window)
    return (m, n) if m > 0 and n > 0 else None


def _gaps(baseline: Sequence[float], window: Sequence[float]) -> list[float]:
    """Return the distance between both cumulative distributions after each bin, or nothing if a side is empty."""
    if (totals := _totals(baseline, window)) is None:
        return []
    m, n = totals
    parts = map(sub, map(mul, baseline, repeat(n)), map(mul, window, repeat(m)))  # nothing is rounded yet
    return list(map(truediv, map(abs, accumulate(parts)), repeat(m * n)))


def _area(gaps: Sequence[float], positions: Sequence[float]) -> float:
    return float(sum(map(mul, gaps, map(sub, positions[1:], positions))))


def _ks(statistic: float, m: float, n: float) -> StatisticalTest:
    return StatisticalTest(
        statistic=statistic, pvalue=kolmogorov_survival(statistic * math.sqrt(m / (m + n)) * math.sqrt(n))
    )


def _mean_test(baseline: _Moments, m: float, window: _Moments, n: float) -> tuple[float | None, StatisticalTest | None]:
    """Return the difference of the means in standard deviations, and its test: Student's, with a normal statistic."""
    if baseline.squares is None or window.squares is None or m + n <= 2:
        return None, None
    variance = (baseline.squares + window.squares) / (m + n - 2)
    if variance <= _ROUNDING * max(baseline.mean * baseline.mean, window.mean * window.mean):
        return None, None
    difference = (window.mean - baseline.mean) / math.sqrt(variance)
    statistic = difference / math.sqrt(1 / m + 1 / n)
    if not math.isfinite(statistic):
        return None, None
    return difference, StatisticalTest(statistic=statistic, pvalue=normal_two_sided(statistic))


def _moments(counts: Counts, total: float) -> _Moments | None:
    if "sum" not in counts or not total:
        return None
    mean = counts["sum"] / total
    if not math.isfinite(mean):
        return None
    squares = counts["squares"] - counts["sum"] * mean if "squares" in counts else math.nan
    if not math.isfinite(squares):
        return _Moments(mean, None, None)
    # Of times in milliseconds since 1970, the squares differ by less than the rounding of their sum.
    is_known = squares == 0 or squares > _ROUNDING * total * mean * mean
    deviation = math.sqrt(squares / (total - 1)) if is_known and total > 1 else None
    return _Moments(mean, max(squares, 0.0), deviation)


def _side(total: float, missing: int, moments: _Moments | None) -> Side:
    return Side(
        count=int(total),
        missing=missing,
        missing_share=missing / (total + missing) if total + missing else None,
        mean=moments.mean if moments else None,
        standard_deviation=moments.deviation if moments else None,
    )


def _bins(counts: Counts) -> dict[int, float]:
    found: Mapping[str, float] = counts.get("bins", {})
    filled = dict(zip(map(numbers().__getitem__, found), found.values(), strict=True))
    return {number: count for number, count in filled.items() if count > 0} if 0 in found.values() else filled
