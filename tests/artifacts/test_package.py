"""What is in a package, and what is not."""

import json
import re
import subprocess
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from infra.bill_of_materials import NAME, normalised
from infra.build import LEFT_OUT, MEGABYTE, MODELS, PACKAGES, PYTHON, function_folder, measure
from infra.vendor import faults, read
from tests.support.repository import ROOT
from tests.support.sample_events import FUNCTIONS

_UNCHECKED_HASH = 0b01  # PEP 552: hash-based, and the source is not looked at

every_function = pytest.mark.parametrize("logical_id", FUNCTIONS)


@every_function
def test_a_package_is_no_larger_than_it_may_be(packages: Path, logical_id: str) -> None:
    limit = PACKAGES[function_folder(logical_id)].megabytes * MEGABYTE
    assert 0 < measure(packages / logical_id).code <= limit


@every_function
def test_every_module_comes_with_bytecode_that_lambda_takes_without_a_look_at_the_source(
    packages: Path, lambda_python: Path, logical_id: str
) -> None:
    question = "import importlib.util as util; print(util.MAGIC_NUMBER.hex())"
    magic = subprocess.run([lambda_python, "-c", question], capture_output=True, text=True, check=True).stdout.strip()
    wanted = bytes.fromhex(magic) + _UNCHECKED_HASH.to_bytes(4, "little")
    tag = f"cpython-{PYTHON.replace('.', '')}"
    for source in (packages / logical_id).rglob("*.py"):
        bytecode = Path(re.sub(r"\.cpython-\d+", f".{tag}", cache_from_source(str(source))))
        assert bytecode.read_bytes()[:8] == wanted, source


@every_function
def test_a_package_holds_what_its_requirements_name_and_nothing_else(packages: Path, logical_id: str) -> None:
    requirements = (ROOT / "functions" / function_folder(logical_id) / "requirements.txt").read_text()
    pinned = {normalised(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", requirements, re.MULTILINE)}
    there = {normalised(path.stem.rpartition("-")[0]) for path in (packages / logical_id).glob("*.dist-info")}
    left_out = {"flatbuffers", "protobuf"}
    assert there == pinned - left_out
    assert "scramp" in there, "it reads its own version from there"


@every_function
def test_the_bill_of_materials_names_what_is_in_the_package(packages: Path, logical_id: str) -> None:
    document = json.loads((packages / logical_id / NAME).read_text("utf-8"))
    there = {normalised(path.stem.rpartition("-")[0]) for path in (packages / logical_id).glob("*.dist-info")}
    for manifest in (packages / logical_id).glob("functions/*/console/vendor/vendor.json"):
        there |= {package["name"] for package in json.loads(manifest.read_text("utf-8"))}
    assert {normalised(component["name"]) for component in document["components"]} == there


def test_describe_ships_what_the_console_loads_with_the_licences(packages: Path) -> None:
    shipped = packages / "DescribeFunction" / "functions" / "describe" / "console" / "vendor"
    assert faults(shipped) == []
    assert len(list(shipped.glob("*.LICENSE"))) == len(read(shipped))


@every_function
def test_nothing_that_is_left_out_of_the_wheels_is_in_a_package(packages: Path, logical_id: str) -> None:
    package = packages / logical_id
    assert [path for pattern in LEFT_OUT for path in package.glob(pattern)] == []


@every_function
def test_only_what_predicts_ships_the_inference_runtime_and_nobody_ships_what_lambda_has(
    packages: Path, logical_id: str
) -> None:
    there = {path.name for path in (packages / logical_id).iterdir()}
    predicts = function_folder(logical_id) in {"predict", "infer", "worker"}
    assert ({"onnxruntime", "numpy", "PIL"} <= there) == predicts
    assert there.isdisjoint({"boto3", "botocore", "local", "tests", "pytest", "tensorflow"})
    assert ("sqlalchemy" in there) == (function_folder(logical_id) == "migrate")


@every_function
def test_what_reads_a_model_ships_every_model_of_the_repository(packages: Path, logical_id: str) -> None:
    shipped = {path.parent.name for path in (packages / logical_id).glob("model_artifacts/*/model.onnx")}
    ours = {path.parent.name for path in ROOT.glob("model_artifacts/*/model.onnx")}
    assert shipped == (ours if MODELS in PACKAGES[function_folder(logical_id)].also else set())
    baselines = {path.parent.name for path in (packages / logical_id).glob("model_artifacts/*/baseline.json")}
    assert baselines == shipped
