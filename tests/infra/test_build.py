"""How a package is made, as far as that needs no network. What was made is for `tests/artifacts` to look at."""

import subprocess
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import pytest

from infra.build import (
    PACKAGES,
    BuildError,
    build,
    compile_bytecode,
    copy_code,
    find_lambda_python,
    function_folder,
    import_handler,
    install,
    leave_out,
    measure,
    print_sizes,
)
from local.template import read_template

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable)


def _write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_function_of_the_template_has_a_package() -> None:
    functions = read_template(ROOT / "template.yaml")
    assert {function_folder(function.logical_id) for function in functions} == set(PACKAGES)


def test_a_function_without_a_package_is_named() -> None:
    with pytest.raises(BuildError, match=r"UnheardOfFunction: there is no package 'unheard_of'"):
        function_folder("UnheardOfFunction")


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    mine = _write(tmp_path / "mine")
    with pytest.raises(BuildError, match="is not empty"):
        build("PredictFunction", tmp_path, "x86_64")
    assert mine.exists()


def test_an_unknown_processor_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"ARCHITECTURE='sparc': it must be x86_64 or arm64"):
        build("PredictFunction", tmp_path, "sparc")


def test_a_requirement_without_its_hash_is_not_installed(tmp_path: Path) -> None:
    requirements = _write(tmp_path / "requirements.txt", "six==1.17.0\n")
    with pytest.raises(BuildError, match="hash"):
        install(requirements, tmp_path / "package", "x86_64")


def test_what_no_inference_needs_is_left_out_and_what_it_needs_stays(tmp_path: Path) -> None:
    needed = {
        "onnxruntime/capi/libonnxruntime_providers_shared.so",
        "onnxruntime/capi/onnxruntime_pybind11_state.so",
        "scramp-1.5.0.dist-info/METADATA",
        "numpy/typing/__init__.py",
    }
    superfluous = {
        ".lock",
        "bin/f2py",
        "numpy/__init__.pyi",
        "numpy/_core/tests/test_ufunc.py",
        "numpy/f2py/__init__.py",
        "onnxruntime/capi/libonnxruntime.so.1.32.0",
        "onnxruntime/transformers/fusion.py",
        "PIL/_avif.cpython-313-x86_64-linux-gnu.so",
        "pillow.libs/libavif-c6062d5f.so.16.4.2",
        "google/protobuf/message.py",
    }
    for name in needed | superfluous:
        _write(tmp_path / name)
    leave_out(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == needed


def test_a_package_gets_its_own_function_and_what_all_share(tmp_path: Path) -> None:
    copy_code("describe", tmp_path)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"functions/describe/handler.py", "functions/describe/openapi.json", "functions/shared/api/app.py"} <= there
    assert {"model_artifacts/mnist/model.onnx", "model_artifacts/mnist/model.json"} <= there
    assert not [name for name in there if name.startswith("functions/predict/") or "__pycache__" in name]
    assert not [name for name in there if name.endswith("requirements.txt") or name == "model_artifacts/export.py"]


def test_what_lies_beside_a_model_goes_where_the_model_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "repository" / "model_artifacts" / "photos"
    folder.mkdir(parents=True)
    names = {"model.onnx", "model.json", "preprocessor_config.json", "baseline.json"}
    for name in {*names, "README.md"}:
        (folder / name).write_text("")
    monkeypatch.setattr("infra.build.ROOT", tmp_path / "repository")
    for function, expected in (("predict", names), ("worker", names), ("list_predictions", set())):
        copy_code(function, tmp_path / function)
        assert {path.name for path in (tmp_path / function).rglob("*") if path.is_file()} == expected


def test_a_function_that_reads_no_model_gets_none(tmp_path: Path) -> None:
    copy_code("list_predictions", tmp_path)
    assert not (tmp_path / "model_artifacts").exists()


def test_bytecode_is_taken_without_a_look_at_the_source(tmp_path: Path) -> None:
    module = _write(tmp_path / "functions" / "module.py", "ANSWER = 1\n")
    compile_bytecode(tmp_path, PYTHON)
    bytecode = Path(cache_from_source(str(module))).read_bytes()
    assert bytecode[:8] == MAGIC_NUMBER + (1).to_bytes(4, "little")  # PEP 552: a hash, unchecked
    assert b"/var/task/functions/module.py" in bytecode


def test_a_module_that_cannot_be_compiled_fails_the_build_by_name(tmp_path: Path) -> None:
    _write(tmp_path / "broken.py", "def\n")
    with pytest.raises(BuildError, match=r"broken\.py"):
        compile_bytecode(tmp_path, PYTHON)


def _toy(folder: Path, handler: str) -> Path:
    _write(folder / "functions" / "__init__.py")
    _write(folder / "functions" / "toy" / "__init__.py")
    _write(folder / "functions" / "toy" / "handler.py", handler)
    return folder


def test_a_handler_is_imported_out_of_its_package(tmp_path: Path) -> None:
    import_handler("toy", _toy(tmp_path, "def handler(event, context): ..."), PYTHON)


@pytest.mark.parametrize("elsewhere", ["fastapi", "local.gateway.integration", "tests"])
def test_a_handler_that_needs_what_its_package_lacks_fails_the_build(tmp_path: Path, elsewhere: str) -> None:
    package = _toy(tmp_path, f"import {elsewhere}\ndef handler(event, context): ...")
    with pytest.raises(BuildError, match=f"No module named '{elsewhere.partition('.')[0]}'"):
        import_handler("toy", package, PYTHON)


def test_a_module_without_a_handler_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="handler"):
        import_handler("toy", _toy(tmp_path, ""), PYTHON)


def test_models_are_measured_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = tmp_path / "ListPredictionsFunction"
    _write(package / "code.py", "#" * 2_000_000)
    _write(package / "model_artifacts" / "digits" / "model.onnx", "#" * 500_000)
    size = measure(package)
    assert (size.code, size.models) == (2_000_000, 500_000)
    print_sizes(tmp_path)
    assert capsys.readouterr().out.splitlines()[1].split() == ["ListPredictionsFunction", "2.0", "25", "0.5"]


def test_a_python_that_only_says_it_is_lambdas_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = _write(tmp_path / "python3.13", "#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("LAMBDA_PYTHON", str(shim))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_lambda_python()
    assert found != shim
    if found is not None:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        assert version.startswith("Python 3.13.")
