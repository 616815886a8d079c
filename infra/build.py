"""Make a function's deployment package: its own dependencies, its own code, and nothing else.

    python -m infra.build PredictFunction FOLDER    fill FOLDER; `sam build` asks for this, through `make build-...`
    python -m infra.build --sizes .aws-sam/build    print how large each package under the folder is

The package is for Lambda whatever machine it is made on: uv installs wheels for Lambda's Python and processor
(`ARCHITECTURE`, x86_64 unless it says arm64). A CPython of Lambda's version is needed for two things only, to compile
the bytecode and to import the handler out of the finished package; without one each is left out, and a line says so.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uv import find_uv_bin

ROOT: Final = Path(__file__).resolve().parents[1]

PYTHON: Final = "3.13"
"""Lambda's Python; the first line of `Runtime` in template.yaml says the same."""

PLATFORMS: Final = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
"""uv's name for the oldest wheels that fit, by Lambda's name of the processor. Its Amazon Linux 2023 has glibc 2.34."""

MEGABYTE: Final = 1_000_000


@dataclass(frozen=True)
class Package:
    """A function's package: its requirements, `functions/<name>`, `functions/shared`, and what is said here."""

    megabytes: int
    """How large it may be unzipped, models not counted."""

    also: tuple[str, ...] = ()
    """Patterns of other files of the repository that it reads or imports."""


MODELS: Final = "model_artifacts/*/model.*"
"""Pattern of the shipped models."""

PACKAGES: Final = {
    "predict": Package(140, also=(MODELS,)),
    "list_predictions": Package(25),
    "get_prediction": Package(25),
    "upload": Package(25),
    "describe": Package(25, also=(MODELS,)),
    "worker": Package(140, also=(MODELS,)),
    "sweep": Package(25),
    "migrate": Package(40, also=("infra/__init__.py", "infra/migrations/**/*")),
}

LEFT_OUT: Final = (
    # Of any wheel: commands, uv's lock, and what only compilers, type checkers and test runners read.
    "bin",
    ".lock",
    "**/py.typed",
    "**/*.pyi",
    "**/*.pxd",
    "**/*.pyx",
    "**/*.h",
    "**/*.a",
    "**/tests",
    # ONNX Runtime: what makes, converts and checks models, and the library a second time, for programs in C. The much
    # smaller `libonnxruntime_providers_shared.so` stays: Python's module loads it.
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # It depends on these two for those parts alone.
    "flatbuffers*",
    "google",
    "protobuf-*",
    # NumPy: the front end of Fortran compilers, and help for tests and for packagers.
    "numpy/_core/include",
    "numpy/_pyinstaller",
    "numpy/conftest.py",
    "numpy/f2py",
    "numpy/random/_examples",
    "numpy/testing",
    # Pillow: AVIF, text, colour management and Tk, each with the libraries that nothing else needs.
    "PIL/_avif.*",
    "PIL/_imagingcms.*",
    "PIL/_imagingft.*",
    "PIL/_imagingtk.*",
    "pillow.libs/libavif-*",
    "pillow.libs/libbrotli*",
    "pillow.libs/libfreetype-*",
    "pillow.libs/libharfbuzz-*",
    "pillow.libs/liblcms2-*",
    "pillow.libs/libpng16-*",
    # pydantic's first version. FastAPI loads it where it is there, a twentieth of a cold start, and does without.
    "pydantic/v1",
    # The second of the two pages that fastapi-offline brings, and its icon.
    "fastapi_offline/static/favicon.png",
    "fastapi_offline/static/redoc.standalone.js",
)
"""Patterns of what of the wheels is not shipped. Every `*.dist-info` else stays: scramp reads its own."""

_TASK_ROOT: Final = "/var/task"  # where Lambda unpacks a package: the path that tracebacks show

