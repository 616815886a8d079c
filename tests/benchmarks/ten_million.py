"""Time what the API answers over the number of predictions: `python -m tests.benchmarks.ten_million`.

Databases of 10,000, 100,000, a million and ten million predictions of 90 days are asked in turn, each by functions in a
process of its own, from the event to the answer. The roll-ups of their hours are made by the function `rollup`. The
parts, if not all:

- `lists`: pages, filters, one record and storing one, at the most predictions over 10,000.
- `figures`: statistics, performance and drift, at the most predictions over 100,000.
- `truths`: a ground truth of 10,000 in one request over one by itself, at the most predictions.
- `hour`: the roll-up of an hour of 100,000 predictions, of digits and of diabetes.
- `warm`: `POST /prediction` of this version over that of the commit that `--base` names.

With ten million, the databases take 13 GB of disk, in the folder for temporary files or in `--folder`; the command
removes them at the end.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal
from urllib.parse import urlencode
from uuid import UUID

from functions.shared.ledger.cursor import encode_cursor
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.driver import NativeSession
from functions.shared.ledger.login import start_session
from infra.migrations import upgrade
from local.services.postgres import ROLE, EmbeddedPostgres
from tests.benchmarks.child import function_environment
from tests.benchmarks.digits import digits, event, form_event
from tests.benchmarks.filled import LABELS, USERS, Filled
from tests.benchmarks.function_child import FunctionChild, FunctionError, Took
from tests.benchmarks.measure import ROOT, Row, in_turn, machine
from tests.benchmarks.pictures import draw
from tests.benchmarks.report import print_table, write_results, write_table

MOST: Final = 10_000_000
SIZES: Final = (10_000, 100_000, 1_000_000)
"""The predictions of the smaller databases. Lists are compared with the first, figures with the second."""

TARGET: Final = 1.5
MOST_MS: Final = 100.0
DAYS: Final = 90
TRUTHS: Final = 10_000
HOUR: Final = 100_000
"""Predictions of the hour that is rolled up."""

SECONDS: Final = 4.0  # for each question, at all sizes together
PAGE: Final = 50
DEEP_PAGE, DEEP_PAGE_LENGTH = 1000, 10
PAIRS: Final = 3000
ROUNDS: Final = 5
COMMAND: Final = "python -m tests.benchmarks.ten_million"
PARTS: Final = ("lists", "figures", "truths", "hour", "warm")

_AHEAD: Final = timedelta(hours=2)
"""How far the predictions go on after now, so that there are some in the open hour however long the filling takes."""

_SAMPLE: Final = 2000

Ask = Callable[[], float]
"""Asks a question once, and returns the milliseconds that the answer took."""


class Questions:
    """What a ledger is asked.

    Parameters
    ----------
    filled
        The ledger's database.
    child
        The functions, in a process of their own.
    """

    def __init__(self, filled: Filled, child: FunctionChild) -> None:
        self._filled, self._child = filled, child
        self._choose = random.Random(filled.rows)
        [[deep]] = filled.ask(
            "SELECT prediction_id FROM predictions ORDER BY prediction_id DESC OFFSET :skipped LIMIT 1",
            skipped=(DEEP_PAGE - 1) * DEEP_PAGE_LENGTH - 1,
        )
        self._deep = encode_cursor(UUID(str(deep)))
        chosen = [f"order-{self._choose.randrange(filled.rows)}" for _ in range(_SAMPLE)]
        self._inference_ids = cycle(chosen)
        found = filled.ask("SELECT prediction_id FROM predictions WHERE inference_id = ANY (:chosen)", chosen=chosen)
        self._ids = cycle([str(one) for [one] in found])
        self._digits = cycle(form_event("/prediction", image) for image in digits())
        self._before_last = filled.since + (filled.until - filled.since) * 0.9

    @property
    def lists(self) -> dict[str, Ask]:
        """Pages, filters, one record and storing one."""
        return {
            "GET /predictions, the first page": lambda: self._list(),
            f"GET /predictions, page {DEEP_PAGE:,} of {DEEP_PAGE_LENGTH}": lambda: self._list(
                limit=DEEP_PAGE_LENGTH, cursor=self._deep
            ),
            "GET /predictions of a user": lambda: self._list(user_id=f"user-{self._choose.randrange(USERS):03d}"),
            "GET /predictions with a label": lambda: self._list(label=self._choose.choice(LABELS)),
            "GET /predictions of a time": self._of_time,
            "GET /predictions with correct=false": lambda: self._list(correct="false"),
            "GET /predictions with an inference_id": lambda: self._list(inference_id=next(self._inference_ids)),
            "GET /predictions with order=confidence": lambda: self._list(order="confidence"),
            "GET /prediction/{id}": self._one,
            "POST /prediction": self._store,
        }

    @property
    def figures(self) -> dict[str, Ask]:
        """Statistics, performance and drift, each from the beginning of a day until this moment."""
        version = "/models/mnist/versions/1"
        return {
            f"GET /statistics of {DAYS} days": lambda: self._figure("/statistics", DAYS),
            f"GET /statistics of {DAYS} days by label": lambda: self._figure("/statistics", DAYS, group_by="label"),
            f"GET …/performance of {DAYS} days": lambda: self._figure(f"{version}/performance", DAYS),
            f"GET …/performance of {DAYS} days, each by itself": lambda: self._figure(
                f"{version}/performance", DAYS, interval="day"
            ),
            "GET …/drift of 30 days, each by itself": lambda: self._figure(f"{version}/drift", 30, window="day"),
        }

    def _list(self, **wanted: object) -> float:
        query = urlencode({"limit": PAGE, **wanted}).encode()
        return self._child.ask("list_predictions", event("GET", "/predictions", query=query)).ms

    def _of_time(self) -> float:
        """List those of a time with two pages of predictions."""
        two_pages = (self._filled.until - self._filled.since) / self._filled.rows * 2 * PAGE
        until = self._filled.since + (self._before_last - self._filled.since) * self._choose.uniform(0.1, 1)
        return self._list(since=(until - two_pages).isoformat(), until=until.isoformat())

    def _one(self) -> float:
        own = next(self._ids)
        path = {"route_key": "GET /prediction/{prediction_id}", "path_parameters": {"prediction_id": own}}
        return self._child.ask("get_prediction", event("GET", f"/prediction/{own}", **path)).ms  # type: ignore[arg-type]

    def _store(self) -> float:
        return self._child.ask("predict", next(self._digits), status=201).ms

    def _figure(self, path: str, days: int, **wanted: object) -> float:
        query = {"since": (datetime.now(UTC) - timedelta(days=days)).date().isoformat(), **wanted}
        return self._child.ask("statistics", event("GET", path, query=urlencode(query).encode(), **_model(path))).ms


def _model(path: str) -> dict[str, Any]:
    """Return the route of a path of a model's version."""
    if not path.startswith("/models/"):
        return {}
    _, _, name, _, version, what = path.split("/")
    route = f"GET /models/{{name}}/versions/{{version}}/{what}"
    return {"route_key": route, "path_parameters": {"name": name, "version": version}}


