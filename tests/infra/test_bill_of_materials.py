"""The bill of materials of a package: a valid CycloneDX document that names what is in it, with its hashes."""

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.bill_of_materials import NAME, bill_of_materials, normalised, write_bill_of_materials
from infra.build import PACKAGES, copy_code, project_version
from tests.support.repository import ROOT


def requirements(function: str) -> Path:
    """Return the requirements file of a function."""
    return ROOT / "functions" / function / "requirements.txt"


def pinned(function: str) -> dict[str, str]:
    """Return the versions that a function's requirements pin, by name."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", requirements(function).read_text("utf-8"), re.MULTILINE))


def document(function: str) -> Any:
    """Return the bill of materials of a function with all that its requirements name."""
    text = bill_of_materials(function, "1.2.3", requirements(function).read_text("utf-8"), set(pinned(function)))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return json.loads(text)


@pytest.mark.parametrize("function", PACKAGES)
def test_it_names_each_pinned_package_with_its_version_and_all_its_hashes(function: str) -> None:
    components = document(function)["components"]

    assert {component["name"]: component["version"] for component in components} == pinned(function)
    assert all(component["purl"].startswith("pkg:pypi/") for component in components)
    hashes = [entry["content"] for component in components for entry in component["hashes"]]
    written = re.findall(r"--hash=sha256:(\w+)", requirements(function).read_text("utf-8"))
    assert sorted(hashes) == sorted(written)


def test_it_says_which_function_in_which_version_it_describes() -> None:
    described = document("worker")["metadata"]["component"]

    assert (described["name"], described["version"]) == ("onnx-ledger-worker", "1.2.3")


def test_the_same_requirements_give_the_same_document_and_others_another() -> None:
    assert document("sweep") == document("sweep")
    assert document("sweep")["serialNumber"] != document("worker")["serialNumber"]


def test_what_was_taken_out_of_a_package_is_not_in_its_document(tmp_path: Path) -> None:
    for name in ("onnxruntime-1.32.0.dist-info", "python_multipart-0.0.34.dist-info"):
        (tmp_path / name).mkdir()

    write_bill_of_materials("predict", project_version(), requirements("predict"), tmp_path)

    names = {component["name"] for component in json.loads((tmp_path / NAME).read_text("utf-8"))["components"]}
    assert {normalised(name) for name in names} == {"onnxruntime", "python-multipart"}


def test_it_names_what_the_console_loads_of_others_with_licence_and_hash(tmp_path: Path) -> None:
    copy_code("describe", tmp_path)

    write_bill_of_materials("describe", project_version(), requirements("describe"), tmp_path)

    text = (tmp_path / NAME).read_text("utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {component["name"]: component for component in json.loads(text)["components"]}
    vendored = json.loads((ROOT / "functions/describe/console/vendor/vendor.json").read_text("utf-8"))
    assert {"preact", "htm", "uplot", "oidc-client-ts"} <= components.keys()
    for package in vendored:
        component = components[package["name"]]
        assert component["purl"] == f"pkg:npm/{package['name']}@{package['version']}"
        assert [entry["license"]["id"] for entry in component["licenses"]] == [package["license"]]
        (entry,) = component["hashes"]
        assert (entry["alg"], b64encode(bytes.fromhex(entry["content"])).decode()) == (
            "SHA-512",
            package["integrity"].removeprefix("sha512-"),
        )


def test_another_version_of_what_the_console_loads_gives_another_document() -> None:
    package = {"name": "preact", "version": "1.0.0", "license": "MIT", "integrity": "sha512-AAAA", "files": []}
    newer = json.dumps([package | {"version": "1.0.1"}])

    of_one, of_the_other = (
        json.loads(bill_of_materials("describe", "1.2.3", "", set(), vendored))
        for vendored in (json.dumps([package]), newer)
    )

    assert of_one["serialNumber"] != of_the_other["serialNumber"]
