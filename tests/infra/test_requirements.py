"""`make requirements` keeps the versions that are pinned, unless it is asked to upgrade them."""

import os
import subprocess

import pytest

from tests.support.repository import ROOT


@pytest.mark.parametrize(
    ("variables", "arguments"), [((), ""), (("UPGRADE=",), ""), (("UPGRADE=0",), ""), (("UPGRADE=1",), "--upgrade")]
)
def test_versions_are_upgraded_only_when_asked(variables: tuple[str, ...], arguments: str) -> None:
    of_make = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "UPGRADE"}  # `make test` hands them on
    environment = {name: value for name, value in os.environ.items() if name not in of_make}
    options = ["--no-print-directory", "-n", "-o", ".venv/build.installed"]
    command = ["make", *options, "requirements", "BIN=bin", *variables]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == f"bin/python -m infra.requirements {arguments}".strip()
