"""The documents name commands, files and code that exist, and pre-commit runs what `make lint` runs."""

import re

import pytest
import yaml

from tests.support.readme import PAGES
from tests.support.repository import ROOT

DOCUMENTS = [
    *PAGES,
    "docs/faults.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "infra/README.md",
    "model_artifacts/README.md",
    "tests/benchmarks/README.md",
    ".github/pull_request_template.md",
]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
MAKEFILE = "".join((ROOT / name).read_text("utf-8") for name in ("Makefile", "infra/build.mk"))


def heading_anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def lint_commands() -> list[str]:
    """Return the commands of `make lint`, without the environment that they come from."""
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.removeprefix("\t@$(BIN)/") for line in recipe.splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    named = set(re.findall(r"(?m)(?:`|^ *)make ([a-z-]+)", text))
    assert named - set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)) == set()


def test_contributing_says_how_long_every_make_target_takes() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
    assert "test-fast" in targets
    timed = [row for row in CONTRIBUTING.splitlines() if row.startswith("| `make ") and re.search("second|minute", row)]
    assert targets - {name for row in timed for name in re.findall(r"`make ([a-z-]+)", row.split(" | ")[0])} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_to_a_file_and_to_a_heading(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)(.+?)\)", path.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        assert not anchor or anchor in heading_anchors(file.read_text("utf-8")), target


def test_every_path_that_contributing_names_exists() -> None:
    paths = re.findall(r"`([\w.<>-]+/[\w./<>-]*|[A-Za-z]\w+\.(?:md|toml|yaml))`", CONTRIBUTING)
    assert len(paths) > 30
    assert [path for path in paths if not any(ROOT.glob(path.replace("<name>", "*").rstrip("/")))] == []


def test_every_name_that_contributing_looks_for_in_a_file_is_there() -> None:
    places = re.findall(r"((?:`\w+`(?: and )?)+) in `([\w/]+\.py)`", CONTRIBUTING)
    assert len(places) > 5
    for names, path in places:
        for name in re.findall(r"\w+", names.replace(" and ", " ")):
            assert re.search(rf"^(?:def |class )?{name}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE), (
                name,
                path,
            )


def test_the_pythons_that_the_readme_names_are_those_that_make_looks_for_and_that_are_tried() -> None:
    named = re.findall(r"\d+\.\d+", re.findall(r"You need make and Python (.*?)\. ", PAGES["README.md"])[0])
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))["jobs"]
    assert len(named) > 1
    assert jobs["tests"]["strategy"]["matrix"]["python"] == named
    script = (ROOT / "infra" / "virtualenv.sh").read_text("utf-8")
    assert f'PYTHONS="{named[0]} to {named[-1]}"' in script
    assert sorted(re.findall(r"python(3\.\d+)\b", script)) == named


def test_pre_commit_runs_what_make_lint_runs() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    # A hook gets the names of the files that have changed where the recipe has a pattern of all of them.
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in local["hooks"]]
    commands = lint_commands()
    assert len(hooks) == len(commands)
    assert [command for hook, command in zip(hooks, commands, strict=True) if not command.startswith(hook)] == []
