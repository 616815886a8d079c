"""`make`, for tests that run what the README says."""

import shlex
import sys
from pathlib import Path

from tests.support.repository import ROOT

# What is installed is good enough, whatever its time stamp says, and a `make test` around it is no business of its.
_COMMAND = ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "make", "-s", "-o", ".venv/serve.installed"]

MAKE = shlex.join([*_COMMAND, "-C", str(ROOT), f"BIN={Path(sys.executable).parent}"])
"""Takes the place of the word `make` in a command. It installs nothing, and runs the Python of the tests."""