class Benchmark:
    """Databases of all sizes, and what was measured of them.

    Parameters
    ----------
    server
        Where the databases are made.
    most
        The predictions of the largest.
    parts
        What to measure.
    """

    def __init__(self, server: EmbeddedPostgres, most: int, parts: Sequence[str]) -> None:
        self._server = server
        self._most = most
        self._parts = parts
        self._sizes = (*(size for size in SIZES if size < most), most)
        self._filled: dict[int, Filled] = {}
        self._hours: dict[str, Filled] = {}
        self.rows: list[Row] = []
        self.latency: dict[str, dict[str, float]] = {}
        self.failed: list[str] = []
        self.rolled_seconds = 0.0

    def fill(self) -> None:
        """Make the databases. They need not survive a crash of the machine meanwhile."""
        now = datetime.now(UTC)
        if {"lists", "figures", "truths"} & set(self._parts):
            for size in self._sizes:
                filled = self._make(f"of_{size}", size, now - timedelta(days=DAYS), now + _AHEAD)
                self._filled[size] = filled
                self._register_and_fill(filled, "mnist")
        if "hour" in self._parts:
            hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
            for model in ("mnist", "diabetes"):
                filled = self._make(f"hour_of_{model}", HOUR, hour, hour + timedelta(hours=1))
                self._register_and_fill(filled, model)
                self._hours[model] = filled

    def roll_up(self) -> None:
        """Make the roll-ups of the largest database and of those that its figures are compared with."""
        if "figures" in self._parts:
            for filled in self._filled.values():
                began = time.monotonic()
                with _functions(filled) as child:
                    hours = _roll_up(child)
                self.rolled_seconds = time.monotonic() - began
                _say(f"rolled {hours} hours of {filled.rows:,} predictions up in {self.rolled_seconds:.0f} s")

    def measure(self) -> None:
        """Measure the parts."""
        if "hour" in self._parts:
            self._try("hour", self._time_hours)
        with contextlib.ExitStack() as children:
            asked = {
                size: Questions(filled, children.enter_context(_functions(filled)))
                for size, filled in self._filled.items()
            }
            if "lists" in self._parts:
                for what in asked[self._most].lists:
                    self._try(what, partial(self._time_list, asked, what))
            if "figures" in self._parts:
                compared = {size: questions for size, questions in asked.items() if size >= min(SIZES[1], self._most)}
                for what in asked[self._most].figures:
                    self._try(what, partial(self._time_figure, compared, what))
        if "truths" in self._parts:
            self._try("truths", lambda: self._time_truths(self._filled[self._most]))

    def _try(self, what: str, measure: Callable[[], None]) -> None:
        """Measure, and go on with the others if a function does not answer as it should."""
        try:
            measure()
        except FunctionError as error:
            _say(f"{what}: not measured: {error}")
            self.failed.append(what)

    def _time_list(self, asked: Mapping[int, Questions], what: str) -> None:
        calls = {size: questions.lists[what] for size, questions in asked.items()}
        self.latency[what] = {str(size): ms for size, ms in self._compare(what, calls, SIZES[0]).items()}

    def _time_figure(self, asked: Mapping[int, Questions], what: str) -> None:
        calls = {size: questions.figures[what] for size, questions in asked.items()}
        took = self._compare(what, calls, SIZES[1])[self._most]
        self.rows.append(Row(f"{what} at {self._most:,} predictions: milliseconds (p50)", took, MOST_MS))

    def _compare(self, what: str, calls: Mapping[int, Ask], few: int) -> dict[int, float]:
        in_turn(0.5, *calls.values(), least=3)
        took = [round(median(own), 4) for own in in_turn(SECONDS, *calls.values(), least=15)]
        medians = dict(zip(calls, took, strict=True))
        _say(f"{what}: " + ", ".join(f"{ms:.3f} ms at {size:,}" for size, ms in medians.items()))
        parts = {f"ms_at_{size}": ms for size, ms in medians.items()}
        few = min(few, self._most)
        ratio = medians[self._most] / medians[few]
        self.rows.append(Row(f"{what} at {self._most:,} predictions over {few:,} (p50)", ratio, TARGET, parts=parts))
        return medians

    def _time_truths(self, filled: Filled) -> None:
        ids = [
            str(one)
            for [one] in filled.ask(
                "SELECT prediction_id FROM predictions WHERE created_at < now() ORDER BY prediction_id DESC LIMIT :n",
                n=min(TRUTHS, filled.rows),
            )
        ]
        together, single = [], []
        with _functions(filled) as child:
            for number in range(ROUNDS):  # another value each time, or nothing would be written
                items = [{"prediction_id": own, "label": str(number)} for own in ids]
                many = event("POST", "/ground_truth", **_json({"items": items}))
                together.append(child.ask("ground_truth", many).ms)
                _say(f"{len(ids):,} ground truths in one request: {together[-1]:.0f} ms")
                puts = [_put_truth(own, str(number + 1)) for own in ids[:200]]
                single += [child.ask("ground_truth", put).ms for put in puts]
        parts = {"request_ms": round(median(together), 1), "single_ms": round(median(single), 3)}
        self.rows.append(
            Row(
                f"one of {len(ids):,} ground truths in a request over a PUT, at {filled.rows:,} predictions (p50)",
                median(together) / len(ids) / median(single),
                0.05,
                parts=parts,
            )
        )

    def _time_hours(self) -> None:
        for model, filled in self._hours.items():
            took = []
            with _functions(filled) as child:
                child.ask("rollup", {}, status=None)  # connects, and prepares the statements
                for _ in range(ROUNDS):
                    filled.ask("DELETE FROM rollups")
                    filled.ask("DELETE FROM rolled_until")
                    took.append(child.ask("rollup", {}, status=None).ms / 1000)
            what = f"rolling up an hour of {filled.rows:,} predictions of {model}: seconds (p50)"
            self.rows.append(Row(what, median(took), 2, parts={"fastest_s": round(min(took), 3)}))

    def _register_and_fill(self, filled: Filled, model: Literal["mnist", "diabetes"]) -> None:
        with _functions(filled, model) as child:
            body: dict[str, Any] = {"features": [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87]}
            first = event("POST", "/prediction", **_json(body)) if model == "diabetes" else None
            child.ask("predict", first or form_event("/prediction", digits()[0]), status=201)
        filled.ask("TRUNCATE predictions, inputs CASCADE")
        filled.fill(model)

    def _make(self, name: str, rows: int, since: datetime, until: datetime) -> Filled:
        url = make_database(self._server, name)
        upgrade(url)
        return Filled(url, in_database(self._server.superuser_url, name), rows, since, until)


