"""Compare ten million predictions with ten thousand: `python -m tests.benchmarks.ten_million [--rows N]`.

The command fills one database with 10,000 predictions and another with ten million, by COPY, and times the API's
queries on both in turn, at 100,000 and a million predictions as well. The predictions belong to 100 users and have ten
labels and inputs of 10 bytes. Ten million of them take 8.5 GB of disk, in the folder for temporary files or in
`--folder`; the command removes them at the end.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from functions.shared.ledger.cursor import encode_cursor
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.driver import NativeSession
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.login import start_session
from functions.shared.ledger.records import ModelIdentity, NewInput, NewPrediction, PredictionFilter
from infra.migrations import upgrade
from local.services.postgres import DATABASE, EmbeddedPostgres
from tests.benchmarks.measure import Row, interleave, machine
from tests.benchmarks.pictures import draw
from tests.benchmarks.report import RESULTS, print_table, write_results

FEW: Final = 10_000
SIZES: Final = (100_000, 1_000_000, 10_000_000)
TARGET: Final = 1.5
SECONDS: Final = 4.0  # for each question at each size
PAGE: Final = 50
DEEP_PAGE, DEEP_PAGE_LENGTH = 1000, 10
USERS: Final = 100
LABELS: Final = tuple("0123456789")
MODEL: Final = ModelIdentity("benchmark", "1", "ab" * 32, LABELS, "classification", "CPUExecutionProvider", "{}")
FEATURES: Final = [f"[{number:03d}, 0.5]".replace("[0", "[1") for number in range(1000)]
OUTPUT: Final = [0.01] * 9 + [0.91]

_AT_ONCE: Final = 50_000  # rows of one COPY
_SPACING_MS: Final = 100  # between two predictions
_YEAR_2000_MS: Final = 946_684_800_000  # the epoch of PostgreSQL's binary timestamps
_SAMPLE: Final = 10_000


@dataclass
class Filled:
    """A database filled with predictions.

    Attributes
    ----------
    url
        The database's URL.
    superuser_url
        The URL for a superuser, who may turn off the checks of each row.
    started_ms
        The time of the first prediction, in milliseconds since 1970.
    rows
        The number of predictions.
    """

    url: str
    superuser_url: str
    started_ms: int
    rows: int = 0

    def fill(self, rows: int) -> None:
        """Add predictions until there are this many, and show the progress."""
        session, _ = start_session(NativeSession, parse_database_url(self.superuser_url))
        # Skipping the checks is safe: each prediction is made together with its input, and its model exists.
        session.run("SET session_replication_role = replica")
        [[model_id]] = session.run("SELECT model_id FROM models")
        began, first = time.monotonic(), self.rows
        while self.rows < rows:
            count = min(_AT_ONCE, rows - self.rows)
            inputs, predictions = _generate(self.started_ms, self.rows, count, model_id)
            session.run(f"COPY inputs ({_INPUT_COLUMNS}) FROM STDIN WITH (FORMAT binary)", stream=_copied(inputs))
            session.run(
                f"COPY predictions ({_PREDICTION_COLUMNS}) FROM STDIN WITH (FORMAT binary)", stream=_copied(predictions)
            )
            self.rows += count
            _show(self.rows - first, rows - first, began)
        print(file=sys.stderr)
        session.run("VACUUM ANALYZE")
        session.close()


_INPUT_COLUMNS = "input_id, size, sha256, contenttype, features"
_PREDICTION_COLUMNS = (
    "prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class, status, user_id, label, "
    "predicted_value, output, metadata"
)
_FIXED: Final = {  # values that all rows share, in PostgreSQL's binary formats; jsonb's begins with a version
    "contenttype": b"application/json",
    "status": b"succeeded",
    "output": b"\x01" + str(OUTPUT).encode(),
    "metadata": b"{}",
}


def _row_dtype(*columns: tuple[str, str]) -> np.dtype[Any]:
    """Return a row of COPY's binary format (PostgreSQL, "COPY", "Binary Format"): each field after its length."""
    fields: list[tuple[str, str]] = [("count", ">i2")]
    for name, kind in columns:
        fields += [(f"{name} length", ">i4"), (name, kind)]
    return np.dtype(fields)


_INPUT: Final = _row_dtype(
    ("input_id", "V16"), ("size", ">i8"), ("sha256", "S32"), ("contenttype", "S16"), ("features", "S10")
)
_PREDICTION: Final = _row_dtype(
    ("prediction_id", "V16"),
    ("input_id", "V16"),
    ("model_id", ">i8"),
    ("created_at", ">i8"),
    ("duration_ms", ">f8"),
    ("confidence", ">f8"),
    ("likely_class", ">i4"),
    ("status", "S9"),
    ("user_id", "S8"),
    ("label", "S1"),
    ("predicted_value", "S4"),
    ("output", f"S{len(_FIXED['output'])}"),
    ("metadata", "S2"),
)


