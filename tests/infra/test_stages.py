"""samconfig.toml, the stages' parameters and the workflows: that they fit to the template and to each other."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.support.stack import ROOT, Stack, read

pytestmark = pytest.mark.slow

SAMCONFIG: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
STAGES = sorted(name for name, commands in SAMCONFIG.items() if isinstance(commands, dict) and "deploy" in commands)
WORKFLOWS = {path.name: path.read_text("utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def parameters(stage: str) -> dict[str, str]:
    """Read a stage's parameters as sam does."""
    given: str = SAMCONFIG[stage]["deploy"]["parameters"]["parameter_overrides"]
    parsed = yaml.safe_load((ROOT / given.removeprefix("file://")).read_text("utf-8"))
    return {name: str(value) for name, value in parsed.items()}


def test_there_are_the_stages_dev_and_prod_and_the_linter_is_on() -> None:
    assert STAGES == ["dev", "prod"]
    assert SAMCONFIG["default"]["validate"]["parameters"]["lint"] is True


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_parameters_of_the_template_values_that_they_take(stage: str) -> None:
    declared = read("template.yaml")["Parameters"]
    for name, value in parameters(stage).items():
        if allowed := declared[name].get("AllowedValues"):
            assert value in [str(one) for one in allowed]
        if declared[name]["Type"] == "Number":
            assert float(value) >= declared[name].get("MinValue", float("-inf"))
            assert float(value) <= declared[name].get("MaxValue", float("inf"))


def test_prod_is_protected_and_dev_costs_nothing_while_nobody_calls() -> None:
    prod = Stack.deployed(**parameters("prod"))
    assert prod.nested["DatabaseStack"].resources["Cluster"]["Properties"]["DeletionProtection"] == "true"
    assert prod.nested["AuthStack"].resources["UserPool"]["Properties"]["DeletionProtection"] == "ACTIVE"
    dev = Stack.deployed(**parameters("dev"))
    assert {one["SnapStart"]["ApplyOn"] for one in dev.of_type("AWS::Lambda::Function").values()} == {"None"}
    scaling = dev.nested["DatabaseStack"].resources["Cluster"]["Properties"]["ServerlessV2ScalingConfiguration"]
    assert scaling["MinCapacity"] == 0


def test_workflows_deploy_stages_that_there_are() -> None:
    named = {stage for text in WORKFLOWS.values() for stage in re.findall(r"^\s+stage: (\w+)$", text, re.MULTILINE)}
    assert named == set(STAGES)


def test_workflows_call_workflows_that_there_are() -> None:
    called = {name for text in WORKFLOWS.values() for name in re.findall(r"uses: \./\.github/workflows/(\S+)", text)}
    assert called
    assert called <= WORKFLOWS.keys()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_to_a_commit(name: str) -> None:
    for action in re.findall(r"uses: ([^.\s]\S*)", WORKFLOWS[name]):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_start_with_the_right_to_read_only(name: str) -> None:
    assert yaml.safe_load(WORKFLOWS[name])["permissions"] == {"contents": "read"}


def test_no_key_of_aws_is_used() -> None:
    assert not any("secrets." in text or "aws-access-key" in text for text in WORKFLOWS.values())
