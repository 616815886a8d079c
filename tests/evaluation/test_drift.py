"""How a window differs from its baseline equals SciPy's figures on the same samples and bins; what drifted is told."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from functions.shared.evaluation import bins, drift
from tests.support.properties import no_deadline

pytestmark = pytest.mark.slow

cell = st.integers(0, 30) | st.sampled_from([0, 0, 1, 10**7])
two_sides = st.lists(st.tuples(cell, cell), min_size=1, max_size=40).map(
    lambda pairs: ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
)
Sides = tuple[list[int], list[int]]


def filled(sides: Sides) -> Sides:
    assume(sum(sides[0]) and sum(sides[1]))
    return sides


def numbers(values: Any, missing: int = 0) -> dict[str, Any]:
    """Count numbers as the rollups do."""
    histogram: dict[str, int] = {}
    for value in values:
        number = str(bins.bin_of(float(value)))
        histogram[number] = histogram.get(number, 0) + 1
    array = np.asarray(values, float)
    sums = {"sum": float(array.sum()), "squares": float((array**2).sum())}
    return {"n": len(values), **sums, "missing": missing, "bins": histogram}


def confidences(values: Sequence[float]) -> dict[str, Any]:
    histogram: dict[str, int] = {}
    for value in values:
        number = str(bins.confidence_bin_of(float(value)))
        histogram[number] = histogram.get(number, 0) + 1
    return {"n": len(values), "sum": float(sum(values)), "bins": histogram}


def texts(values: Sequence[str], missing: int = 0) -> dict[str, Any]:
    return {
        "n": len(values),
        "missing": missing,
        "categories": {value: list(values).count(value) for value in dict.fromkeys(values)},
    }


def one(figures: drift.Figures, thresholds: drift.Thresholds = drift.DEFAULT) -> bool | None:
    return drift.decide({"column": figures}, thresholds)["column"]["drift"]


@no_deadline
@given(two_sides)
def test_the_jensen_shannon_distance_is_that_of_scipy(sides: Sides) -> None:
    baseline, window = filled(sides)
    found = drift.jensen_shannon_distance(baseline, window)
    assert found is not None
    # SciPy's own square root makes 1e-8 of a rounding of 1e-16: compare the divergences then.
    expected = float(distance.jensenshannon(baseline, window, base=2))
    assert found == pytest.approx(expected, abs=1e-9) or abs(found**2 - expected**2) < 1e-15
    assert 0 <= found <= 1


@pytest.mark.parametrize(("window", "expected"), [([3, 6, 9], 0.0), ([10, 20, 30], 0.0), ([0, 0, 0, 5], 1.0)])
def test_the_same_shares_have_no_distance_and_others_altogether_1(window: list[int], expected: float) -> None:
    baseline = [1, 2, 3] + [0] * (len(window) - 3)
    assert drift.jensen_shannon_distance(baseline, window) == expected


@no_deadline
@given(two_sides)
def test_the_population_stability_index_follows_its_formula(sides: Sides) -> None:
    baseline, window = filled(sides)
    p, q = np.array(baseline) / sum(baseline), np.array(window) / sum(window)
    p[p == 0] = q[q == 0] = drift.EMPTY_SHARE
    expected = float(((q - p) * np.log(q / p)).sum())
    assert drift.population_stability_index(baseline, window) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@no_deadline
@given(two_sides, st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_the_wasserstein_distance_is_that_of_scipy(sides: Sides, start: float, width: float) -> None:
    baseline, window = filled(sides)
    positions = [start + width * place for place in range(len(baseline))]
    expected = stats.wasserstein_distance(positions, positions, baseline, window)
    found = drift.wasserstein_distance(baseline, window, positions)
    assert found == pytest.approx(float(expected), rel=1e-9, abs=1e-9 * width)


small_sides = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20).map(
    lambda pairs: ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
)


# SciPy warns where it cannot compute its own p-value, which differs from this one: only its statistic is compared.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@no_deadline
@given(small_sides)
def test_the_kolmogorov_smirnov_statistic_is_that_of_scipy(sides: Sides) -> None:
    baseline, window = filled(sides)
    places = np.arange(len(baseline))
    m, n = sum(baseline), sum(window)
    expected = stats.ks_2samp(np.repeat(places, baseline), np.repeat(places, window))
    found = drift.ks_test(baseline, window)
    assert found is not None
    assert found["statistic"] == pytest.approx(float(expected.statistic), abs=1e-9)
    limit = float(stats.kstwobign.sf(expected.statistic * math.sqrt(m * n / (m + n))))
    assert found["pvalue"] == pytest.approx(limit, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("m", "n", "near"), [(1000, 100, 0.02), (9000, 3000, 0.006), (200_000, 100_000, 0.002)])
@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2])
def test_the_kolmogorov_smirnov_pvalue_is_near_that_of_finite_samples(
    m: int, n: int, near: float, shift: float
) -> None:
    random = np.random.default_rng(m)
    places = [np.floor(random.normal(0, 50, m)), np.floor(random.normal(50 * shift, 50, n))]
    first = min(side.min() for side in places)
    counts = [np.bincount((side - first).astype(int), minlength=600).tolist() for side in places]
    found = drift.ks_test(*counts)
    assert found is not None
    for method in ("asymp", "auto"):
        assert found["pvalue"] == pytest.approx(float(stats.ks_2samp(*places, method=method).pvalue), abs=near)


@no_deadline
@given(two_sides)
def test_the_chi_squared_test_is_that_of_scipy(sides: Sides) -> None:
    baseline, window = filled(sides)
    kept = [pair for pair in zip(baseline, window, strict=True) if sum(pair)]
    expected = stats.chi2_contingency(np.array(kept).T, correction=False)
    found = drift.chi_squared_test(baseline, window)
    assert found is not None
    assert found["statistic"] == pytest.approx(float(expected.statistic), rel=1e-9, abs=1e-9)
    assert found["pvalue"] == pytest.approx(float(expected.pvalue), rel=1e-9, abs=1e-9)


@no_deadline
@given(two_sides)
def test_pooling_keeps_every_value_and_leaves_no_rare_cell(sides: Sides) -> None:
    baseline, window = drift.pooled(*filled(sides))
    assert (sum(baseline), sum(window)) == (sum(sides[0]), sum(sides[1]))
    if len(baseline) > 1:
        expected = stats.contingency.expected_freq(np.array([baseline, window]))
        assert expected.min() >= drift.LEAST_EXPECTED * (1 - 1e-9)


def test_a_small_window_of_one_label_of_many_that_are_equally_frequent_is_told() -> None:
    figures = drift.Column("label", {str(digit): 500 for digit in range(10)}).compare({"7": 40})
    assert drift.decide({"label": figures})["label"]["drift"] is True


@no_deadline
@given(two_sides)
def test_what_is_rare_has_fishers_exact_test(sides: Sides) -> None:
    baseline, window = filled(sides)
    m, n = sum(baseline), sum(window)
    least = drift.EXPECTED * (m + n) / min(m, n)
    rare = [pair for pair in zip(baseline, window, strict=True) if 0 < sum(pair) < least]
    one, other = sum(pair[0] for pair in rare), sum(pair[1] for pair in rare)
    share, found = drift.rare_test(baseline, window)
    if not rare or one + other == m + n:
        assert (share, found) == (None, None)
        return
    known = stats.hypergeom(m + n, one + other, n)
    expected = min(1.0, 2 * min(float(known.cdf(other)), float(known.sf(other - 1))))
    assert found is not None
    assert found["statistic"] == other
    assert found["pvalue"] == pytest.approx(expected, rel=1e-6, abs=1e-200)
    assert share == drift.jensen_shannon_distance([one, m - one], [other, n - other])


@pytest.mark.parametrize("sides", [([], []), ([0, 0], [1, 2]), ([1, 2], [0, 0]), ([0], [0])])
def test_an_empty_side_has_no_figure(sides: Sides) -> None:
    positions = list(range(len(sides[0])))
    assert drift.jensen_shannon_distance(*sides) is None
    assert drift.population_stability_index(*sides) is None
    assert drift.wasserstein_distance(*sides, positions) is None
    assert drift.ks_test(*sides) is None
    assert drift.chi_squared_test(*sides) is None
    assert drift.rare_test(*sides) == (None, None)


any_values = st.lists(st.floats(-1e150, 1e150) | st.sampled_from([0.0, 1.0]), max_size=60)


@no_deadline
@given(any_values, any_values)
def test_a_column_of_numbers_has_the_figures_of_its_bins(baseline: list[float], window: list[float]) -> None:
    assume(baseline)
    assume(window)
    figures = drift.Column("number", numbers(baseline)).compare(numbers(window))
    places = [[bins.bin_of(value) or 0 for value in side] for side in (baseline, window)]
    every = sorted({*places[0], *places[1]})
    counts = [[side.count(number) for number in every] for side in places]
    assert figures["ks_test"] == pytest.approx(drift.ks_test(*counts), rel=1e-9, abs=1e-12)
    positions = [bins.middle(number) for number in every]
    expected = drift.wasserstein_distance(counts[0], counts[1], positions)
    assert figures["wasserstein_distance"] == pytest.approx(expected, rel=1e-9, abs=1e-13 * max(map(abs, positions)))
    assert figures["chi_squared_test"] is None


def test_the_groups_of_numbers_are_tenths_of_the_baseline() -> None:
    random = np.random.default_rng(4)
    baseline, window = random.normal(10, 3, 5000), random.normal(11, 3, 800)
    figures = drift.Column("number", numbers(baseline)).compare(numbers(window))
    edges = np.quantile(baseline, np.linspace(0, 1, 11))
    edges[0], edges[-1] = -np.inf, np.inf
    tenths = [np.histogram(side, edges)[0] for side in (baseline, window)]
    expected = float(distance.jensenshannon(*tenths, base=2))
    assert figures["jensen_shannon_distance"] == pytest.approx(expected, abs=0.01)
    expected = float(np.sum((tenths[1] / 800 - 0.1) * np.log(tenths[1] / 800 / 0.1)))
    assert figures["population_stability_index"] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    "counts",
    [
        {0: 900, 5: 10, 6: 10, 7: 80},
        dict.fromkeys(range(-50, 50), 1),
        {3: 10},
        {number: 1 + 30 * (number % 7 == 0) for number in range(-30, 300)},
        {1: 2, 2: 1},
    ],
    ids=["mostly 0", "even", "constant", "peaks", "three rows"],
)
def test_groups_hold_the_whole_baseline_and_do_not_overlap(counts: dict[int, int]) -> None:
    groups = drift._grouped(counts)
    assert sum(group.size for group in groups) == sum(counts.values())
    for before, after in pairwise(groups):
        assert before.last < after.first
    for group in groups:
        assert group.size == sum(count for number, count in counts.items() if group.first <= number <= group.last)
        assert group.size < sum(counts.values()) / drift.GROUPS * 2 or group.first == group.last


@pytest.mark.parametrize("value", [-7.0, 0.0, 0.5, 3.0])
def test_a_constant_column_that_takes_another_value_is_as_far_as_can_be(value: float) -> None:
    figures = drift.Column("number", numbers([1.0] * 100)).compare(numbers([value] * 100))
    assert figures["jensen_shannon_distance"] == 1
    assert figures["ks_test"] is not None
    assert figures["ks_test"]["statistic"] == 1
    assert figures["wasserstein_distance"] == pytest.approx(abs(1 - value), abs=0.01 * (1 + abs(value)))
    assert one(figures) is True


def test_a_constant_column_that_stays_has_not_drifted() -> None:
    figures = drift.Column("number", numbers([28.0] * 500)).compare(numbers([28.0] * 100))
    assert figures["jensen_shannon_distance"] == 0
    assert figures["population_stability_index"] == 0
    assert figures["wasserstein_distance"] == 0
    assert figures["ks_test"] == {"statistic": 0.0, "pvalue": 1.0}
    assert one(figures) is False


def test_both_sides_tell_their_counts_and_moments() -> None:
    random = np.random.default_rng(5)
    baseline, window = random.normal(5, 2, 300), random.normal(6, 1, 200)
    figures = drift.Column("number", numbers(baseline, missing=100)).compare(numbers(window))
    assert figures["baseline"] == {
        "count": 300,
        "missing": 100,
        "missing_share": 0.25,
        "mean": pytest.approx(baseline.mean()),
        "standard_deviation": pytest.approx(baseline.std(ddof=1)),
    }
    assert (figures["window"]["count"], figures["window"]["missing_share"]) == (200, 0.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.7e12] * 50, [None, 0.0]),  # times in milliseconds since 1970, all the same
        ([1.7e12 + at for at in range(50)], [None]),
        ([7.0] * 50, [0.0]),
        ([2026.0, 2027.0] * 25, [pytest.approx(np.std([2026.0, 2027.0] * 25, ddof=1))]),
    ],
)
def test_a_deviation_that_is_lost_in_the_rounding_of_the_sums_is_not_told(
    values: list[float], expected: list[Any]
) -> None:
    assert drift.Column("number", numbers(values)).compare({})["baseline"]["standard_deviation"] in expected


def test_a_label_has_the_figures_of_its_categories() -> None:
    baseline, window = {"cat": 60, "dog": 40}, {"dog": 30, "cat": 20, "eel": 5}
    figures = drift.Column("label", baseline).compare(window)
    expected = stats.chi2_contingency([[60, 40, 0], [20, 30, 5]], correction=False)
    assert figures["chi_squared_test"] == pytest.approx(
        {"statistic": float(expected.statistic), "pvalue": float(expected.pvalue)}, rel=1e-9
    )
    expected = distance.jensenshannon([60, 40, 0], [20, 30, 5], base=2)
    assert figures["jensen_shannon_distance"] == pytest.approx(float(expected), abs=1e-9)
    assert figures["new_categories"] == ["eel"]
    assert figures["ks_test"] is None
    assert figures["wasserstein_distance"] is None


@pytest.mark.parametrize("label", ["missing", "n", "categories", "bins", ""])
def test_a_label_may_be_any_word(label: str) -> None:
    figures = drift.Column.of("label", {label: 50}).compare({label: 40, "other": 10})
    assert (figures["baseline"]["count"], figures["baseline"]["missing"]) == (50, 0)
    assert (figures["window"]["count"], figures["new_categories"]) == (50, ["other"])


@pytest.mark.parametrize(
    ("measure", "counts", "kind"),
    [
        ("label", {"a": 1}, "label"),
        ("label:1", {"a": 1}, "label"),
        ("confidence", {"bins": {}}, "share"),
        ("value:0", {"bins": {}}, "number"),
        ("feature:age", {"bins": {}}, "number"),
        ("feature:label", {"bins": {}}, "number"),
        ("feature:town", {"categories": {"Rome": 1}}, "category"),
        ("picture:width", {"bins": {}}, "number"),
    ],
)
def test_a_measure_says_what_its_column_holds(measure: str, counts: dict[str, Any], kind: str) -> None:
    assert drift.Column.of(measure, counts).compare(counts)["kind"] == kind


def test_the_mean_of_a_confidence_is_told() -> None:
    figures = drift.Column("share", confidences([0.9, 1.0])).compare(confidences([0.5] * 4))
    assert figures["baseline"]["mean"] == pytest.approx(0.95)
    assert figures["window"]["mean"] == 0.5
    assert figures["wasserstein_distance"] == pytest.approx(0.95 - 0.51)


# What drifted, and what did not


def test_a_shift_of_one_standard_deviation_is_told_of_that_column_alone() -> None:
    random = np.random.default_rng(6)
    columns = {f"feature:{place}": drift.Column("number", numbers(random.normal(0, 0.05, 442))) for place in range(10)}
    for size in (100, 300, 5000):
        window = {name: numbers(random.normal(0.05 * (name == "feature:3"), 0.05, size)) for name in columns}
        decisions = drift.decide({name: column.compare(window[name]) for name, column in columns.items()})
        assert [name for name, decision in decisions.items() if decision["drift"]] == ["feature:3"]


@pytest.mark.parametrize(
    "changed",
    [
        lambda random: random.normal(0.5, 1, 500),
        lambda random: random.normal(0, 1.5, 500),
        lambda random: np.abs(random.normal(0, 1, 500)),
        lambda random: np.where(random.random(500) < 0.5, 0, random.normal(0, 1, 500)),
        lambda random: np.append(random.normal(0, 1, 400), np.full(100, 40.0)),
    ],
    ids=["shifted", "wider", "without a sign", "half zero", "a fifth elsewhere"],
)
def test_each_change_of_numbers_is_told(changed: Callable[[np.random.Generator], Sequence[float]]) -> None:
    random = np.random.default_rng(7)
    column = drift.Column("number", numbers(random.normal(0, 1, 1000)))
    assert one(column.compare(numbers(random.normal(0, 1, 500)))) is False
    assert one(column.compare(numbers(changed(random)))) is True


def test_a_shift_within_one_bin_is_told_by_the_mean() -> None:
    random = np.random.default_rng(8)
    kelvin = drift.Column("number", numbers(random.normal(1000, 2, 1000)))
    still, warmer = numbers(random.normal(1000, 2, 200)), numbers(random.normal(1002, 2, 200))
    assert one(kelvin.compare(still)) is False
    figures = kelvin.compare(warmer)
    assert figures["mean_difference"] == pytest.approx(1, abs=0.2)
    assert figures["mean_test"] is not None
    assert one(figures) is True


def _moments(counts: Mapping[str, Any]) -> tuple[float, float, int]:
    mean = counts["sum"] / counts["n"]
    return mean, math.sqrt((counts["squares"] - counts["n"] * mean**2) / (counts["n"] - 1)), counts["n"]


def test_the_statistic_of_a_mean_is_students() -> None:
    baseline, window = numbers([1000.0, 1001, 1002, 1003] * 20), numbers([1001.0, 1002] * 30)
    figures = drift.Column("number", baseline).compare(window)
    expected = stats.ttest_ind_from_stats(*_moments(window), *_moments(baseline), equal_var=True)
    assert figures["mean_test"] is not None
    assert figures["mean_test"]["statistic"] == pytest.approx(float(expected.statistic), rel=1e-9)
    assert figures["mean_test"]["pvalue"] == pytest.approx(2 * float(stats.norm.sf(expected.statistic)), rel=1e-9)


def test_a_value_that_is_missing_more_often_is_told() -> None:
    random = np.random.default_rng(9)
    column = drift.Column("number", numbers(random.normal(0, 1, 1000), missing=10))
    assert one(column.compare(numbers(random.normal(0, 1, 200), missing=3))) is False
    assert one(column.compare(numbers(random.normal(0, 1, 200), missing=60))) is True
    assert one(column.compare(numbers([], missing=200))) is True


def test_labels_that_changed_are_told() -> None:
    random = np.random.default_rng(10)
    column = drift.Column("label", {str(label): 100 for label in range(10)})

    def window(labels: Sequence[int]) -> dict[str, int]:
        return {str(label): list(labels).count(label) for label in range(10)}

    assert one(column.compare(window(random.integers(0, 10, 160).tolist()))) is False
    assert one(column.compare(window(random.integers(0, 5, 160).tolist()))) is True


def test_a_confidence_that_falls_is_told_although_most_of_it_is_in_one_bin() -> None:
    random = np.random.default_rng(11)

    def sure(share: float, count: int) -> Any:
        return np.where(random.random(count) < share, 0.999, random.random(count)).tolist()

    column = drift.Column("share", confidences(sure(0.95, 1000)))
    assert one(column.compare(confidences(sure(0.95, 160)))) is False
    assert one(column.compare(confidences(sure(0.80, 160)))) is True


def test_doubts_that_were_one_in_two_hundred_and_became_one_in_twenty_are_told() -> None:
    def sure(doubts: int, count: int) -> dict[str, Any]:
        return confidences([0.7] * doubts + [0.999] * (count - doubts))

    column = drift.Column("share", sure(25, 5000))
    assert one(column.compare(sure(1, 166))) is False
    assert one(column.compare(sure(9, 166))) is True


def test_a_label_that_nobody_knew_is_told_once_it_is_no_chance() -> None:
    column = drift.Column("label", {"cat": 500, "dog": 500})
    assert one(column.compare({"cat": 50, "dog": 49, "eel": 1})) is False
    assert one(column.compare({"cat": 47, "dog": 46, "eel": 7})) is True


def test_a_rare_word_that_nobody_knew_is_no_drift() -> None:
    column = drift.Column("category", texts(["Rome", "Oslo"] * 30_000))
    figures = column.compare(texts(["Rome", "Oslo"] * 60 + ["Ulm"]))
    assert figures["new_categories"] == ["Ulm"]
    assert figures["chi_squared_test"] is not None
    assert figures["chi_squared_test"]["pvalue"] < 1e-9
    assert one(figures) is False


def test_a_change_that_is_significant_and_tiny_is_no_drift() -> None:
    random = np.random.default_rng(12)
    column = drift.Column("number", numbers(random.normal(10, 1, 200_000)))
    figures = column.compare(numbers(random.normal(10.05, 1, 200_000)))
    assert figures["ks_test"] is not None
    assert figures["ks_test"]["pvalue"] < 1e-9
    assert one(figures) is False
    assert one(figures, drift.Thresholds(ks_statistic=0.01)) is True


@pytest.mark.parametrize("count", [1, 3, 29])
def test_a_window_of_few_rows_has_figures_and_cannot_be_told(count: int) -> None:
    column = drift.Column("number", numbers([float(value) for value in range(100)]))
    figures = column.compare(numbers([1e6] * count))
    assert figures["ks_test"] is not None
    assert figures["ks_test"]["statistic"] == 1
    assert drift.decide({"column": figures}) == {"column": {"adjusted_pvalue": None, "drift": None}}


def test_no_column_needs_no_decision() -> None:
    assert drift.decide({}) == {}


def test_more_columns_need_more_evidence() -> None:
    figures = drift.Column("label", {"a": 500, "b": 500}).compare({"a": 138, "b": 62})
    alone = drift.decide({"one": figures})["one"]["adjusted_pvalue"]
    among = drift.decide({"one": figures} | {f"{place}": _alike() for place in range(9)})["one"]["adjusted_pvalue"]
    assert alone is not None
    assert among == pytest.approx(10 * alone)


def _alike() -> drift.Figures:
    return drift.Column("label", {"a": 500, "b": 500}).compare({"a": 100, "b": 100})


def every_number(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in every_number(each)]
    return [float(value)] if isinstance(value, int | float) else []


sizes = st.integers(0, 40) | st.integers(0, 10**9)
a_sum = st.floats(-1e300, 1e300) | st.just(math.inf)
number_counts = st.fixed_dictionaries(
    {},
    optional={
        "n": sizes,
        "missing": sizes,
        "sum": a_sum,
        "squares": a_sum,
        "bins": st.dictionaries(st.integers(-bins.LAST, bins.LAST).map(str), sizes, max_size=30),
    },
)
share_counts = st.fixed_dictionaries(
    {}, optional={"sum": a_sum, "bins": st.dictionaries(st.integers(0, 49).map(str), sizes)}
)
label_counts = st.dictionaries(st.text(max_size=3), sizes, max_size=30)
text_counts = st.fixed_dictionaries({}, optional={"missing": sizes, "categories": label_counts})
any_column = st.one_of(
    st.tuples(st.just("number"), number_counts, number_counts),
    st.tuples(st.just("share"), share_counts, share_counts),
    st.tuples(st.just("label"), label_counts, label_counts),
    st.tuples(st.just("category"), text_counts, text_counts),
)


@no_deadline
@given(st.lists(any_column, max_size=4))
def test_whatever_was_counted_has_an_answer_without_nan(columns: list[tuple[drift.Kind, Any, Any]]) -> None:
    figures = {
        str(place): drift.Column(kind, baseline).compare(window)
        for place, (kind, baseline, window) in enumerate(columns)
    }
    decisions = drift.decide(figures)
    assert all(map(math.isfinite, every_number(figures) + every_number(decisions)))
    assert decisions.keys() == figures.keys()
    json.dumps([figures, decisions], allow_nan=False)


@no_deadline
@given(any_column)
def test_a_column_has_not_drifted_from_itself(column: tuple[drift.Kind, Any, Any]) -> None:
    kind, baseline, _ = column
    assert one(drift.Column(kind, baseline).compare(baseline)) is not True
