"""Count values as the ledger counts them: in the bins that every histogram has.

Sums are rounded to nine digits, so that the last bit of an addition does not change a file.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

from functions.shared.evaluation.bins import bin_of, calibration_bin_of, confidence_bin_of

MAX_CATEGORIES = 100
"""How many values of a text feature are counted by name, the most frequent. The rest is counted as an empty text."""

MAX_CHARACTERS = 100
"""How many characters of a text it is counted by."""

_LARGEST = 1e100  # a number beyond this counts as this: its square must be one, too

_LEAST_PROBABILITY = 2.220446049250313e-16  # as scikit-learn's log_loss: the logarithm of 0 has no value


def rounded(value: float) -> float:
    """Round to nine digits."""
    return float(f"{value:.9g}")


def _bounded(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)


def _in_order(bins: Counter[int]) -> dict[str, int]:
    return {str(number): bins[number] for number in sorted(bins)}


@dataclass
class Numbers:
    """Numbers in log-linear bins. What is missing or not finite has none; one beyond 1e100 counts as 1e100."""

    values: list[float] = field(default_factory=list)
    missing: int = 0
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, value: float | None) -> None:
        """Count a number; None if it is missing."""
        number = None if value is None else bin_of(value)
        if value is None or number is None:
            self.missing += 1
            return
        self.values.append(_bounded(value))
        self.bins[number] += 1

    def counts(self) -> dict[str, object]:
        """Return the counts as JSON has them."""
        return {
            "n": len(self.values),
            "sum": rounded(math.fsum(self.values)),
            "squares": rounded(math.fsum(value * value for value in self.values)),
            "missing": self.missing,
            "bins": _in_order(self.bins),
        }


@dataclass
class Categories:
    """Texts, or truth values, each counted by itself."""

    texts: Counter[str] = field(default_factory=Counter)
    missing: int = 0

    def add(self, value: str | None) -> None:
        """Count a text; None if it is missing."""
        if value is None:
            self.missing += 1
        else:
            self.texts[value[:MAX_CHARACTERS]] += 1

    def counts(self) -> dict[str, object]:
        """Return the counts as JSON has them."""
        ordered = sorted(self.texts, key=lambda text: (-self.texts[text], text))
        kept = {text: self.texts[text] for text in ordered[:MAX_CATEGORIES]}
        rest = sum(self.texts[text] for text in ordered[MAX_CATEGORIES:])
        if rest:
            kept[""] = kept.get("", 0) + rest
        return {"n": self.texts.total(), "missing": self.missing, "categories": kept}


@dataclass
class Confidences:
    """Confidences in bins of equal width."""

    values: list[float] = field(default_factory=list)
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count a confidence."""
        number = confidence_bin_of(value)
        if number is not None:
            self.values.append(value)
            self.bins[number] += 1

    def counts(self) -> dict[str, object]:
        """Return the counts as JSON has them."""
        return {"n": len(self.values), "sum": rounded(math.fsum(self.values)), "bins": _in_order(self.bins)}


@dataclass
class Classes:
    """What a classifier was right about, as the ledger counts it of predictions with a ground truth."""

    confusion: dict[str, Counter[str]] = field(default_factory=dict)
    log_losses: list[float] = field(default_factory=list)
    briers: list[float] = field(default_factory=list)
    calibration: dict[int, list[float]] = field(default_factory=dict)
    correct: int = 0
    wrong: int = 0

    def add(self, label: str, truth: str, confidence: float | None, shares: dict[str, float]) -> None:
        """Count a prediction. `shares` are the probabilities of the labels; empty if they are not known."""
        self.confusion.setdefault(truth, Counter())[label] += 1
        right = label == truth
        self.correct, self.wrong = self.correct + right, self.wrong + (not right)
        number = None if confidence is None else calibration_bin_of(confidence)
        if confidence is not None and number is not None:
            one = self.calibration.setdefault(number, [0, 0.0, 0])
            one[0], one[1], one[2] = one[0] + 1, one[1] + confidence, one[2] + right
        if truth in shares:
            self.log_losses.append(-math.log(max(shares[truth], _LEAST_PROBABILITY)))
            self.briers.append(math.fsum((share - (name == truth)) ** 2 for name, share in shares.items()))

    def measures(self) -> dict[str, dict[str, object]]:
        """Return the counts by measure."""
        bins = {
            str(number): {"n": n, "confidence": confidence, "correct": correct}
            for number, (n, confidence, correct) in sorted(self.calibration.items())
        }
        return {
            "judged": {"judged": self.correct + self.wrong, "correct": self.correct, "wrong": self.wrong},
            "confusion": {truth: dict(labels) for truth, labels in self.confusion.items()},
            "calibration": {"bins": bins},
            "log_loss": {"n": len(self.log_losses), "sum": math.fsum(self.log_losses)},
            "brier": {"n": len(self.briers), "sum": math.fsum(self.briers)},
        }


@dataclass
class Residuals:
    """By how much numbers were off: what was predicted less what is true."""

    pairs: list[tuple[float, float]] = field(default_factory=list)
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, predicted: float, truth: float) -> None:
        """Count a prediction."""
        number = bin_of(predicted - truth)
        if number is not None:
            self.pairs.append((_bounded(predicted), _bounded(truth)))
            self.bins[number] += 1

    def counts(self) -> dict[str, object]:
        """Return the counts as the ledger has them."""
        residuals = [predicted - truth for predicted, truth in self.pairs]
        truths = [truth for _, truth in self.pairs]
        return {
            "n": len(residuals),
            "sum": math.fsum(residuals),
            "absolute": math.fsum(map(abs, residuals)),
            "squares": math.fsum(residual * residual for residual in residuals),
            "truth": math.fsum(truths),
            "truth_squares": math.fsum(truth * truth for truth in truths),
            "bins": _in_order(self.bins),
        }