def _put_truth(own: str, label: str) -> dict[str, Any]:
    return event(
        "PUT",
        f"/prediction/{own}/ground_truth",
        route_key="PUT /prediction/{prediction_id}/ground_truth",
        path_parameters={"prediction_id": own},
        **_json({"label": label}),
    )


def _json(body: object) -> dict[str, Any]:
    return {"headers": [(b"content-type", b"application/json")], "body": json.dumps(body).encode()}


@contextlib.contextmanager
def _functions(filled: Filled, model: str = "mnist") -> Iterator[FunctionChild]:
    environment = function_environment(filled.url) | {"MODEL": str(ROOT / "model_artifacts" / model)}
    with FunctionChild(environment, ROOT) as child:
        yield child


def _roll_up(child: FunctionChild) -> int:
    """Call the function until nothing is left, and return how many hours it has rolled up."""
    hours, left = 0, True
    while left:
        rolled = child.ask("rollup", {}, status=None, answer=True).answer
        hours, left = hours + rolled["hours"], rolled["left"]
    return hours


def compare_with_base(server: EmbeddedPostgres, base: str, folder: Path) -> list[Row]:
    """Time warm requests of this version and of an earlier one in turn, each with a database of its own.

    Parameters
    ----------
    server
        Where the databases are made.
    base
        The earlier commit.
    folder
        Where to check it out.
    """
    checkout = folder / "base"
    subprocess.run(["git", "worktree", "add", "--detach", "--quiet", checkout, base], cwd=ROOT, check=True)
    try:
        with contextlib.ExitStack() as children:
            versions = {}
            for name, root in (("before", checkout), ("after", ROOT)):
                url = make_database(server, name)
                subprocess.run(
                    [sys.executable, "-m", "infra.migrations", "upgrade"], cwd=root, check=True, env=_at(url)
                )
                environment = function_environment(url) | {"MODEL": str(root / "model_artifacts" / "mnist")}
                versions[name] = children.enter_context(FunctionChild(environment, root))
            return _pairs(base, versions)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", checkout], cwd=ROOT, check=True)


