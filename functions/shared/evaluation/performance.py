"""How right a model is, from counts of its judged predictions.

`summarize` computes all figures of a version from its measures. A figure without a value is None, never NaN.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from functions.shared.evaluation.bins import CALIBRATION_BINS, LAST, SMALLEST, equal_edges, middle, quantiles
from functions.shared.evaluation.distributions import chi_squared_survival, fair_coin_two_sided

NORMAL_975 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: with it an interval covers 95 %."""

SMALLEST_PROBABILITY = 2.220446049250313e-16
"""The smallest probability in a log loss: a smaller one counts as this, as in scikit-learn for 64-bit floats."""

EXACT_BELOW = 25
"""McNemar's test is exact if only one version got fewer inputs than this right."""

RESIDUAL_QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
"""The quantiles of the residuals, by their names."""

MOST_LABELS = 200
"""The most labels in a confusion matrix. It keeps the labels that are the truth most often."""

_CONSTANT = 1e-12
"""A variance below this share of the mean square is a rounding error: the truth is constant."""

Counts = Mapping[str, Any]
"""The counts of one measure, as a rollup has them."""

Confusion = Mapping[str, Mapping[str, int]]
"""How often each label was predicted, by the true label."""


class Interval(TypedDict):
    """An interval that covers the true share with a probability of 95 %."""

    low: float
    high: float


class ClassScores(TypedDict):
    """How right a model is about one label."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


class AverageScores(TypedDict):
    """The averages of the scores of the labels."""

    precision: float
    recall: float
    f1: float


class ConfusionMatrix(TypedDict):
    """How often each label was predicted. A row is a true label, a column a predicted one, in the order of `labels`."""

    labels: list[str]
    matrix: list[list[int]]
    labels_left_out: int


class Classification(TypedDict):
    """How right a classifier is."""

    count: int
    correct: int
    accuracy: float | None
    accuracy_interval: Interval | None
    classes: list[ClassScores]
    macro: AverageScores | None
    weighted: AverageScores | None
    confusion_matrix: ConfusionMatrix


class CalibrationBin(TypedDict):
    """The predictions whose confidence is in one bin."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Calibration(TypedDict):
    """How close a model's confidence is to how often it is right."""

    count: int
    expected_calibration_error: float | None
    bins: list[CalibrationBin]


class Regression(TypedDict):
    """How close a regression is to the truth."""

    count: int
    mae: float | None
    rmse: float | None
    r2: float | None
    bias: float | None
    residual_quantiles: dict[str, float] | None


class Coverage(TypedDict):
    """How many predictions have a ground truth."""

    count: int
    judged: int
    share: float | None


class McNemar(TypedDict):
    """Whether one of two versions is right more often than the other about the same inputs."""

    only_first: int
    only_second: int
    statistic: float
    pvalue: float
    method: Literal["exact", "chi_squared"]


class Performance(TypedDict, total=False):
    """All figures of a version. A figure is absent if its measure was never counted."""

    coverage: Coverage
    classification: Classification
    log_loss: float | None
    brier_score: float | None
    calibration: Calibration
    regression: Regression
    targets: dict[str, "Performance"]


def wilson_interval(successes: int, count: int) -> Interval | None:
    """Return the 95 % interval of a share, or None without a trial.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953, without a continuity correction: it stays within 0
    and 1 and holds for small counts. It is that of `scipy.stats.binomtest(...).proportion_ci(method="wilson")`.
    """
    if count <= 0:
        return None
    square = NORMAL_975 * NORMAL_975
    share = successes / count
    center = (share + square / (2 * count)) / (1 + square / count)
    half = NORMAL_975 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    low = 0.0 if successes == 0 else max(center - half, 0.0)
    high = 1.0 if successes == count else min(center + half, 1.0)
    return Interval(low=low, high=high)


def classification(confusion: Confusion, labels: Sequence[str] | None = None) -> Classification:
    """Return the scores of a classifier, as scikit-learn's `precision_recall_fscore_support` does.

    Precision, recall and F1 are 0 where they would divide by 0, as with scikit-learn's default `zero_division`;
    `support` and `predicted` then show that it was 0 out of 0. The averages are over the labels that occur as a truth
    or a prediction, `weighted` by the support. All are None without a prediction.

    Parameters
    ----------
    confusion : Mapping[str, Mapping[str, int]]
        How often each label was predicted, by the true label.
    labels : Sequence[str], optional
        The labels that the model knows, in its order. They come first, seen or not; other labels follow in the order of
        their text.
    """
    predicted: dict[str, int] = {}
    support: dict[str, int] = {}
    for truth, row in confusion.items():
        support[truth] = sum(row.values())
        for label, count in row.items():
            predicted[label] = predicted.get(label, 0) + count
    known = list(dict.fromkeys(labels or ()))
    ordered = known + sorted((support.keys() | predicted.keys()) - set(known))
    count = sum(support.values())
    correct = sum(row.get(truth, 0) for truth, row in confusion.items())
    classes = [
        _scores(label, confusion.get(label, {}).get(label, 0), support.get(label, 0), predicted.get(label, 0))
        for label in ordered
    ]
    seen = [scores for scores in classes if scores["support"] or scores["predicted"]]
    return Classification(
        count=count,
        correct=correct,
        accuracy=_ratio(correct, count),
        accuracy_interval=wilson_interval(correct, count),
        classes=classes,
        macro=_average(seen, [1] * len(seen)),
        weighted=_average(seen, [scores["support"] for scores in seen]),
        confusion_matrix=_matrix(confusion, ordered, support),
    )


