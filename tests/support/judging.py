"""Send a model real data, say later what was right, and compare the figures with those of scikit-learn.

What is compared is the same for a few hundred digits in the tests and for thousands in `tests.benchmarks.judged`.
"""

import base64
import csv
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from functions.shared.ledger.identifiers import first_id_at
from tests.support.database import Query

Digits = NDArray[np.uint8]
"""Images, [N, 28, 28]: 0 is background, 255 is ink."""

MNIST: Final = "/models/mnist/versions/1"
DIABETES: Final = "/models/diabetes/versions/1"

_AT_ONCE: Final = 100  # inputs of a request
_INK: Final = 20  # the edge of the square that MNIST fits its digits in
_EDGE: Final = 28
_DAY: Final = timedelta(days=1)
_HELD_OUT: Final = 12  # one in so many was left out when the shipped model was trained


@cache
def small_digits() -> tuple[Digits, list[str]]:
    """Return the 1,797 digits that scikit-learn has in it, in MNIST's form: 20 pixels high, centred by their mass.

    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998. The model
    has seen none of them, and is right about 97 of 100. They are shuffled: there, each writer's follow each other.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.zeros((len(found.images), _EDGE, _EDGE), np.uint8)
    for image, small in zip(images, found.images, strict=True):
        pixels = (small * 255 / 16).round().astype(np.uint8)
        ink = np.asarray(Image.fromarray(pixels).resize((_INK, _INK), Image.Resampling.BICUBIC))
        middle = [int((ink * place).sum() / ink.sum() + 0.5) for place in np.mgrid[:_INK, :_INK]]
        top, left = (min(max(_EDGE // 2 - at, 0), _EDGE - _INK) for at in middle)
        image[top : top + _INK, left : left + _INK] = ink
    order = np.random.default_rng(11).permutation(len(images))
    return images[order], [str(label) for label in found.target[order]]


def held_out_digits(idx_folder: Path) -> tuple[Digits, list[str]]:
    """Return the 5,000 of MNIST's training images that the shipped model was not trained on."""
    from model_artifacts.idx import read_digits
    from model_artifacts.split import split

    images, labels = read_digits(idx_folder)
    _, held_out = split(len(images), _HELD_OUT)
    return images[held_out], [str(label) for label in labels[held_out]]


def inverted(images: Digits) -> Digits:
    """Return dark ink on a light ground. The model is as right about them, so that only the pictures tell."""
    return 255 - images


def blurred(images: Digits) -> Digits:
    """Return them out of focus."""
    return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(2)))


def rotated(images: Digits) -> Digits:
    """Return them lying on their side."""
    return _each(images, lambda image: image.rotate(90))


CHANGES: Final[Mapping[str, Callable[[Digits], Digits]]] = {
    "inverted": inverted,
    "blurred": blurred,
    "rotated": rotated,
}


def _each(images: Digits, change: Callable[[Image.Image], Image.Image]) -> Digits:
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


@dataclass(frozen=True)
class Predicted:
    """What was predicted.

    Attributes
    ----------
    ids
        The ids of the predictions, in the order sent.
    labels, confidences, scores
        What the model said of each. Empty for a regression.
    """

    ids: list[str]
    labels: list[str]
    confidences: list[float]
    scores: list[list[float]]


def post_digits(
    api: httpx.Client, images: Digits, inference_ids: Sequence[str] | None = None, **members: object
) -> Predicted:
    """Have digits predicted, in batches, with these members beside the instances of each."""
    instances = [{"image": _data_uri(image)} for image in images]
    return _post(api, instances, inference_ids, **members)


def post_rows(api: httpx.Client, rows: NDArray[np.float64], inference_ids: Sequence[str] | None = None) -> Predicted:
    """Have rows of features predicted, in batches."""
    return _post(api, [{"features": row} for row in rows.tolist()], inference_ids)


def _post(
    api: httpx.Client, instances: Sequence[dict[str, Any]], inference_ids: Sequence[str] | None, **members: object
) -> Predicted:
    if inference_ids is not None:
        pairs = zip(instances, inference_ids, strict=True)
        instances = [instance | {"inference_id": own} for instance, own in pairs]
    records: list[dict[str, Any]] = []
    for first in range(0, len(instances), _AT_ONCE):
        answer = api.post("/predictions", json={"instances": instances[first : first + _AT_ONCE], **members})
        assert answer.status_code == 201, answer.text
        records += answer.json()["predictions"]
    classified = [record for record in records if "label" in record]
    return Predicted(
        [record["prediction_id"] for record in records],
        [record["label"] for record in classified],
        [record["confidence"] for record in classified],
        [record["prediction"] for record in classified],
    )