def _at(url: str) -> dict[str, str]:
    return {name: value for name, value in function_environment(url).items() if name != "PYTHONPATH"}


def _pairs(base: str, versions: Mapping[str, FunctionChild]) -> list[Row]:
    requests = cycle([form_event("/prediction", image) for image in digits()])
    took: dict[str, list[Took]] = {name: [] for name in versions}
    names = list(versions)
    for number in range(PAIRS + 200):
        request = next(requests)
        for name in names if number % 2 else reversed(names):  # who comes second finds warmer caches
            own = versions[name].ask("predict", request, status=201)
            if number >= 200:
                took[name].append(own)
    rows = []
    for what, member in (("clock", "ms"), ("processor time", "processor_ms")):
        before, after = (median(getattr(one, member) for one in took[name]) for name in ("before", "after"))
        parts = {"before_ms": round(before, 4), "after_ms": round(after, 4)}
        rows.append(
            Row(f"warm POST /prediction over that of {base}, by {what} (p50)", after / before, 1.02, parts=parts)
        )
    return rows


def make_database(server: EmbeddedPostgres, name: str) -> str:
    """Make an empty database of the ledger's role, and return its URL."""
    session, _ = start_session(NativeSession, parse_database_url(server.superuser_url))
    session.run(f"CREATE DATABASE {name} OWNER {ROLE}")
    session.close()
    return in_database(server.url, name)


