"""Tell at start which outputs can never be part of an answer."""

import math
from collections.abc import Iterable
from typing import Final

from functions.shared.inference.answer_outputs import row_shape
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, OutputSpec, written

MAX_OUTPUT_BYTES: Final = 5_500_000
"""Bytes of JSON of all that a prediction answers and stores of a model's outputs. Lambda's answers have 6 MB in all."""

# Bytes of JSON with the comma. A float has up to 20; fewer than 8 on average only where most are round numbers.
_LEAST_BYTES: Final = {**dict.fromkeys(FLOATS, 8), "bool": 5, "string": 3}
_LEAST_BYTES_OF_A_WHOLE_NUMBER: Final = 2


def refuse_too_large(outputs: Iterable[OutputSpec], batch: int | None) -> None:
    """Refuse outputs of fixed length that no answer has room for.

    Parameters
    ----------
    outputs
        What is answered and stored; twice what is answered twice.
    batch
        Rows of each run; None where that is open, 0 where the graph has no batch axis.

    Raises
    ------
    ModelPackageError
        They are too large, whatever the input.
    """
    sizes: dict[OutputSpec, int] = {}
    for one in outputs:
        row = row_shape(one.shape, batch)
        if row is not None and all(isinstance(axis, int) for axis in row):
            values = math.prod(axis for axis in row if isinstance(axis, int))
            bytes_each = _LEAST_BYTES.get(one.dtype, _LEAST_BYTES_OF_A_WHOLE_NUMBER)
            sizes[one] = sizes.get(one, 0) + values * bytes_each
    if sum(sizes.values()) > MAX_OUTPUT_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise ModelPackageError(
            f"model.onnx: output {largest.name!r} is {written(row_shape(largest.shape, batch))} per input, too much "
            f"for an answer, which has room for {MAX_OUTPUT_BYTES} bytes of JSON: name the outputs that are worth "
            "storing under keep in model.json, or export the model with smaller ones"
        )
