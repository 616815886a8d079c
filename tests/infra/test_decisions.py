"""The pages of docs/decisions name what is there: code, tests, benchmarks and each other."""

import re
from datetime import date
from pathlib import Path

import pytest

from tests.benchmarks.report import RESULTS, read_results

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
INDEX = DECISIONS / "README.md"
PAGES = sorted(set(DECISIONS.glob("*.md")) - {INDEX})


def title(page: Path) -> str:
    """Return the first line of a page."""
    return page.read_text().splitlines()[0].removeprefix("# ")


def test_the_table_lists_every_page_once_by_its_title() -> None:
    listed = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|", INDEX.read_text(), re.MULTILINE)
    assert sorted(listed, key=lambda entry: entry[1]) == [(title(page), page.name) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_it_costs_and_when_to_delete_it(page: Path) -> None:
    text = page.read_text()
    assert re.findall("^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Price", "Measured", "Delete it when"]
    assert date.fromisoformat(re.findall("^Date: (.+)$", text, re.MULTILINE)[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:functions|infra|local|tests)/[\w/]+\.\w+)`", page.read_text())
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_benchmark_of_a_shortcut_is_on_a_page_and_every_one_named_exists() -> None:
    measured = {row["what"] for row in read_results("shortcuts")["rows"]}
    named = {" ".join(what.split()) for page in PAGES for what in re.findall("“(.+?)”", page.read_text(), re.DOTALL)}
    assert named == measured


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_benchmark_that_a_page_runs_is_there(page: Path) -> None:
    for module in re.findall(r"python -m tests\.benchmarks\.(\w+)", page.read_text()):
        assert (RESULTS.parent / f"{module}.py").is_file()
