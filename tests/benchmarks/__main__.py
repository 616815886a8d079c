"""`python -m tests.benchmarks [--only NAME]` runs benchmarks, prints a table and, if it ran all, saves the figures."""

import argparse
import importlib
import os
import sys
import time
from functools import partial

from tests.benchmarks.child import ChildError
from tests.benchmarks.measure import Row, machine
from tests.benchmarks.pictures import draw
from tests.benchmarks.report import RESULTS, print_table, write_results

BENCHMARKS = {
    "warm": "single requests, pages and batches in process, over the bare work",
    "round_trips": "round trips to the database per stored prediction",
    "cold_start": "a fresh interpreter to the first response",
    "memory": "resident memory after 10,000 requests",
    "worker": "asynchronous predictions over single requests",
    "served": "the local server under load, over the plain Keras app",
    "batching": "the batching server under load, over what one writes by hand, LitServe and BentoML",
}


def main() -> int:
    """Run the chosen benchmarks and return 0 if every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="run only this benchmark; may be repeated")
    names = parser.parse_args().only or list(BENCHMARKS)
    print(machine(), flush=True)
    measured: dict[str, list[Row]] = {}
    failed: list[str] = []
    for name in names:
        began = time.monotonic()
        _say(f"[{name}] {BENCHMARKS[name]} (load {os.getloadavg()[0]:.1f})")
        benchmark = importlib.import_module(f"tests.benchmarks.{name}")
        try:
            measured[name] = benchmark.rows(partial(_progress, name))
        except ChildError as error:
            _say(f"[{name}] not measured: {error}")
            failed.append(name)
        _say(f"[{name}] took {time.monotonic() - began:.0f} s")
    rows = [row for own in measured.values() for row in own]
    print_table(rows)
    if len(names) == len(BENCHMARKS) and not failed:
        from tests.benchmarks.batching import write

        write(measured.pop("batching"))
        others = [row.to_json() for some in measured.values() for row in some]
        write_results("bench", {"machine": machine(), "rows": others, "cold_start_ms": _stages()})
        print(f"written: {RESULTS / 'bench.json'}", *draw(), sep="\n")
    if failed:
        print(f"not measured: {', '.join(failed)}")
    return 0 if not failed and all(row.passed for row in rows) else 1


def _stages() -> dict[str, dict[str, float]]:
    from tests.benchmarks.cold_start import stages

    return stages(partial(_progress, "where a cold start goes"))


def _progress(name: str, line: str) -> None:
    _say(f"[{name}] {line}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
