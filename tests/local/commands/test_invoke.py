"""`python -m local invoke` runs a function on one event, and prints the result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_server import PROJECT
from tests.support.repository import ROOT

pytestmark = pytest.mark.server


def invoke(
    tmp_path: Path, function: str, event: str, template: str = "template.yaml", home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "event.json"
    file.write_text(event)
    return subprocess.run(
        [sys.executable, "-m", "local", "invoke", function, "-e", str(file)],
        cwd=ROOT,
        env={"LEDGER_HOME": str(home or tmp_path / "home"), "TEMPLATE": str(PROJECT / template)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["echo-function", "Echo"])
def test_the_result_is_printed_and_nothing_else(tmp_path: Path, name: str) -> None:
    done = invoke(tmp_path, name, '{"hello": "event"}')
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert json.loads(result["body"])["event"] == {"hello": "event"}


def test_a_function_gets_the_database(tmp_path: Path, database_home: Path) -> None:
    done = invoke(tmp_path, "Echo", "{}", "database.yaml", database_home)
    assert done.returncode == 0, done.stderr
    assert json.loads(json.loads(done.stdout)["body"])["environment"]["DATABASE_URL"].startswith("postgresql://")


@pytest.mark.parametrize(
    ("function", "event", "template", "line"),
    [
        (
            "Behave",
            '{"body": "{\\"do\\": \\"raise\\", \\"message\\": \\"no\\"}"}',
            "template.yaml",
            "Behave: ValueError: no",
        ),
        ("Broken", "{}", "broken.yaml", "Broken cannot start: RuntimeError"),
        ("Nobody", "{}", "template.yaml", "template.yaml has no function Nobody"),
        ("Echo", "{", "template.yaml", "it is not JSON"),
    ],
)
def test_a_failure_is_a_line_and_an_exit_status(
    tmp_path: Path, function: str, event: str, template: str, line: str
) -> None:
    done = invoke(tmp_path, function, event, template)
    assert (done.returncode, done.stdout) == (1, "")
    assert line in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
