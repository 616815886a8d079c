"""Compile the dependency groups of pyproject.toml to hash-pinned requirements files.

    python -m infra.requirements [--upgrade]

One file a deployed function, one for each thing a developer does. Every file has the same version of a package, since
each is compiled within the largest of them. Without `--upgrade` a package keeps its version unless pyproject.toml asks
for another.
"""

import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).parents[1]

LARGEST = "lint"
"""The group that holds all others but training."""

DEVELOPMENT = ("test", "serve", "build")
FUNCTIONS = ("predict", "worker", "sweep", "list_predictions", "get_prediction", "upload", "describe", "migrate")


def compile_group(group: str, output: Path, *options: str, python: str = "3.11") -> None:
    """Compile one group of pyproject.toml into `output`, keeping the versions already there unless told otherwise."""
    command = [
        find_uv_bin(),
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        python,
        "--generate-hashes",
    ]
    command += ["--no-header", "--group", f"pyproject.toml:{group}", "--output-file", str(output), *options]
    print(f"{group:>18} -> {output}", flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def main(arguments: list[str]) -> None:
    """Compile every group."""
    within = ("--constraint", f"requirements/{LARGEST}.txt", *arguments)
    compile_group(LARGEST, Path(f"requirements/{LARGEST}.txt"), *arguments)
    for group in DEVELOPMENT:
        compile_group(group, Path(f"requirements/{group}.txt"), *within)
    compile_group("train", Path("requirements/train.txt"), *arguments)
    compile_group("plain_app", Path("requirements/plain_app.txt"), *arguments)
    compile_group("deploy", Path("requirements/deploy.txt"), *arguments)
    compile_group("runtime", Path("requirements/runtime.txt"), *arguments, python="3.13")
    # The GPU build takes the place of onnxruntime, which the other functions' sets name.
    without = ("--no-emit-package", "onnxruntime")
    compile_group("gpu", Path("requirements/gpu.txt"), *within, *without, python="3.13")
    for group in FUNCTIONS:
        compile_group(group, Path(f"functions/{group}/requirements.txt"), *within, python="3.13")


if __name__ == "__main__":
    main(sys.argv[1:])