def _empty_rows(kind: np.dtype[Any], count: int) -> NDArray[Any]:
    rows = np.zeros(count, kind)
    assert kind.names is not None
    columns = kind.names[2::2]
    rows["count"] = len(columns)
    for column in columns:
        rows[f"{column} length"] = kind[column].itemsize
        if column in _FIXED:
            rows[column] = _FIXED[column]
    return rows


def _generate(started_ms: int, first: int, count: int, model_id: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make `count` predictions from number `first` on, and their inputs. The same numbers give the same rows."""
    noise = np.random.default_rng(first)
    moments = started_ms + np.arange(first, first + count, dtype=np.int64) * _SPACING_MS
    ids = np.zeros(count, np.dtype([("high", ">u8"), ("low", ">u8")]))
    ids["high"] = moments.astype(np.uint64) << np.uint64(16) | np.uint64(0x7000)
    ids["low"] = noise.integers(0, 2**62, count, np.uint64) | np.uint64(2**63)
    inputs, predictions = _empty_rows(_INPUT, count), _empty_rows(_PREDICTION, count)
    for rows in (inputs, predictions):
        rows["input_id"] = ids.view("V16")
    which = noise.integers(0, len(FEATURES), count)
    inputs["size"] = len(FEATURES[0])
    inputs["features"] = np.array(FEATURES, "S10")[which]
    inputs["sha256"] = np.array([sha256(text.encode()).digest() for text in FEATURES], "S32")[which]
    classes = noise.integers(0, len(LABELS), count)
    predictions["prediction_id"] = ids.view("V16")
    predictions["model_id"] = model_id
    predictions["created_at"] = (moments - _YEAR_2000_MS) * 1000
    predictions["duration_ms"] = 0.2
    predictions["confidence"] = noise.random(count)
    predictions["likely_class"] = classes
    predictions["user_id"] = np.array([f"user-{number:03d}" for number in range(USERS)], "S8")[
        noise.integers(0, USERS, count)
    ]
    predictions["label"] = np.array(LABELS, "S1")[classes]
    predictions["predicted_value"] = np.array([f'\x01"{label}"' for label in LABELS], "S4")[classes]
    return inputs, predictions


def _copied(rows: NDArray[Any]) -> Iterator[bytes]:
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    yield rows.tobytes()
    yield b"\xff\xff"


def _show(done: int, of: int, began: float) -> None:
    took = time.monotonic() - began
    bar = "#" * (done * 30 // of)
    left = took / done * (of - done)
    print(f"\r[{bar:<30}] {done:,} of {of:,} rows, {done / took:,.0f}/s, {left:.0f} s left ", end="", file=sys.stderr)
    sys.stderr.flush()


class Questions:
    """The queries that the API sends to a ledger.

    Parameters
    ----------
    filled
        The ledger's database.
    """

    def __init__(self, filled: Filled) -> None:
        self._ledger = Ledger.at(filled.url)
        self._choose = random.Random(filled.rows)
        session, _ = start_session(NativeSession, parse_database_url(filled.url))
        [[deep]] = session.run(
            "SELECT prediction_id FROM predictions ORDER BY prediction_id DESC OFFSET :skipped LIMIT 1",
            skipped=(DEEP_PAGE - 1) * DEEP_PAGE_LENGTH - 1,
        )
        self._deep = encode_cursor(UUID(str(deep)))
        moments = [self._choose.randrange(filled.rows) for _ in range(_SAMPLE)]
        self._times = [
            datetime.fromtimestamp((filled.started_ms + moment * _SPACING_MS) / 1000, UTC) for moment in moments
        ]
        every = max(1, filled.rows // _SAMPLE)
        self._ids = [
            UUID(str(one))
            for [one] in session.run(
                "SELECT prediction_id FROM predictions "
                "WHERE extract(epoch FROM created_at)::bigint * 10 % :every = 0 LIMIT :count",
                every=every,
                count=_SAMPLE,
            )
        ]
        self._choose.shuffle(self._ids)
        session.close()
        self.all: dict[str, Callable[[], object]] = {
            "GET /predictions, the first page": self._first_page,
            f"GET /predictions, page {DEEP_PAGE:,} of {DEEP_PAGE_LENGTH}": self._deep_page,
            "GET /predictions of a user": self._of_user,
            "GET /predictions with a label": self._with_label,
            "GET /predictions of a time": self._of_time,
            "GET /prediction/{id}": self._one,
            "storing a prediction": self._store,
        }

    def _list(self, length: int = PAGE, cursor: str | None = None, **wanted: Any) -> None:
        page = self._ledger.list(PredictionFilter(**wanted), limit=length, cursor=cursor)
        if len(page.records) != length:
            raise RuntimeError(f"{len(page.records)} records on a page of {length}: {wanted}")

    def _first_page(self) -> None:
        self._list()

    def _deep_page(self) -> None:
        self._list(DEEP_PAGE_LENGTH, self._deep)

    def _of_user(self) -> None:
        self._list(user_id=f"user-{self._choose.randrange(USERS):03d}")

    def _with_label(self) -> None:
        self._list(label=self._choose.choice(LABELS))

    def _of_time(self) -> None:
        until = max(self._choose.choice(self._times), self._times_start)
        self._list(since=until - timedelta(minutes=1), until=until)

    @property
    def _times_start(self) -> datetime:
        return min(self._times) + timedelta(minutes=2)

    def _one(self) -> None:
        self._ledger.get(self._choose.choice(self._ids))

    def _store(self) -> None:
        prediction = NewPrediction(
            NewInput(None, "application/json", features=FEATURES[0]),
            OUTPUT,
            likely_class=9,
            label="9",
            confidence=0.91,
            predicted_value="9",
            duration_ms=0.2,
            user_id="user-000",
        )
        self._ledger.store(MODEL, [prediction])

    def close(self) -> None:
        """Close the connection."""
        self._ledger.close()


def measure(few: Filled, many: Filled, seconds: float) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """Ask both databases every question in turn.

    Returns
    -------
    tuple
        A row for each question, and each question's median milliseconds in both databases.
    """
    asked = [Questions(few), Questions(many)]
    rows: list[Row] = []
    medians: dict[str, dict[str, float]] = {}
    for what in asked[0].all:
        calls = [questions.all[what] for questions in asked]
        interleave(0.5, *calls)
        at_few, at_many = (round(median(own), 4) for own in interleave(seconds, *calls))
        medians[what] = {str(few.rows): at_few, str(many.rows): at_many}
        print(f"  {what}: {at_few:.3f} ms, {at_many:.3f} ms", file=sys.stderr)
        parts = {f"ms_at_{few.rows}": at_few, f"ms_at_{many.rows}": at_many}
        rows.append(
            Row(f"{what} at {many.rows:,} predictions over {few.rows:,} (p50)", at_many / at_few, TARGET, parts=parts)
        )
    for questions in asked:
        questions.close()
    return rows, medians


def run(folder: Path, most: int) -> dict[str, Any]:
    """Generate the predictions, measure, and return the results.

    Parameters
    ----------
    folder
        The folder for the databases.
    most
        The number of predictions in the larger database at the end.
    """
    server = EmbeddedPostgres(folder, durable=False)  # only while rows are generated
    url = server.start()
    now_ms = int(time.time() * 1000)
    few, many = (
        Filled(_other(url, name), _other(server.superuser_url, name), now_ms - (rows + 36_000) * _SPACING_MS)
        for name, rows in ((DATABASE, FEW), ("many", most))
    )
    session, _ = start_session(NativeSession, parse_database_url(server.superuser_url))
    session.run("CREATE DATABASE many OWNER ledger")
    session.close()
    for filled in (few, many):
        upgrade(filled.url)
        ledger = Ledger.at(filled.url)
        ledger.register(MODEL)
        ledger.close()
    few.fill(FEW)
    rows: list[Row] = []
    latency: dict[str, dict[str, float]] = {}
    for size in (*(size for size in SIZES if size < most), most):
        many.fill(size)
        server.stop()
        server = EmbeddedPostgres(folder)
        server.start()
        print(f"asking {few.rows:,} and {many.rows:,} predictions", file=sys.stderr)
        rows, measured = measure(few, many, SECONDS)
        for what, by_rows in measured.items():
            latency[what] = {**latency.get(what, {}), **by_rows}
        if size < most:
            server.stop()
            server = EmbeddedPostgres(folder, durable=False)
            server.start()
    size_on_disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    server.stop()
    return {
        "rows": [row.to_json() for row in rows],
        "latency_ms": latency,
        "disk_bytes": size_on_disk,
    }


def _other(url: str, database: str) -> str:
    before, _, options = url.partition("?")
    return f"{before.rpartition('/')[0]}/{database}?{options}"


def main() -> int:
    """Run the command line and return 0 if every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ten_million", description=__doc__)
    parser.add_argument("--rows", type=int, default=SIZES[-1], help="predictions in the larger database")
    parser.add_argument("--folder", type=Path, help="where to make a folder for the databases")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-", dir=arguments.folder) as folder:
        results = run(Path(folder), arguments.rows)
    rows = [Row.from_json(row) for row in results["rows"]]
    print_table(rows)
    print(f"on disk: {results['disk_bytes'] / 1e9:.1f} GB")
    if arguments.rows == SIZES[-1]:
        write_results("ten_million", {"machine": machine(), **results})
        print(f"written: {RESULTS / 'ten_million.json'}", *draw(), sep="\n")
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
