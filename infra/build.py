"""Build a function's deployment package: its own dependencies, its own code, and a bill of materials of both.

    python -m infra.build PredictFunction FOLDER    fill FOLDER; `sam build` runs this through `make build-...`
    python -m infra.build --sizes .aws-sam/build    print the size of each package in the folder

The package runs on Lambda, whatever machine builds it: uv installs wheels for Lambda's Python and processor
(`ARCHITECTURE`: x86_64, the default, or arm64). Two steps need a CPython of Lambda's version: compiling the bytecode,
and importing the handler from the finished package. Without one the build skips both and says so.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uv import find_uv_bin

from infra.bill_of_materials import write_bill_of_materials

ROOT: Final = Path(__file__).resolve().parents[1]

PYTHON: Final = "3.13"
"""Lambda's Python. It must match `Runtime` in template.yaml, or wheels and bytecode are built for the wrong Python."""

PLATFORMS: Final = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
"""uv's platform for each of Lambda's processor names. Lambda runs Amazon Linux 2023, whose glibc 2.34 loads them."""

MEGABYTE: Final = 1_000_000


@dataclass(frozen=True)
class Package:
    """A function's package: its requirements, `functions/<name>`, `functions/shared` and the files of `also`."""

    megabytes: int
    """The largest unzipped size allowed, without models. A larger package fails the build."""

    also: tuple[str, ...] = ()
    """Patterns of the other files in the repository that the function reads or imports."""


MODELS: Final = "model_artifacts/*/model.*"
"""The pattern that matches the shipped models."""

PREPROCESSORS: Final = "model_artifacts/*/preprocessor_config.json"
"""The pattern that matches what may lie beside them and says how their images are preprocessed."""

BASELINES: Final = "model_artifacts/*/baseline.json"
"""The pattern that matches what their predictions are compared with."""

PACKAGES: Final = {
    "predict": Package(140, also=(MODELS,)),
    "infer": Package(140, also=(MODELS,)),
    "list_predictions": Package(25),
    "get_prediction": Package(25),
    "delete_predictions": Package(25),
    "ground_truth": Package(25),
    "statistics": Package(25),
    "upload": Package(25, also=(MODELS,)),
    "describe": Package(25, also=(MODELS,)),
    "worker": Package(140, also=(MODELS,)),
    "sweep": Package(25),
    "rollup": Package(25),
    "migrate": Package(40, also=("infra/__init__.py", "infra/migrations/**/*")),
}

LEFT_OUT: Final = (
    # From every wheel: commands, uv's lock, and what only compilers, type checkers and test runners read.
    "bin",
    ".lock",
    "**/py.typed",
    "**/*.pyi",
    "**/*.pxd",
    "**/*.pyx",
    "**/*.h",
    "**/*.a",
    "**/tests",
    # ONNX Runtime: the tools that make, convert and check models, and a second copy of the library, for C programs. The
    # much smaller `libonnxruntime_providers_shared.so` stays: the Python module loads it.
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/backend",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # ONNX Runtime needs these two only for the parts removed above.
    "flatbuffers*",
    "google",
    "protobuf-*",
    # NumPy: the Fortran front end, and what only tests and packagers use.
    "numpy/_core/include",
    "numpy/_pyinstaller",
    "numpy/conftest.py",
    "numpy/f2py",
    "numpy/random/_examples",
    "numpy/testing",
    # Pillow: AVIF, text, colour management and Tk, each with the libraries that only it uses.
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
    # pydantic's version 1. FastAPI imports it only if it finds it, and the import takes a twentieth of a cold start.
    "pydantic/v1",
    # ReDoc, the second of fastapi-offline's two documentation pages, and the icon.
    "fastapi_offline/static/favicon.png",
    "fastapi_offline/static/redoc.standalone.js",
)
"""Patterns of the wheels' files that are not shipped. Every other `*.dist-info` stays: scramp reads its own."""

_TASK_ROOT: Final = "/var/task"  # where Lambda unpacks a package, and so the path that tracebacks must show

# -I and -S leave only the standard library on the path, so a module that the package lacks cannot come from elsewhere.
_IMPORT_HANDLER: Final = """\
import importlib, sys
package, module = sys.argv[1:]
sys.path.insert(0, package)
callable(importlib.import_module(module).handler) or sys.exit(f"{module}.handler cannot be called")
"""


class BuildError(Exception):
    """A package cannot be built, or the built package is wrong. The message is for the person who runs the build."""


def function_folder(logical_id: str) -> str:
    """Return the name of a function's folder: `list_predictions` for `ListPredictionsFunction`.

    Raises
    ------
    BuildError
        If `PACKAGES` does not name the folder.
    """
    words = re.findall(r"[A-Z][a-z0-9]*", logical_id.removesuffix("Function"))
    name = "_".join(words).lower()
    if name not in PACKAGES:
        raise BuildError(f"{logical_id}: there is no package {name!r}, there are {', '.join(PACKAGES)}")
    return name