# -I and -S leave the standard library alone on the path; the package is then put before it.
_IMPORT_HANDLER: Final = """\
import importlib, sys
package, module = sys.argv[1:]
sys.path.insert(0, package)
callable(importlib.import_module(module).handler) or sys.exit(f"{module}.handler cannot be called")
"""


class BuildError(Exception):
    """A package cannot be made, or is not what it should be. The message is for the person who builds."""


def function_folder(logical_id: str) -> str:
    """Return the name of a function's folder: `list_predictions` of `ListPredictionsFunction`.

    Raises
    ------
    BuildError
        If there is no package for it.
    """
    words = re.findall(r"[A-Z][a-z0-9]*", logical_id.removesuffix("Function"))
    name = "_".join(words).lower()
    if name not in PACKAGES:
        raise BuildError(f"{logical_id}: there is no package {name!r}, there are {', '.join(PACKAGES)}")
    return name


def find_lambda_python() -> Path | None:
    """Find a CPython of Lambda's version: `LAMBDA_PYTHON`, or one on the PATH, or one of pyenv's. None without one."""
    program = f"python{PYTHON}"
    candidates = [os.environ.get("LAMBDA_PYTHON"), sys.executable, shutil.which(program)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += [str(path) for path in sorted(pyenv.glob(f"versions/{PYTHON}*/bin/{program}"))]
    return next((Path(candidate) for candidate in candidates if candidate and _is_lambda_python(candidate)), None)


def _is_lambda_python(program: str) -> bool:
    # Asked, not believed: pyenv puts a `python3.13` on the path that runs only where it was told to.
    question = "import sys; print(sys.implementation.name, *sys.version_info[:2])"
    try:
        answer = subprocess.run([program, "-I", "-S", "-c", question], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return answer.stdout.split() == ["cpython", *PYTHON.split(".")]


def build(logical_id: str, folder: Path, architecture: str) -> None:
    """Fill `folder` with the package of a function.

    Parameters
    ----------
    logical_id
        The function's name in template.yaml.
    folder
        An empty folder, or none yet.
    architecture
        `x86_64` or `arm64`.

    Raises
    ------
    BuildError
        If it cannot be made, is larger than it may be, or its handler cannot be imported.
    """
    name = function_folder(logical_id)
    if architecture not in PLATFORMS:
        raise BuildError(f"ARCHITECTURE={architecture!r}: it must be {' or '.join(PLATFORMS)}")
    if folder.exists() and any(folder.iterdir()):
        raise BuildError(f"{folder} is not empty")
    say = _Progress(logical_id)
    requirements = ROOT / "functions" / name / "requirements.txt"
    say(f"installing {requirements.relative_to(ROOT)} for Python {PYTHON} on {architecture}")
    install(requirements, folder, architecture)
    leave_out(folder)
    copy_code(name, folder)

    python = find_lambda_python()
    if python is None:
        say(
            f"NOT compiled and NOT imported: no Python {PYTHON} found. Every cold start will compile. Set LAMBDA_PYTHON"
        )
    else:
        say("compiling")
        compile_bytecode(folder, python)
    size = measure(folder)
    say(
        f"{size.code / MEGABYTE:.1f} MB of {PACKAGES[name].megabytes} MB, and {size.models / MEGABYTE:.1f} MB of models"
    )
    if size.code > PACKAGES[name].megabytes * MEGABYTE:
        raise BuildError(f"{logical_id} is too large; what weighs most: {_heaviest(folder)}")
    if python is not None and not _runs_here(architecture):
        say(f"NOT imported: {platform.system()} on {platform.machine()} does not run it")
    elif python is not None:
        say("importing the handler")
        import_handler(name, folder, python)


class _Progress:
    def __init__(self, logical_id: str) -> None:
        self._logical_id = logical_id

    def __call__(self, text: str) -> None:
        print(f"{self._logical_id}: {text}", flush=True)


def install(requirements: Path, folder: Path, architecture: str) -> None:
    """Install hash-pinned requirements as wheels for Lambda, without running anything of them.

    Raises
    ------
    BuildError
        If a package cannot be had, has no wheel for Lambda, or is not the one that was pinned.
    """
    command = [find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder)]
    command += ["--python-version", PYTHON, "--python-platform", PLATFORMS[architecture], "--only-binary", ":all:"]
    # Copied, since a hard link would hand uv's cache to whatever changes a file of the package.
    command += ["--require-hashes", "--link-mode", "copy", "--requirements", str(requirements)]
    _run(command, "the dependencies cannot be installed")


def leave_out(folder: Path) -> None:
    """Remove what no function needs of its dependencies."""
    for pattern in LEFT_OUT:
        for path in list(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def copy_code(name: str, folder: Path) -> None:
    """Copy a function's code, what all functions share, and what else it reads or imports."""
    patterns = ("functions/__init__.py", f"functions/{name}/**/*", "functions/shared/**/*", *PACKAGES[name].also)
    for source in (path for pattern in patterns for path in ROOT.glob(pattern)):
        if source.is_file() and source.name != "requirements.txt" and source.suffix != ".pyc":
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def compile_bytecode(folder: Path, python: Path) -> None:
    """Compile every module to bytecode that is taken as it is.

    The usual bytecode is only used where the source has the time of change that it had when compiled, which a zip
    archive does not keep. An unchecked hash (PEP 552) makes Python look at neither time nor content.

    Raises
    ------
    BuildError
        If a module cannot be compiled.
    """
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    _run([*command, "-s", str(folder), "-p", _TASK_ROOT, str(folder)], "a module cannot be compiled")


def import_handler(name: str, folder: Path, python: Path) -> None:
    """Import a function's handler out of its package, with nothing but the standard library beside it.

    Raises
    ------
    BuildError
        If that fails.
    """
    command = [str(python), "-I", "-S", "-B", "-c", _IMPORT_HANDLER, str(folder), f"functions.{name}.handler"]
    _run(command, "the handler cannot be imported", cwd=folder, env={})


def _run(command: list[str], failure: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env)
    if done.returncode != 0:
        raise BuildError(f"{failure}:\n{done.stdout}{done.stderr}".rstrip())


def _runs_here(architecture: str) -> bool:
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return platform.system() == "Linux" and machine == architecture


@dataclass(frozen=True)
class Size:
    """How large a package is unzipped, in bytes."""

    code: int
    models: int


def measure(folder: Path) -> Size:
    """Measure a package."""
    models = sum(size for path, size in _files(folder) if path.parts[0] == "model_artifacts")
    return Size(sum(size for _, size in _files(folder)) - models, models)


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.relative_to(folder), path.stat().st_size


def _heaviest(folder: Path) -> str:
    sizes: dict[str, int] = {}
    for path, size in _files(folder):
        sizes[path.parts[0]] = sizes.get(path.parts[0], 0) + size
    largest = sorted(sizes.items(), key=lambda item: item[1], reverse=True)[:8]
    return ", ".join(f"{name} {size / MEGABYTE:.1f} MB" for name, size in largest)


def print_sizes(folder: Path) -> None:
    """Print a table of the packages under a folder, unzipped, in megabytes."""
    print(f"{'function':<26}{'MB':>8}{'at most':>9}{'models':>8}")
    for path in sorted(folder.glob("*Function")):
        size, limit = measure(path), PACKAGES[function_folder(path.name)].megabytes
        print(f"{path.name:<26}{size.code / MEGABYTE:>8.1f}{limit:>9}{size.models / MEGABYTE:>8.1f}")


def main(arguments: list[str]) -> None:
    """Make one package, or print the sizes of all."""
    try:
        match arguments:
            case ["--sizes", folder]:
                print_sizes(Path(folder))
            case [logical_id, folder]:
                build(logical_id, Path(folder).resolve(), os.environ.get("ARCHITECTURE") or "x86_64")
            case _:
                sys.exit(__doc__)
    except BuildError as error:
        sys.exit(f"infra.build: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
