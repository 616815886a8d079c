"""What is told of a model's performance equals scikit-learn's and SciPy's figures on the same predictions."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import calibration as sklearn_calibration
from sklearn import metrics

from functions.shared.evaluation import bins, performance
from tests.support.properties import no_deadline

pytestmark = pytest.mark.slow

EXACT = 1e-12
DIGITS = [str(digit) for digit in range(10)]
counted = st.integers(0, 50)
a_label = st.sampled_from(["cat", "dog", "eel", ""])
judged = st.lists(st.tuples(a_label, a_label), min_size=1, max_size=60)


def confusion_of(truths: Sequence[str], predicted: Sequence[str]) -> dict[str, dict[str, int]]:
    confusion: dict[str, dict[str, int]] = {}
    for truth, label in zip(truths, predicted, strict=True):
        row = confusion.setdefault(truth, {})
        row[label] = row.get(label, 0) + 1
    return confusion


def digits(count: int, right: float, seed: int = 1) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(seed)
    truths = random.integers(0, 10, count)
    predicted = np.where(random.random(count) < right, truths, random.integers(0, 10, count))
    return [str(truth) for truth in truths], [str(label) for label in predicted]


@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@no_deadline
@given(judged)
def test_the_scores_of_labels_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    truths, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = performance.classification(confusion_of(truths, predicted))
    labels = found["confusion_matrix"]["labels"]
    assert labels == sorted({*truths, *predicted})
    assert found["confusion_matrix"]["matrix"] == metrics.confusion_matrix(truths, predicted, labels=labels).tolist()
    assert found["accuracy"] == metrics.accuracy_score(truths, predicted)
    of_labels = metrics.precision_recall_fscore_support(truths, predicted, labels=labels, zero_division=0)
    for name, expected in zip(("precision", "recall", "f1", "support"), of_labels, strict=True):
        assert [dict(scores)[name] for scores in found["classes"]] == pytest.approx(list(expected), abs=EXACT)
    averages: tuple[Literal["macro", "weighted"], ...] = ("macro", "weighted")
    for average in averages:
        scores = metrics.precision_recall_fscore_support(truths, predicted, average=average, zero_division=0)
        assert list((found[average] or {}).values()) == pytest.approx(scores[:3], abs=EXACT)


def test_five_thousand_digits_have_the_accuracy_of_scikit_learn_to_the_last_digit() -> None:
    truths, predicted = digits(5000, right=0.97)
    found = performance.classification(confusion_of(truths, predicted), DIGITS)
    assert found["accuracy"] == metrics.accuracy_score(truths, predicted)
    assert found["confusion_matrix"]["matrix"] == metrics.confusion_matrix(truths, predicted, labels=DIGITS).tolist()


def test_labels_keep_the_order_of_the_model_and_those_never_seen_change_no_average() -> None:
    confusion = {"b": {"b": 3, "a": 1}, "zebra": {"b": 1}}
    found = performance.classification(confusion, ["b", "unseen", "a"])
    assert found["confusion_matrix"]["labels"] == ["b", "unseen", "a", "zebra"]
    assert found["confusion_matrix"]["matrix"] == [[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert found["macro"] == performance.classification(confusion)["macro"]
    assert [scores["support"] for scores in found["classes"]] == [4, 0, 0, 1]
    assert [scores["predicted"] for scores in found["classes"]] == [4, 0, 1, 0]


def test_nothing_judged_has_no_accuracy() -> None:
    found = performance.classification({}, ["a", "b"])
    assert (found["count"], found["correct"]) == (0, 0)
    assert [found["accuracy"], found["accuracy_interval"], found["macro"], found["weighted"]] == [None] * 4
    assert found["confusion_matrix"] == {"labels": ["a", "b"], "matrix": [[0, 0], [0, 0]], "labels_left_out": 0}


def test_a_matrix_is_made_of_the_most_frequent_labels_alone() -> None:
    labels = [str(number) for number in range(1000)]
    confusion = {label: {label: number} for number, label in enumerate(labels) if number}

    found = performance.classification(confusion, labels)

    assert len(found["classes"]) == 1000
    assert found["confusion_matrix"]["labels"] == labels[800:]
    assert [row[at] for at, row in enumerate(found["confusion_matrix"]["matrix"])] == list(range(800, 1000))
    assert found["confusion_matrix"]["labels_left_out"] == 800


@no_deadline
@given(st.integers(1, 10**7), st.floats(0, 1))
def test_the_interval_of_an_accuracy_is_wilsons(count: int, share: float) -> None:
    successes = round(count * share)
    expected = stats.binomtest(successes, count).proportion_ci(method="wilson")
    found = performance.wilson_interval(successes, count)
    assert found is not None
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high), abs=EXACT)
    assert 0 <= found["low"] <= successes / count <= found["high"] <= 1


def test_without_a_trial_there_is_no_interval() -> None:
    assert performance.wilson_interval(0, 0) is None


def test_log_loss_and_brier_score_of_many_labels_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(2)
    probabilities = random.dirichlet(np.full(10, 0.2), 500)
    truths = random.integers(0, 10, 500)
    probabilities[0] = np.eye(10)[(truths[0] + 1) % 10]  # certain, and wrong
    of_truth = probabilities[np.arange(500), truths]
    losses = -np.log(np.maximum(of_truth, performance.SMALLEST_PROBABILITY))
    expected = metrics.log_loss(truths, probabilities, labels=range(10))
    assert performance.log_loss(float(losses.sum()), 500) == pytest.approx(expected, rel=1e-9)
    squares = ((probabilities - np.eye(10)[truths]) ** 2).sum()
    expected = metrics.brier_score_loss(truths, probabilities, labels=range(10))
    assert performance.brier_score(float(squares), 500, 10) == pytest.approx(expected, rel=1e-9)


def test_the_brier_score_of_two_labels_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(3)
    probability, truth = random.random(300), random.integers(0, 2, 300)
    squares = 2 * ((probability - truth) ** 2).sum()
    expected = metrics.brier_score_loss(truth, probability)
    assert performance.brier_score(float(squares), 300, 2) == pytest.approx(expected, rel=1e-9)
    assert performance.brier_score(float(squares), 300, 0) == pytest.approx(2 * expected, rel=1e-9)


@pytest.mark.parametrize("score", [performance.log_loss, lambda total, n: performance.brier_score(total, n, 2)])
def test_no_prediction_has_no_score(score: Any) -> None:
    assert score(0.0, 0) is None


def calibration_counts(confidences: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    found: dict[str, dict[str, float]] = {}
    for confidence, correct in zip(confidences, right, strict=True):
        sums = found.setdefault(str(bins.calibration_bin_of(confidence)), {"n": 0, "confidence": 0.0, "correct": 0})
        sums["n"] += 1
        sums["confidence"] += confidence
        sums["correct"] += bool(correct)
    return {"bins": found}


@no_deadline
@given(st.lists(st.tuples(st.floats(0, 1) | st.sampled_from([0.2, 0.4, 0.6, 0.8, 1.0]), st.booleans()), min_size=1))
def test_a_calibration_is_that_of_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    confidences, right = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    found = performance.calibration(calibration_counts(confidences.tolist(), right.tolist()))
    both = np.append(right, [True, False]), np.append(confidences, [1.0, 1.0])  # it wants both, so the last bin differs
    accuracy, confidence = sklearn_calibration.calibration_curve(*both, n_bins=bins.CALIBRATION_BINS)
    filled = [each for each in found["bins"][:-1] if each["count"]]
    assert [each["accuracy"] for each in filled] == pytest.approx(accuracy[:-1].tolist(), abs=EXACT)
    assert [each["confidence"] for each in filled] == pytest.approx(confidence[:-1].tolist(), abs=EXACT)
    edges = np.linspace(0, 1, bins.CALIBRATION_BINS + 1)
    places = np.searchsorted(edges[1:-1], confidences)
    error = sum(
        abs(right[places == place].mean() - confidences[places == place].mean()) * (places == place).mean()
        for place in set(places)
    )
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-9)
    assert found["count"] == len(pairs)


def test_an_empty_calibration_has_all_its_bins_and_no_error() -> None:
    found = performance.calibration({})
    assert found["expected_calibration_error"] is None
    assert len(found["bins"]) == bins.CALIBRATION_BINS
    assert {each["accuracy"] for each in found["bins"]} == {None}


def residual_counts(truths: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> dict[str, Any]:
    residuals = predicted - truths
    histogram: dict[str, int] = {}
    for residual in residuals.tolist():
        number = str(bins.bin_of(residual))
        histogram[number] = histogram.get(number, 0) + 1
    return {
        "n": len(truths),
        "sum": float(residuals.sum()),
        "absolute": float(np.abs(residuals).sum()),
        "squares": float((residuals**2).sum()),
        "truth": float(truths.sum()),
        "truth_squares": float((truths**2).sum()),
        "bins": histogram,
    }


@pytest.mark.parametrize("count", [2, 3, 100, 442])
@pytest.mark.parametrize("level", [0.0, 152.0, -4e4])
def test_the_errors_of_a_regression_are_those_of_scikit_learn(count: int, level: float) -> None:
    random = np.random.default_rng(count)
    truths = random.normal(level, 77, count)
    predicted = truths + random.normal(3, 54, count)
    found = performance.regression(residual_counts(truths, predicted))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truths, predicted), rel=1e-9)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truths, predicted), rel=1e-9)
    assert found["r2"] == pytest.approx(metrics.r2_score(truths, predicted), rel=1e-9, abs=1e-9)
    assert found["bias"] == pytest.approx(float((predicted - truths).mean()), rel=1e-9)
    for name, share in performance.RESIDUAL_QUANTILES.items():
        expected = float(np.quantile(predicted - truths, share, method="inverted_cdf"))
        assert found["residual_quantiles"] is not None
        assert found["residual_quantiles"][name] == pytest.approx(expected, rel=0.01)


def test_a_regression_without_what_a_figure_needs_has_none() -> None:
    assert performance.regression({}) == {
        "count": 0,
        "mae": None,
        "rmse": None,
        "r2": None,
        "bias": None,
        "residual_quantiles": None,
    }
    one = performance.regression(residual_counts(np.array([7.0]), np.array([9.0])))
    assert (one["mae"], one["bias"], one["r2"]) == (2.0, 2.0, None)
    constant = performance.regression(residual_counts(np.full(9, 0.1), np.linspace(0, 1, 9)))
    assert constant["r2"] is None


@pytest.mark.parametrize(
    ("size", "error", "p50"),
    [
        (1e15, 1e13, None),
        (1e-11, 1e-12, None),
        (1.0, 1e-16, 0.0),
        (1e12, 1e11, pytest.approx(1e11, rel=0.01)),
    ],
)
def test_residuals_that_the_bins_cannot_tell_have_no_quantiles(size: float, error: float, p50: float | None) -> None:
    truths = np.linspace(1, 2, 9) * size
    told = performance.regression(residual_counts(truths, truths + error))["residual_quantiles"]
    assert (told and told["p50"]) == p50


@no_deadline
@given(counted, counted)
def test_mcnemars_test_is_that_of_scipy(only_first: int, only_second: int) -> None:
    found = performance.mcnemar(only_first, only_second)
    different = only_first + only_second
    if different < 25:
        expected = stats.binomtest(only_first, different, 0.5).pvalue if different else 1.0
        assert (found["method"], found["statistic"]) == ("exact", min(only_first, only_second))
    else:
        expected = stats.chi2.sf(max(abs(only_first - only_second) - 1, 0) ** 2 / different, 1)
        assert found["method"] == "chi_squared"
    assert found["pvalue"] == pytest.approx(float(expected), rel=1e-9)


def test_versions_that_are_equally_good_do_not_differ() -> None:
    for each in (0, 1, 12, 13, 1_000_000):
        assert performance.mcnemar(each, each)["pvalue"] == 1


def test_coverage_is_the_share_that_has_a_truth() -> None:
    assert performance.coverage(3, 4) == {"count": 4, "judged": 3, "share": 0.75}
    assert performance.coverage(0, 0) == {"count": 0, "judged": 0, "share": None}


def test_a_version_has_a_figure_of_each_measure_that_was_counted() -> None:
    truths, predicted = digits(100, right=0.9)
    measures: dict[str, Any] = {
        "judged": {"judged": 100, "correct": 90, "wrong": 10},
        "confusion": confusion_of(truths, predicted),
        "log_loss": {"n": 100, "sum": 20.0},
        "brier": {"n": 100, "sum": 15.0},
        "calibration": calibration_counts([0.9] * 100, [True] * 90 + [False] * 10),
    }
    found = performance.summarize(measures, 200, DIGITS)
    assert found["coverage"]["share"] == 0.5
    assert found["classification"]["confusion_matrix"]["labels"] == DIGITS
    assert (found["log_loss"], found["brier_score"]) == (0.2, 0.15)
    assert found["calibration"]["expected_calibration_error"] == pytest.approx(0)
    assert "regression" not in found
    assert "targets" not in found
    assert performance.summarize(measures, 200, ["0", "1"])["brier_score"] == 0.075


def test_each_of_several_targets_has_its_figures_in_their_order() -> None:
    counts = residual_counts(np.array([1.0, 2.0]), np.array([2.0, 2.0]))
    measures: dict[str, Any] = {f"residual:{target}": counts for target in (10, 2, 0)} | {
        "confusion:1": {"a": {"a": 1}}
    }
    found = performance.summarize(measures, 2)
    assert list(found["targets"]) == ["0", "1", "2", "10"]
    assert found["targets"]["2"]["regression"]["mae"] == 0.5
    assert found["targets"]["1"]["classification"]["accuracy"] == 1
    assert "regression" not in found


def test_a_version_that_nobody_judged_has_its_coverage_alone() -> None:
    assert performance.summarize({}, 7) == {"coverage": {"count": 7, "judged": 0, "share": 0.0}}


def every_number(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in every_number(each)]
    if isinstance(value, list):
        return [number for each in value for number in every_number(each)]
    return [float(value)] if isinstance(value, int | float) else []


a_sum = st.floats(-1e300, 1e300)
sizes = st.integers(0, 10**12)
histogram = st.dictionaries(st.integers(-bins.LAST, bins.LAST).map(str), sizes, max_size=20)
any_measures = st.fixed_dictionaries(
    {},
    optional={
        "judged": st.fixed_dictionaries({}, optional={"judged": sizes}),
        "confusion": st.dictionaries(st.text(max_size=2), st.dictionaries(st.text(max_size=2), sizes)),
        "log_loss": st.fixed_dictionaries({}, optional={"n": sizes, "sum": a_sum}),
        "brier": st.fixed_dictionaries({}, optional={"n": sizes, "sum": a_sum}),
        "calibration": st.fixed_dictionaries(
            {},
            optional={
                "bins": st.dictionaries(
                    st.integers(0, 14).map(str),
                    st.fixed_dictionaries({"n": sizes, "confidence": a_sum, "correct": sizes}),
                )
            },
        ),
        "residual": st.fixed_dictionaries(
            {},
            optional={
                "n": sizes,
                "sum": a_sum,
                "absolute": a_sum,
                "squares": a_sum | st.just(math.inf),
                "truth": a_sum,
                "truth_squares": a_sum,
                "bins": histogram,
            },
        ),
    },
)


@no_deadline
@given(any_measures, sizes, st.lists(st.text(max_size=2)))
def test_whatever_was_counted_has_an_answer_without_nan(
    measures: dict[str, Any], count: int, labels: list[str]
) -> None:
    assert all(map(math.isfinite, every_number(performance.summarize(measures, count, labels))))