def in_database(url: str, database: str) -> str:
    """Return the URL of another database of the same server."""
    before, _, options = url.partition("?")
    return f"{before.rpartition('/')[0]}/{database}?{options}"


def run(folder: Path, most: int, parts: Sequence[str], base: str | None) -> dict[str, Any]:
    """Fill the databases, measure, and return the results.

    Parameters
    ----------
    folder
        The folder for the databases.
    most
        The predictions in the largest database.
    parts
        What to measure.
    base
        The commit that warm requests are compared with; None compares with none.
    """
    databases = folder / "databases"
    server = EmbeddedPostgres(databases, durable=False)  # only while rows are made
    server.start()
    began = time.monotonic()
    benchmark = Benchmark(server, most, parts)
    benchmark.fill()
    benchmark.roll_up()
    filled_seconds = time.monotonic() - began
    server.stop()
    server = EmbeddedPostgres(databases)
    server.start()
    rows = compare_with_base(server, base, folder) if base and "warm" in parts else []
    benchmark.measure()
    size = sum(file.stat().st_size for file in databases.rglob("*") if file.is_file())
    server.stop()
    return {
        "rows": [row.to_json() for row in (*benchmark.rows, *rows)],
        "latency_ms": {what: benchmark.latency[what] for what in benchmark.latency if what not in _NOT_DRAWN},
        "failed": benchmark.failed,
        "disk_bytes": size,
        "filled_seconds": round(filled_seconds),
    }


def main() -> int:
    """Run the command line and return 0 if every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=MOST, help="predictions in the largest database")
    parser.add_argument("--folder", type=Path, help="where to make a folder for the databases")
    parser.add_argument("--base", help="the commit that warm requests are compared with")
    parser.add_argument("--write", action="store_true", help="write the figures, of all parts and ten million")
    chosen = parser.parse_args()
    parts = chosen.parts or PARTS
    for unknown in sorted(set(parts) - set(PARTS)):
        parser.error(f"{unknown}: there are {', '.join(PARTS)}")
    if chosen.write and (chosen.rows != MOST or set(parts) != set(PARTS) or chosen.base is None):
        parser.error(f"--write needs all parts, --base, and {MOST:,} predictions")
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-", dir=chosen.folder) as folder:
        results = run(Path(folder), chosen.rows, parts, chosen.base)
    rows = [Row.from_json(row) for row in results["rows"]]
    print_table(rows)
    print(f"on disk: {results['disk_bytes'] / 1e9:.1f} GB, filled in {results['filled_seconds']} s")
    if results["failed"]:
        print(f"not measured: {', '.join(results['failed'])}")
    if chosen.write:
        results = {"machine": machine(), **results}
        write_results("ten_million", results)
        write_table(COMMAND, f"{results['machine']}, {results['disk_bytes'] / 1e9:.1f} GB on disk", rows)
        print(*draw(), sep="\n")
    return 0 if not results["failed"] and all(row.passed for row in rows) else 1


_NOT_DRAWN: Final = ("GET /predictions of a user", "GET /predictions of a time")
"""Left out of the picture, which has colours for eight questions."""


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
