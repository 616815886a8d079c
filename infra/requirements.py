"""Compile the dependency groups of pyproject.toml to hash-pinned requirements files.

    python -m infra.requirements [--upgrade]

Each deployed function gets a file, and so does each task of a developer. The files of the functions and of `test`,
`serve` and `build` take their versions from the largest group, so what is tested is what is deployed.
Without `--upgrade`, a package keeps its version unless pyproject.toml asks for another.
"""

import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).parents[1]

LARGEST = "lint"
"""The group that contains those of the functions and of `DEVELOPMENT`."""

DEVELOPMENT = ("test", "fuzz", "browser", "serve", "build")
FUNCTIONS = (
    "predict",
    "infer",
    "worker",
    "sweep",
    "rollup",
    "list_predictions",
    "get_prediction",
    "delete_predictions",
    "ground_truth",
    "statistics",
    "upload",
    "describe",
    "migrate",
)
CLIENTS = ("generators", "tritonclient", "kserve", "openinference", "mlserver")
"""The clients that `make test-clients` tries. Nothing is shared between them, nor with what is deployed."""

DRIFT_LIBRARIES = ("evidently", "nannyml")
"""What `make test-clients` compares figures of drift with. They are kept apart in the same way."""

COMPARED = ("plain_app", "by_hand_app", "litserve_app", "bentoml_app")
"""What the benchmarks compare with. Nothing is shared between them, nor with what is deployed."""


def compile_group(group: str, output: Path, *options: str, python: str = "3.11") -> None:
    """Compile one group of pyproject.toml into `output`, and keep the versions there unless `options` say otherwise."""
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
    for app in COMPARED:
        compile_group(app, Path(f"requirements/{app}.txt"), *arguments)
    compile_group("deploy", Path("requirements/deploy.txt"), *arguments)
    compile_group("audit", Path("requirements/audit.txt"), *arguments, python="3.13")
    compile_group("runtime", Path("requirements/runtime.txt"), *arguments, python="3.13")
    compile_group("batching", Path("requirements/batching.txt"), *within, python="3.13")
    # onnxruntime-gpu replaces onnxruntime: both install the same module, so only one may be in the file.
    without = ("--no-emit-package", "onnxruntime")
    for group in ("gpu", "gpu_benchmark"):
        compile_group(group, Path(f"requirements/{group}.txt"), *within, *without, python="3.13")
    for client in (*CLIENTS, *DRIFT_LIBRARIES):
        compile_group(f"client_{client}", Path(f"tests/clients/requirements/{client}.txt"), *arguments)
    for group in FUNCTIONS:
        compile_group(group, Path(f"functions/{group}/requirements.txt"), *within, python="3.13")


if __name__ == "__main__":
    main(sys.argv[1:])
