"""Compile the dependency groups of pyproject.toml to hash-pinned requirements files.

    python -m infra.requirements [--upgrade]

One file a deployed function, one for each thing a developer does. Every file has the same version of a package, since
each is compiled within the largest of them.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

LARGEST = "lint"
"""The group that holds all others but training."""

DEVELOPMENT = ("test", "serve", "build")
FUNCTIONS = ("predict", "list_predictions", "get_prediction", "describe")


def compile_group(group: str, output: Path, *options: str, python: str = "3.11") -> None:
    """Compile one group of pyproject.toml into `output`, keeping the versions already there unless told otherwise."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", python, "--generate-hashes"]
    command += ["--no-header", "--group", f"pyproject.toml:{group}", "--output-file", str(output), *options]
    print(f"{group:>18} -> {output}", flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def main(arguments: list[str]) -> None:
    """Compile every group."""
    within = ("--constraint", f"requirements/{LARGEST}.txt")
    compile_group(LARGEST, Path(f"requirements/{LARGEST}.txt"), *arguments)
    for group in DEVELOPMENT:
        compile_group(group, Path(f"requirements/{group}.txt"), *within)
    compile_group("train", Path("requirements/train.txt"), *arguments)
    for group in FUNCTIONS:
        compile_group(group, Path(f"functions/{group}/requirements.txt"), *within, python="3.13")


if __name__ == "__main__":
    main(sys.argv[1:])
