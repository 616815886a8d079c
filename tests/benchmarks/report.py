"""Show the results as a table, and save them as a file for the pictures."""

import json
import re
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measure import Row

RESULTS: Final = Path(__file__).parent / "results"
"""The folder with a file of results for each command."""

README: Final = RESULTS.parent / "README.md"
"""The page with a table for each command."""


def print_table(rows: list[Row]) -> None:
    """Print a line for each ratio and, below it, the figures that it is made of."""
    width = max((len(row.what) for row in rows), default=0)
    for row in rows:
        bound = f"{'<=' if row.at_most else '>='} {row.target:g}"
        print(f"{row.what:<{width}} {row.measured:8.3f}  {bound:<7} {'pass' if row.passed else 'MISS'}")
        if row.parts:
            print("    " + ", ".join(f"{name} {value:g}" for name, value in row.parts.items()))


def table(rows: list[Row]) -> str:
    """Return the ratios as a table in Markdown."""
    lines = ["| what | target | measured | made of |", "| --- | --- | --- | --- |"]
    for row in rows:
        bound = f"{'<=' if row.at_most else '>='} {row.target:g}"
        measured = f"{row.measured:.3g}" if row.passed else f"**{row.measured:.3g}**"
        parts = ", ".join(f"{name} {value:g}" for name, value in row.parts.items())
        lines.append(f"| {row.what} | {bound} | {measured} | {parts} |")
    return "\n".join(lines)


def write_results(name: str, results: dict[str, Any]) -> None:
    """Write results to a file."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")


def write_table(command: str, machine: str, rows: list[Row]) -> None:
    """Replace the table of a command in the README.

    Parameters
    ----------
    command
        The command, as the line above its table has it.
    machine
        What the figures were measured on.
    rows
        The ratios.
    """
    text = README.read_text()
    found = re.search(rf"^`{re.escape(command)}`, on (.*?\n\n(?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None, f"the README has no table of {command}"
    README.write_text(f"{text[: found.start(1)]}{machine}:\n\n{table(rows)}\n{text[found.end(1) :]}")


def read_results(name: str) -> dict[str, Any]:
    """Read results from a file."""
    results: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return results
