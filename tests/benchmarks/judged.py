"""Judge and watch the shipped models with the real data: `python -m tests.benchmarks.judged --idx-folder FOLDER`.

It goes the ways of `tests/functions/test_journeys.py` with all 5,000 digits of MNIST that the model was not trained on,
and prints what it found:

- the figures of the digits, whose labels are uploaded as CSV by `inference_id`, against scikit-learn's;
- the drift of 30 days of them against the package's own baseline, and of three further days on which each looked
  different; and of 30 days against the first 1,000, which are in no window;
- the drift of patients of whom one feature has moved by a standard deviation, for each feature.

The exit status is 1 if a figure differs, more than one of 30 unchanged days is told, or a changed one is not.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.rollups import RollingLedger
from functions.shared.log import logger
from infra.migrations import upgrade
from local.services.postgres import EmbeddedPostgres
from model_artifacts.errors import IdxError
from model_artifacts.patients import FEATURE_NAMES, read_patients
from tests.benchmarks.measure import ROOT, machine
from tests.benchmarks.ten_million import make_database
from tests.support.database import Query
from tests.support.event_transport import EventTransport, forget_environment
from tests.support.judging import (
    CHANGES,
    DIABETES,
    MNIST,
    Digits,
    compare_with_scikit_learn,
    drifted,
    held_out_digits,
    midnight,
    move_to,
    performance,
    post_digits,
    post_rows,
    upload_labels,
)

DAYS: Final = 30
MOST_FALSE_ALARMS: Final = 1
_DAY: Final = timedelta(days=1)


class Ledger:
    """An API with a database of its own.

    Parameters
    ----------
    url
        The database's URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.api = httpx.Client(transport=EventTransport(), base_url="https://api.example", timeout=600)
        self._connection = Connection(parse_database_url(url), longest=600)
        self.query: Query = lambda sql, **values: self._connection.run(sql, values, keep=False)

    def roll_up(self) -> None:
        """Make every roll-up that is due."""
        ledger = RollingLedger.at(self._url, longest=600)
        while ledger.roll_up().left:
            pass
        ledger.close()

    def close(self) -> None:
        """Close the connections."""
        self.api.close()
        self._connection.close()


@contextmanager
def ledger(server: EmbeddedPostgres, name: str, model: str) -> Iterator[Ledger]:
    """Serve a shipped model with an empty database."""
    url = make_database(server, name)
    upgrade(url)
    os.environ |= {"DATABASE_URL": url, "MODEL": str(ROOT / "model_artifacts" / model), "LOG_LEVEL": "ERROR"}
    forget_environment()
    served = Ledger(url)
    try:
        yield served
    finally:
        served.close()
        forget_environment()


def judge(served: Ledger, images: Digits, labels: list[str]) -> None:
    """Compare the figures of digits with those of scikit-learn, before and after their hours are rolled up."""
    ids = [f"digit {number}" for number in range(len(images))]
    began = time.monotonic()
    predicted = post_digits(served.api, images, ids)
    posted = time.monotonic()
    for first in range(0, len(ids), 500):  # 10 days
        move_to(served.query, predicted.ids[first : first + 500], midnight(1 + first // 500))
    moved = time.monotonic()
    upload_labels(served.api, ids, labels)
    print(f"{len(ids)} posted in {posted - began:.1f} s, labels uploaded in {time.monotonic() - moved:.1f} s")
    for when in ("counted live", "rolled up"):
        found = performance(served.api, MNIST)
        compare_with_scikit_learn(found, predicted, labels)
        told = found["classification"]
        error = found["calibration"]["expected_calibration_error"]
        print(
            f"{when}: accuracy {told['accuracy']}, {told['count'] - told['correct']} wrong, expected calibration "
            f"error {error:.6f}, log loss {found['log_loss']:.6f}: as scikit-learn has it"
        )
        served.roll_up()


def watch_digits(served: Ledger, images: Digits, *, against_first: bool) -> bool:
    """Tell drift of 30 unchanged days and of three changed ones, and return whether it was told as it should be."""
    first = midnight(DAYS + len(CHANGES) + 1)
    rest = images
    if against_first:
        move_to(served.query, post_digits(served.api, images[:1000]).ids, first - _DAY)
        rest = images[1000:]
    a_day = len(rest) // (DAYS + len(CHANGES))
    for day in range(DAYS + len(CHANGES)):
        some = rest[day * a_day : (day + 1) * a_day]
        if day >= DAYS:
            some = list(CHANGES.values())[day - DAYS](some)
        move_to(served.query, post_digits(served.api, some).ids, first + day * _DAY)
    served.roll_up()
    baseline = {"baseline": "first"} if against_first else {}
    told = drifted(served.api, MNIST, first, first + (DAYS + len(CHANGES)) * _DAY, **baseline)
    alarms = [columns for columns in told[:DAYS] if columns]
    against = "the first 1,000" if against_first else "the package's baseline"
    print(
        f"against {against}, {a_day} digits a day: {len(alarms)} false alarms on {DAYS} unchanged days {alarms or ''}"
    )
    for change, columns in zip(CHANGES, told[DAYS:], strict=True):
        print(f"  {change}: {', '.join(columns) or 'NOT TOLD'}")
    return len(alarms) <= MOST_FALSE_ALARMS and all(told[DAYS:])


def watch_patients(served: Ledger) -> bool:
    """Move each feature by a standard deviation on a day of its own, and return whether it was told of none but it."""
    rows, _ = read_patients()
    first = midnight(len(FEATURE_NAMES) + 2)
    move_to(served.query, post_rows(served.api, rows).ids, first)
    for number in range(len(FEATURE_NAMES)):
        shifted = rows.copy()
        shifted[:, number] += np.std(rows[:, number])
        move_to(served.query, post_rows(served.api, shifted).ids, first + (number + 1) * _DAY)
    served.roll_up()
    unchanged, *changed = drifted(served.api, DIABETES, first, first + (len(FEATURE_NAMES) + 1) * _DAY)
    print(f"{len(rows)} patients, unchanged: {', '.join(unchanged) or 'no drift'}")
    right = not unchanged
    for name, columns in zip(FEATURE_NAMES, changed, strict=True):
        print(f"  {name} + 1 standard deviation: {', '.join(columns) or 'NOT TOLD'}")
        # What is predicted changes with a feature that it depends on: that is no mistake.
        right = right and [column for column in columns if column != "value"] == [f"feature:{name}"]
    return right


def main() -> int:
    """Run the command line, and return 0 if everything is as it should be, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.judged", description=__doc__)
    parser.add_argument("--idx-folder", type=Path, required=True, help="with MNIST's training images and labels")
    folder = parser.parse_args().idx_folder
    try:
        images, labels = held_out_digits(folder)
    except IdxError as error:
        parser.error(str(error))
    print(machine(), flush=True)
    logger.configure("judged", "ERROR")
    order = np.random.default_rng(3).permutation(len(images))
    images, labels = images[order], [labels[at] for at in order]
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-judged-") as data:
        server = EmbeddedPostgres(Path(data), durable=False)
        server.start()
        with ledger(server, "judged", "mnist") as served:
            judge(served, images, labels)
        right = []
        for against_first in (False, True):
            with ledger(server, f"watched_{against_first:d}", "mnist") as served:
                right.append(watch_digits(served, images, against_first=against_first))
        with ledger(server, "patients", "diabetes") as served:
            right.append(watch_patients(served))
        server.stop()
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