def project_version() -> str:
    """Return the version in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def find_lambda_python() -> Path | None:
    """Find a CPython of Lambda's version in `LAMBDA_PYTHON`, on the PATH or in pyenv. Return None if there is none."""
    program = f"python{PYTHON}"
    candidates = [os.environ.get("LAMBDA_PYTHON"), sys.executable, shutil.which(program)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += [str(path) for path in sorted(pyenv.glob(f"versions/{PYTHON}*/bin/{program}"))]
    return next((Path(candidate) for candidate in candidates if candidate and _is_lambda_python(candidate)), None)


def _is_lambda_python(program: str) -> bool:
    # Run it, because the name is not enough: pyenv puts a `python3.13` on the PATH that fails unless that version is
    # selected.
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
        An empty folder, or one that does not exist yet.
    architecture
        `x86_64` or `arm64`.

    Raises
    ------
    BuildError
        If the package cannot be built, is too large, or its handler cannot be imported.
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
    write_bill_of_materials(name, project_version(), requirements, folder)

    python = find_lambda_python()
    if python is None:
        say(f"NOT compiled, NOT imported: found no Python {PYTHON}. Every cold start will compile. Set LAMBDA_PYTHON")
    else:
        say("compiling")
        compile_bytecode(folder, python)
    size = measure(folder)
    say(
        f"{size.code / MEGABYTE:.1f} MB of {PACKAGES[name].megabytes} MB, and {size.models / MEGABYTE:.1f} MB of models"
    )
    if size.code > PACKAGES[name].megabytes * MEGABYTE:
        raise BuildError(f"{logical_id} is too large; the largest parts: {_heaviest(folder)}")
    if python is not None and not _runs_here(architecture):
        say(f"NOT imported: {platform.system()} on {platform.machine()} cannot run it")
    elif python is not None:
        say("importing the handler")
        import_handler(name, folder, python)


class _Progress:
    def __init__(self, logical_id: str) -> None:
        self._logical_id = logical_id

    def __call__(self, text: str) -> None:
        print(f"{self._logical_id}: {text}", flush=True)


def install(requirements: Path, folder: Path, architecture: str) -> None:
    """Install hash-pinned requirements as wheels for Lambda, without running any code of theirs.

    Raises
    ------
    BuildError
        If a package cannot be downloaded, has no wheel for Lambda, or does not match its pinned hash.
    """
    command = [find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder)]
    command += ["--python-version", PYTHON, "--python-platform", PLATFORMS[architecture], "--only-binary", ":all:"]
    # Copy: through a hard link, a change to a file of the package would change uv's cache too.
    command += ["--require-hashes", "--link-mode", "copy", "--requirements", str(requirements)]
    _run(command, "the dependencies cannot be installed")


def leave_out(folder: Path) -> None:
    """Remove the files of the dependencies that no function needs."""
    for pattern in LEFT_OUT:
        for path in list(folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def copy_code(name: str, folder: Path) -> None:
    """Copy a function's own code, the code that all functions share, and the files of `Package.also`."""
    also = PACKAGES[name].also
    patterns = ("functions/__init__.py", f"functions/{name}/**/*", "functions/shared/**/*", *also)
    if MODELS in also:
        patterns = (*patterns, PREPROCESSORS, BASELINES)
    for source in (path for pattern in patterns for path in ROOT.glob(pattern)):
        if source.is_file() and source.name != "requirements.txt" and source.suffix != ".pyc":
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def compile_bytecode(folder: Path, python: Path) -> None:
    """Compile every module to bytecode that Python loads without checking the source.

    By default Python ignores bytecode if the source's modification time has changed since it was compiled, and a zip
    archive does not preserve that time, so every cold start would compile again. With an unchecked hash (PEP 552)
    Python checks neither time nor content.

    Raises
    ------
    BuildError
        If a module cannot be compiled.
    """
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    _run([*command, "-s", str(folder), "-p", _TASK_ROOT, str(folder)], "a module cannot be compiled")


def import_handler(name: str, folder: Path, python: Path) -> None:
    """Import a function's handler from its package, with only the standard library besides.

    Raises
    ------
    BuildError
        If the import fails, for example because the package lacks a module.
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
    """The unzipped size of a package, in bytes."""

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
    """Print a table of the unzipped sizes, in megabytes, of the packages in a folder."""
    print(f"{'function':<26}{'MB':>8}{'at most':>9}{'models':>8}")
    for path in sorted(folder.glob("*Function")):
        size, limit = measure(path), PACKAGES[function_folder(path.name)].megabytes
        print(f"{path.name:<26}{size.code / MEGABYTE:>8.1f}{limit:>9}{size.models / MEGABYTE:>8.1f}")


def main(arguments: list[str]) -> None:
    """Build one package, or print the sizes of all packages."""
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