def _data_uri(image: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def upload_labels(api: httpx.Client, inference_ids: Sequence[str], labels: Sequence[str]) -> None:
    """Say what was right of all, as CSV by `inference_id`."""
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(("inference_id", "label"))
    rows.writerows(zip(inference_ids, labels, strict=True))
    answer = api.post("/ground_truth", content=file.getvalue(), headers={"content-type": "text/csv"})
    assert answer.status_code == 200, answer.text


def move_to(query: Query, ids: Sequence[str], start: datetime) -> None:
    """Have predictions been made from a time on, a second after each other, as if they had been posted then."""
    for number, own in enumerate(ids):
        moment = start + timedelta(seconds=number)
        moved = UUID(int=first_id_at(moment).int | UUID(own).int & 0x3FFF_FFFF_FFFF_FFFF)
        query(
            "UPDATE predictions SET prediction_id = :moved, created_at = :moment WHERE prediction_id = :own",
            moved=moved,
            moment=moment,
            own=UUID(own),
        )


@cache
def _today() -> datetime:
    """Return when this day began, the same for a whole run: what was seeded before midnight is looked for after it."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def midnight(days_ago: int) -> datetime:
    """Return when a day began, in UTC."""
    return _today() - days_ago * _DAY


def performance(api: httpx.Client, model: str) -> dict[str, Any]:
    """Return the figures of a version of the last 30 days."""
    answer = api.get(f"{model}/performance")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def drifted(api: httpx.Client, model: str, since: datetime, until: datetime, **query: str) -> list[list[str]]:
    """Return the columns that drifted on each day."""
    answer = api.get(
        f"{model}/drift", params={"since": since.isoformat(), "until": until.isoformat(), "window": "day", **query}
    )
    assert answer.status_code == 200, answer.text
    windows = answer.json()["windows"]
    assert [window["starts_at"][:10] for window in windows] == [
        f"{since + day * _DAY:%Y-%m-%d}" for day in range((until - since) // _DAY)
    ]
    assert all(window["drift"] is not None for window in windows), "a day has too few predictions to tell"
    return [window["drifted"] for window in windows]


def compare_with_scikit_learn(found: Mapping[str, Any], predicted: Predicted, truths: Sequence[str]) -> None:
    """Compare the figures of a version with those that scikit-learn has of the same arrays.

    Raises
    ------
    AssertionError
        If one differs: counts and ratios of counts in any bit, a mean of numbers in its 13th digit. In which order they
        are added decides about those behind it.
    """
    from sklearn import metrics
    from sklearn.calibration import calibration_curve

    names = [str(digit) for digit in range(10)]
    told = found["classification"]
    assert told["count"] == found["coverage"]["judged"] == len(truths)
    assert told["accuracy"] == metrics.accuracy_score(truths, predicted.labels)
    assert told["confusion_matrix"]["labels"] == names
    expected = metrics.confusion_matrix(truths, predicted.labels, labels=names)
    assert told["confusion_matrix"]["matrix"] == expected.tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truths, predicted.labels, labels=names)
    for scores, *own in zip(told["classes"], precision, recall, f1, support, strict=True):
        assert [scores["precision"], scores["recall"], scores["f1"], scores["support"]] == own
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The y_prob values do not sum to one")  # they are of 32 bits
        _same(found["log_loss"], metrics.log_loss(truths, predicted.scores, labels=names))
    right = [label == truth for label, truth in zip(predicted.labels, truths, strict=True)]
    accuracies, confidences = calibration_curve(right, predicted.confidences, n_bins=len(found["calibration"]["bins"]))
    bins = [one for one in found["calibration"]["bins"] if one["count"]]
    assert [one["accuracy"] for one in bins] == accuracies.tolist()
    for one, confidence in zip(bins, confidences, strict=True):
        _same(one["confidence"], confidence)
    assert sum(one["count"] for one in bins) == len(truths)


def _same(one: float, other: float) -> None:
    assert abs(one - other) <= 1e-13 * abs(other), (one, other)