def _matrix(confusion: Confusion, labels: Sequence[str], support: Mapping[str, int]) -> ConfusionMatrix:
    """Return the matrix of at most `MOST_LABELS` labels: that of 20,000 would have 400 million cells."""
    frequent = sorted(range(len(labels)), key=lambda number: -support.get(labels[number], 0))
    kept = [labels[number] for number in sorted(frequent[:MOST_LABELS])]
    return ConfusionMatrix(
        labels=kept,
        matrix=[[confusion.get(truth, {}).get(label, 0) for label in kept] for truth in kept],
        labels_left_out=len(labels) - len(kept),
    )


def log_loss(total: float, count: int) -> float | None:
    """Return the mean of -log(p), where p is the probability of the true label, or None without a prediction.

    The logarithm is natural, as in scikit-learn's `log_loss`. A probability counts as at least `SMALLEST_PROBABILITY`.
    """
    return _ratio(total, count)


def brier_score(total: float, count: int, classes: int) -> float | None:
    """Return the Brier score; None without a prediction.

    The total is that of Brier 1950, over all labels: sum((p_k - y_k)**2), where y_k is 1 for the true label and
    otherwise 0. So the score is between 0 and 2. With two labels both terms are equal, and the score is half of it,
    between 0 and 1. It is scikit-learn's `brier_score_loss`, whose `scale_by_half` does the same by default.

    Parameters
    ----------
    total : float
        The sum over the predictions.
    count : int
        The number of predictions.
    classes : int
        The number of labels that the model knows, or 0 if that is not known: the score is then not halved.
    """
    score = _ratio(total, count)
    return score / 2 if score is not None and classes == 2 else score


def calibration(counts: Counts) -> Calibration:
    """Return the expected calibration error and the bins that it is made of.

    The error is the mean distance of the accuracy from the mean confidence, over `CALIBRATION_BINS` bins of equal
    width, weighted by how many predictions a bin has: Guo et al. 2017, https://proceedings.mlr.press/v70/guo17a.html.
    The means of a bin are those of scikit-learn's `calibration_curve`.

    Parameters
    ----------
    counts : Mapping
        `{"bins": {number: {"n", "confidence", "correct"}}}`, where the last two are sums.
    """
    found: Mapping[str, Mapping[str, float]] = counts.get("bins", {})
    bins = []
    total, error = 0, 0.0
    for number in range(CALIBRATION_BINS):
        sums = found.get(str(number), {})
        count, confidence, correct = int(sums.get("n", 0)), sums.get("confidence", 0.0), sums.get("correct", 0)
        low, high = equal_edges(number, CALIBRATION_BINS)
        bins.append(
            CalibrationBin(
                low=low,
                high=high,
                count=count,
                confidence=_ratio(confidence, count),
                accuracy=_ratio(correct, count),
            )
        )
        if count > 0:
            total += count
            error += abs(correct - confidence)
    return Calibration(count=total, expected_calibration_error=_ratio(error, total), bins=bins)


def regression(counts: Counts) -> Regression:
    """Return how close a regression is to the truth. A residual is the prediction minus the truth.

    `mae` is the mean absolute residual, `rmse` the root of the mean square, `bias` the mean. `r2` is
    1 - sum(residual**2) / sum((truth - mean(truth))**2), as scikit-learn's `r2_score`, and None for fewer than two
    predictions or a constant truth. A residual quantile is within 1 % of a residual that occurred, or 0 for one below
    1e-9. There is none if the bins cannot tell: one beyond 1e12 is in the last bin, and those of tiny truths are all 0.

    Parameters
    ----------
    counts : Mapping
        `{"n", "sum", "absolute", "squares", "truth", "truth_squares", "bins"}`: sums over the residuals and the
        truths, and the log-linear histogram of the residuals.
    """
    count = int(counts.get("n", 0))
    squares = counts.get("squares", 0.0)
    mean_square = _ratio(squares, count)
    truth, truth_squares = counts.get("truth", 0.0), counts.get("truth_squares", 0.0)
    spread = truth_squares - truth * truth / count if count > 1 else 0.0
    varies = spread > max(_CONSTANT * truth_squares, 0.0)
    bins = counts.get("bins", {})
    values = quantiles(bins, RESIDUAL_QUANTILES.values())
    told = {name: value for name, value in zip(RESIDUAL_QUANTILES, values, strict=True) if value is not None}
    are_huge = any(abs(value) >= middle(LAST) for value in told.values())
    are_tiny = set(bins) == {"0"} and squares > SMALLEST * SMALLEST * truth_squares
    if are_huge or are_tiny:
        told = {}
    return Regression(
        count=count,
        mae=_ratio(counts.get("absolute", 0.0), count),
        rmse=math.sqrt(mean_square) if mean_square is not None and mean_square >= 0 else None,
        r2=finite(1 - squares / spread) if varies else None,
        bias=_ratio(counts.get("sum", 0.0), count),
        residual_quantiles=told or None,
    )


