"""Reads the README, and runs its commands as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.make import MAKE
from tests.support.repository import ROOT

README = (ROOT / "README.md").read_text("utf-8")
ADDRESS = "http://127.0.0.1:3000"


def blocks(section: str, language: str) -> list[str]:
    """Return the fenced blocks of a section that are written in a language, such as `sh`."""
    text = re.split(rf"^## {re.escape(section)}$", README, flags=re.MULTILINE)[1]
    text = re.split(r"^## ", text, flags=re.MULTILINE)[0]
    return [re.sub(r"(?m)^ {3}", "", block) for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


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
