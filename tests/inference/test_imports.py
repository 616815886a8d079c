"""Describing a model needs no runtime: what the light functions import stays light."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

HEAVY = ("numpy", "PIL", "onnxruntime", "onnx", "google.protobuf", "boto3", "pydantic", "fastapi")


@pytest.mark.parametrize("module", ["errors", "onnx_file", "package", "prediction", "content_types", "location"])
def test_the_modules_that_describe_a_model_import_nothing_heavy(module: str) -> None:
    program = f"import sys, functions.shared.inference.{module}\nprint(*(set({HEAVY!r}) & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == ""


def test_the_runtime_comes_without_image_formats_and_without_the_sdk() -> None:
    program = (
        "import sys, functions.shared.inference.model\n"
        "print(*sorted(name for name in sys.modules if name.endswith('ImagePlugin')), 'boto3' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "False"


def test_a_model_that_is_warm_has_imported_the_reader_of_png_files_and_no_other() -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from functions.shared.inference.model import Model\n"
        "from functions.shared.inference.package import ModelPackage\n"
        "Model.load(ModelPackage.load(Path('model_artifacts/mnist'))).warm_up()\n"
        "print(*sorted(name for name in sys.modules if name.endswith('ImagePlugin')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "PIL.PngImagePlugin"
