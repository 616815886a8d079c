"""A function loads what it needs and nothing else: every import is paid for at each cold start."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.server

HEAVY = {"onnxruntime", "numpy", "PIL", "boto3", "botocore", "sqlalchemy", "alembic", "tensorflow", "keras"}


def modules_loaded_by(handler: str) -> set[str]:
    """Return the modules in a fresh interpreter that imported `handler`."""
    program = f"import {handler}, sys; print(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(finished.stdout.split())


@pytest.mark.parametrize(
    "function",
    [
        "list_predictions",
        "get_prediction",
        "delete_predictions",
        "ground_truth",
        "statistics",
        "upload",
        "sweep",
        "rollup",
        "describe",
    ],
)
def test_a_function_that_only_reads_loads_no_inference_runtime_and_no_sdk(function: str) -> None:
    assert modules_loaded_by(f"functions.{function}.handler") & HEAVY == set()


@pytest.mark.parametrize("function", ["predict", "infer", "worker"])
def test_a_function_that_predicts_loads_the_inference_runtime_and_nothing_heavier(function: str) -> None:
    assert modules_loaded_by(f"functions.{function}.handler") & HEAVY == {"onnxruntime", "numpy", "PIL"}


@pytest.mark.parametrize("function", ["worker", "sweep", "rollup"])
def test_a_function_that_no_request_calls_loads_no_http(function: str) -> None:
    assert modules_loaded_by(f"functions.{function}.handler") & {"fastapi", "starlette", "mangum"} == set()
