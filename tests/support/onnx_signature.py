"""Compares the signature that we read of an ONNX file with the one that onnxruntime reads."""

from pathlib import Path

import onnxruntime

from functions.shared.inference.onnx_file import read_signature


def _runtime_signature(path: Path) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return (
        [(one.name, one.type, tuple(one.shape)) for one in session.get_inputs()],
        [(one.name, one.type, tuple(one.shape)) for one in session.get_outputs()],
    )


_RUNTIME_NAMES = {"float32": "float", "float64": "double"}


def assert_agrees_with_the_runtime(path: Path) -> None:
    """Check that we read the same names, types and axes as the runtime."""

    def named(dtype: str) -> str:
        return _RUNTIME_NAMES.get(dtype, dtype)

    signature = read_signature(path)
    inputs, outputs = _runtime_signature(path)
    assert [(one.name, f"tensor({named(one.dtype)})", one.shape) for one in signature.inputs] == inputs
    assert [
        (one.name, f"seq(map({one.key_dtype},tensor({named(one.dtype)})))", ())
        if one.key_dtype
        else (one.name, f"tensor({named(one.dtype)})", one.shape)
        for one in signature.outputs
    ] == outputs