def coverage(judged: int, count: int) -> Coverage:
    """Return how many of the predictions have a ground truth."""
    return Coverage(count=count, judged=judged, share=_ratio(judged, count))


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Return McNemar's test of two versions that predicted the same inputs.

    McNemar 1947, https://doi.org/10.1007/BF02295996. If the versions are equally good, the predictions that only one
    of them got right are like tosses of a fair coin. For fewer than `EXACT_BELOW` of them the p-value is that
    of the exact binomial test, and the statistic is the smaller count. Otherwise the statistic is max(abs(b - c) - 1,
    0)**2 / (b + c), chi-squared with one degree of freedom: Edwards 1948's continuity correction.

    Parameters
    ----------
    only_first, only_second : int
        How many inputs only the first version got right, and how many only the second.
    """
    different = only_first + only_second
    if different < EXACT_BELOW:
        return McNemar(
            only_first=only_first,
            only_second=only_second,
            statistic=float(min(only_first, only_second)),
            pvalue=fair_coin_two_sided(only_first, only_second),
            method="exact",
        )
    distance = max(abs(only_first - only_second) - 1, 0)
    statistic = distance * distance / different
    return McNemar(
        only_first=only_first,
        only_second=only_second,
        statistic=statistic,
        pvalue=chi_squared_survival(statistic, 1),
        method="chi_squared",
    )


def summarize(measures: Mapping[str, Counts], count: int, labels: Sequence[str] | None = None) -> Performance:
    """Return all figures of a version.

    Parameters
    ----------
    measures : Mapping[str, Mapping]
        The counts of each measure. `residual:0` and the like belong to one of several targets; `targets` of the answer
        has the figures of each.
    count : int
        How many predictions the version has made, judged or not.
    labels : Sequence[str], optional
        The labels that the model knows, in its order.
    """
    of_target: dict[str, dict[str, Counts]] = {}
    for measure, counts in measures.items():
        name, _, target = measure.partition(":")
        of_target.setdefault(target, {})[name] = counts
    found = _figures(of_target.pop("", {}), labels)
    found["coverage"] = coverage(int(measures.get("judged", {}).get("judged", 0)), count)
    targets = {target: _figures(counts, labels) for target, counts in sorted(of_target.items(), key=_in_order)}
    shown = {target: figures for target, figures in targets.items() if figures}
    if shown:
        found["targets"] = shown
    return found


def finite(value: float) -> float | None:
    """Return a figure, or None if it is infinite or not a number: JSON has neither."""
    return value if math.isfinite(value) else None


def _figures(measures: Mapping[str, Counts], labels: Sequence[str] | None) -> Performance:
    found = Performance()
    if "confusion" in measures:
        found["classification"] = classification(measures["confusion"], labels)
    if "log_loss" in measures:
        sums = measures["log_loss"]
        found["log_loss"] = log_loss(sums.get("sum", 0.0), sums.get("n", 0))
    if "brier" in measures:
        sums = measures["brier"]
        found["brier_score"] = brier_score(sums.get("sum", 0.0), sums.get("n", 0), len(set(labels or ())))
    if "calibration" in measures:
        found["calibration"] = calibration(measures["calibration"])
    if "residual" in measures:
        found["regression"] = regression(measures["residual"])
    return found


def _scores(label: str, hits: int, support: int, predicted: int) -> ClassScores:
    return ClassScores(
        label=label,
        precision=hits / predicted if predicted else 0.0,
        recall=hits / support if support else 0.0,
        f1=2 * hits / (support + predicted) if support + predicted else 0.0,
        support=support,
        predicted=predicted,
    )


def _average(classes: Iterable[ClassScores], weights: Sequence[int]) -> AverageScores | None:
    total = sum(weights)
    if not total:
        return None
    sums = [0.0, 0.0, 0.0]
    for scores, weight in zip(classes, weights, strict=True):
        sums[0] += scores["precision"] * weight
        sums[1] += scores["recall"] * weight
        sums[2] += scores["f1"] * weight
    return AverageScores(precision=sums[0] / total, recall=sums[1] / total, f1=sums[2] / total)


def _in_order(item: tuple[str, object]) -> tuple[int, str]:
    return len(item[0]), item[0]


def _ratio(total: float, count: int) -> float | None:
    return finite(total / count) if count > 0 else None
