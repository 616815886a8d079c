"""Every folder of functions/ is known wherever the functions are listed, so that none escapes a rule."""

import tomllib
from typing import Any

import pytest

from infra.build import PACKAGES
from infra.requirements import FUNCTIONS
from tests.support.repository import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONTRACTS = {contract["name"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}
FOLDERS = {handler.parent.name for handler in (ROOT / "functions").glob("*/handler.py")}
MODULES = {f"functions.{name}" for name in FOLDERS}


def contract(words: str) -> Any:
    """Return the import-linter contract with these words in its name."""
    (found,) = (contract for name, contract in CONTRACTS.items() if words in name)
    return found


def test_every_function_has_pinned_requirements_and_a_package() -> None:
    assert len(FOLDERS) > 5
    assert set(FUNCTIONS) == FOLDERS
    assert set(PACKAGES) == FOLDERS
    assert {path.parent.name for path in (ROOT / "functions").glob("*/requirements.txt")} == FOLDERS
    assert FOLDERS - set(PYPROJECT["dependency-groups"]) == set()


def test_every_function_is_in_the_top_layer() -> None:
    assert set(contract("A request flows")["layers"][0].split(" | ")) == MODULES


@pytest.mark.parametrize(
    ("words", "exempt"),
    [
        ("Only migrate loads the migrations", {"migrate"}),
        ("Only predict, infer and worker load the inference runtime", {"predict", "infer", "worker"}),
    ],
)
def test_a_rule_for_all_functions_but_some_names_all_the_others(words: str, exempt: set[str]) -> None:
    named = {module for module in contract(words)["source_modules"] if not module.startswith("functions.shared")}
    assert named == MODULES - {f"functions.{name}" for name in exempt}


def test_every_layer_below_the_api_is_kept_from_http() -> None:
    shared = {path.stem for path in (ROOT / "functions" / "shared").iterdir() if not path.name.startswith("__")}
    # settings is made of pydantic's models, and api is HTTP itself.
    below = {f"functions.shared.{name}" for name in shared - {"api", "settings"}}
    assert set(contract("know no HTTP")["source_modules"]) == below
