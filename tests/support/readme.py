"""Reads the README and the pages that it leads to, and runs their commands as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.make import MAKE
from tests.support.repository import ROOT

PAGES = {
    name: (ROOT / name).read_text("utf-8")
    for name in ("README.md", "docs/api.md", "docs/ledger.md", "docs/models.md", "docs/running.md")
}
"""What users read, by the path of each page."""

ADDRESS = "http://127.0.0.1:3000"


def text_of(section: str) -> str:
    """Return a section of whichever page has it: no two pages have one of the same name."""
    [text] = [
        found
        for page in PAGES.values()
        for heading, found in re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", page)
        if heading == section
    ]
    return str(text)


def blocks(section: str, language: str) -> list[str]:
    """Return the fenced blocks of a section that are written in a language, such as `sh`."""
    found = re.findall(rf"(?ms)^( *)```{language}\n(.*?)^\1```", text_of(section))
    return [re.sub(rf"(?m)^{indent}", "", block) for indent, block in found]


def commands(section: str) -> list[str]:
    """Return the shell commands of a section, one for each fenced block."""
    return blocks(section, "sh")


def run(command: str, address: str, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command with the server at `address`; it must succeed, and psql must report no error."""
    command = command.replace(ADDRESS, address).replace(".venv/bin/python", sys.executable)
    command = re.sub(r"\bpython3\b", sys.executable, command).replace("make psql", f"{MAKE} psql")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "ERROR" not in done.stderr, f"{command}\n{done.stderr}"
    return done.stdout
