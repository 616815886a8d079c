"""From the first prediction to the figure that tells of it, with real data and the shipped models.

`python -m tests.benchmarks.judged` goes the same ways with 5,000 digits of MNIST.
"""

from collections.abc import Callable
from datetime import timedelta

import httpx
import numpy as np
import pytest

from functions.shared.ledger.rollups import RollingLedger
from tests.support.database import Query
from tests.support.judging import (
    CHANGES,
    DIABETES,
    MNIST,
    Digits,
    compare_with_scikit_learn,
    drifted,
    midnight,
    move_to,
    performance,
    post_digits,
    post_rows,
    small_digits,
    upload_labels,
)
from tests.support.repository import ROOT

pytestmark = pytest.mark.slow

DIGITS_A_DAY = 100
UNCHANGED_DAYS = 8


def roll_up(database_url: str) -> None:
    """Make every roll-up that is due."""
    ledger = RollingLedger.at(database_url, longest=60)
    while ledger.roll_up(60).left:
        pass
    ledger.close()


def some_digits(first: int, last: int) -> tuple[Digits, list[str]]:
    images, labels = small_digits()
    return images[first:last], labels[first:last]


def test_the_figures_of_digits_whose_labels_are_uploaded_are_those_of_scikit_learn(
    api: httpx.Client,
) -> None:
    images, labels = some_digits(0, 600)
    ids = [f"scan {number}, page 1" for number in range(len(labels))]
    predicted = post_digits(api, images, ids)
    assert predicted.labels != labels, "a model that is never wrong shows little"

    upload_labels(api, ids, labels)

    compare_with_scikit_learn(performance(api, MNIST), predicted, labels)
    # A label that was corrected, or taken back, is one in the figures, too.
    right = [label == truth for label, truth in zip(predicted.labels, labels, strict=True)]
    answer = api.delete(f"/prediction/{predicted.ids[right.index(True)]}/ground_truth")
    assert answer.status_code in {200, 204}, answer.text
    assert performance(api, MNIST)["classification"]["count"] == len(labels) - 1


def test_the_figures_are_the_same_once_their_hours_are_rolled_up(
    api: httpx.Client, database_url: str, query: Query
) -> None:
    images, labels = some_digits(600, 900)
    ids = [f"scan {number}" for number in range(len(labels))]
    predicted = post_digits(api, images, ids)
    move_to(query, predicted.ids[:200], midnight(2) + timedelta(minutes=58))  # of two hours
    move_to(query, predicted.ids[200:], midnight(1))
    roll_up(database_url)
    upload_labels(api, ids, labels)  # which makes these hours be counted anew

    compare_with_scikit_learn(performance(api, MNIST), predicted, labels)
    roll_up(database_url)

    assert query("SELECT count(*) FROM rollups WHERE measure = 'confusion' AND span = 'hour'") == [[3]]
    compare_with_scikit_learn(performance(api, MNIST), predicted, labels)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_digits_that_look_different_from_one_day_on_are_drift_from_that_day_on(
    api: httpx.Client, database_url: str, query: Query, change: str
) -> None:
    images, _ = small_digits()
    first = midnight(UNCHANGED_DAYS + 3)
    baseline = post_digits(api, images[:600])
    move_to(query, baseline.ids, first - timedelta(days=1))
    for day in range(UNCHANGED_DAYS + 2):
        some = images[600 + day * DIGITS_A_DAY : 600 + (day + 1) * DIGITS_A_DAY]
        posted = post_digits(api, some if day < UNCHANGED_DAYS else CHANGES[change](some))
        move_to(query, posted.ids, first + timedelta(days=day))
    roll_up(database_url)

    span = f"{first - timedelta(days=1):%Y-%m-%d}/{first:%Y-%m-%d}"
    told = drifted(api, MNIST, first, first + timedelta(days=UNCHANGED_DAYS + 2), baseline=span)

    assert told[:UNCHANGED_DAYS] == [[]] * UNCHANGED_DAYS
    assert all(told[UNCHANGED_DAYS:])


@pytest.fixture
def patients(environment: pytest.MonkeyPatch, forget: Callable[[], None], api: httpx.Client) -> httpx.Client:
    """The API with the shipped diabetes model."""
    environment.setenv("MODEL", str(ROOT / "model_artifacts" / "diabetes"))
    forget()
    return api


@pytest.mark.parametrize("feature", ["age", "total_cholesterol", "blood_sugar"])
def test_a_feature_that_moves_by_a_standard_deviation_is_told_and_no_other(
    patients: httpx.Client, database_url: str, query: Query, feature: str
) -> None:
    from model_artifacts.patients import FEATURE_NAMES, read_patients

    rows, _ = read_patients()
    chosen = np.random.default_rng(5).permutation(len(rows))[:200]
    shifted = rows[chosen].copy()
    column = FEATURE_NAMES.index(feature)
    shifted[:, column] += rows[:, column].std()
    for days_ago, some in ((3, rows[chosen]), (2, shifted)):
        move_to(query, post_rows(patients, some).ids, midnight(days_ago))
    roll_up(database_url)

    unchanged, changed = drifted(patients, DIABETES, midnight(3), midnight(1))

    assert unchanged == []
    assert changed == [f"feature:{feature}"]
