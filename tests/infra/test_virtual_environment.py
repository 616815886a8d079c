"""`make` makes the virtual environment that it needs: of the right Python, and anew where a start went wrong.

The project is the real Makefile and what it calls, with nothing to install.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
MAKING = "making a virtual environment in .venv"

# A Python that says that it is of another version, as far as it is asked for its version.
PRETENDER = """#!/bin/sh
if [ "$1" = -c ]; then exec {python} -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2"; fi
exec {python} "$@"
"""

# An rm that is interrupted as soon as it has removed one file of a folder.
INTERRUPTED_RM = """#!/bin/sh
if [ "$1" != -rf ]; then exec {rm} "$@"; fi
{rm} "$2/unfinished"
exit 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Makefile", "infra/build.mk", "infra/virtualenv.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "serve.txt").write_text("# nothing\n")
    return tmp_path


def pretender(folder: Path, version: tuple[int, int, int]) -> Path:
    program = folder / f"python{version[0]}.{version[1]}"
    program.write_text(PRETENDER.format(python=sys.executable, version=version))
    program.chmod(0o755)
    return program


def make(
    *targets: str, python: str | Path | None, first_on_path: Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return a command, and the environment for it."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "VENV"}}
    command = ["make", *targets, *([] if python is None else [f"PYTHON={python}"])]
    # Nothing is asked of a package index.
    environment |= {"PIP_NO_INDEX": "1"}
    if first_on_path is not None:
        environment["PATH"] = f"{first_on_path}:{environment['PATH']}"
    return command, environment


def install(
    project: Path, python: str | Path | None = sys.executable, *, first_on_path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Do what `make serve` does before it serves."""
    command, environment = make(".venv/serve.installed", python=python, first_on_path=first_on_path)
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def works(project: Path) -> bool:
    asked = [str(project / ".venv" / "bin" / "python"), "-m", "pip", "--version"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 15, 0)])
def test_a_python_that_is_too_old_or_too_new_is_named_and_leaves_nothing(
    project: Path, version: tuple[int, int, int]
) -> None:
    wrong = pretender(project, version)
    done = install(project, wrong)
    assert done.returncode != 0
    assert f"PYTHON={wrong} is Python {'.'.join(map(str, version))}: it must be 3.11 to 3.14" in done.stderr
    assert not (project / ".venv").exists()


def test_a_python_that_is_too_new_is_not_the_one_that_is_found(project: Path) -> None:
    pretender(project, (3, 15, 0)).rename(project / "python3")
    pretender(project, (3, 14, 98))
    assert f"{MAKING} (python3.14)" in install(project, None, first_on_path=project).stderr
    assert works(project)


def test_a_python_that_is_not_there_is_named_and_leaves_nothing(project: Path) -> None:
    done = install(project, "python3.99")
    assert done.returncode != 0
    assert "PYTHON=python3.99 does not run: set PYTHON to a Python 3.11 to 3.14" in done.stderr
    assert not (project / ".venv").exists()


def test_what_is_installed_stays_and_another_python_makes_it_anew(project: Path) -> None:
    assert MAKING in install(project).stderr
    mine = project / ".venv" / "mine"
    mine.touch()

    for python in (None, sys.executable):
        again = install(project, python)
        assert again.returncode == 0
        assert MAKING not in again.stderr
    too_old = install(project, pretender(project, (3, 10, 13)))
    assert too_old.returncode != 0
    assert mine.exists()

    (project / ".venv" / "serve.installed").unlink()  # something more is to be installed
    found = pretender(project, (3, 14, 98)).rename(project / "python3")
    assert MAKING not in install(project, None, first_on_path=found.parent).stderr
    assert mine.exists()

    another = install(project, pretender(project, (3, 14, 99)))
    assert MAKING in another.stderr
    assert not mine.exists()


def test_an_installation_that_failed_does_not_break_the_next(project: Path) -> None:
    requirements = project / "requirements" / "serve.txt"
    requirements.write_text("no-such-package==1 --hash=sha256:" + 64 * "0" + "\n")
    assert install(project).returncode != 0
    half_written = project / ".venv" / "half_written"
    half_written.touch()

    requirements.write_text("# nothing\n")
    assert install(project).returncode == 0

    assert not half_written.exists()
    assert works(project)


def test_an_environment_that_was_half_removed_is_made_anew(project: Path) -> None:
    assert install(project).returncode == 0
    half_written = project / ".venv" / "half_written"
    half_written.touch()
    (project / ".venv" / "unfinished").touch()
    (project / ".venv" / "serve.installed").unlink()
    rm = project / "bin" / "rm"
    rm.parent.mkdir()
    rm.write_text(INTERRUPTED_RM.format(rm=shutil.which("rm")))
    rm.chmod(0o755)
    assert install(project, first_on_path=rm.parent).returncode != 0
    assert half_written.exists()

    assert install(project).returncode == 0

    assert not half_written.exists()
    assert works(project)


def test_two_at_once_install_one_after_the_other(project: Path) -> None:
    (project / "requirements" / "test.txt").write_text("# nothing\n")
    command, environment = make("-j2", ".venv/serve.installed", ".venv/test.installed", python=sys.executable)
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(MAKING) == 1
    assert works(project)


def test_what_another_make_installs_is_waited_for(project: Path) -> None:
    command, environment = make(".venv/serve.installed", python=sys.executable)
    other = (project / "infra" / "virtualenv.sh").open()
    fcntl.flock(other, fcntl.LOCK_EX)
    with subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stderr is not None
            assert "waiting until another make has installed what it needs" in waiting.stderr.readline()
            assert not (project / ".venv").exists()
        finally:
            other.close()
        waiting.communicate()
    assert waiting.returncode == 0
    assert works(project)


def test_an_empty_python_is_one_that_is_not_set(project: Path) -> None:
    found = pretender(project, (3, 13, 0)).rename(project / "python3")
    assert f"{MAKING} (python3)" in install(project, "", first_on_path=found.parent).stderr
    assert works(project)


@pytest.mark.parametrize("left", ["a folder", "no pip", "an older Python", "a Python that has gone"])
def test_a_virtual_environment_that_does_not_work_is_made_anew(project: Path, left: str) -> None:
    folder = project / ".venv" / "bin"
    folder.mkdir(parents=True)
    if left == "no pip":
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder.parent], check=True)
    elif left == "an older Python":
        pretender(folder, (3, 10, 13)).rename(folder / "python")
    elif left == "a Python that has gone":
        (folder / "python").symlink_to("/nowhere/python3")
        (folder.parent / "serve.installed").touch()

    done = install(project, None if left == "a Python that has gone" else sys.executable)

    assert done.returncode == 0, done.stderr
    assert works(project)
