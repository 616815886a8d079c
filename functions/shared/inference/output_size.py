"""How large outputs may be, and telling at start which can never be answered or stored."""

import math
from typing import Final

from functions.shared.inference.answer_outputs import Answer, row_shape
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, OutputSpec, written

MAX_OUTPUT_BYTES: Final = 5_500_000
"""Bytes of JSON of all that a record shows of a model's outputs. Lambda's answers have 6 MB in all."""

LARGEST_ALONE: Final = 1_000_000
"""Bytes of JSON, counted with the longest numbers: an output that may have more is stored apart from its record."""

LARGEST_TOGETHER: Final = 3_000_000
"""The same for all outputs by name that a record shows. The answer, and its value once more, have the rest."""

MAX_STORED_BYTES: Final = 32 * 1024 * 1024
"""Bytes of the outputs of one request that are stored apart, before they are compressed. PostgreSQL takes a statement
with as many within its time, S3 each object, and a function decompresses them to answer a part."""

# Bytes of JSON with the comma. A float has up to 20; fewer than 8 on average only where most are round numbers.
_LEAST_BYTES: Final = {**dict.fromkeys(FLOATS, 8), "bool": 5, "string": 3}
_LEAST_BYTES_OF_A_WHOLE_NUMBER: Final = 2

_LENGTH_BYTES: Final = 4


def refuse_too_large(answer: Answer, batch: int | None, *, top_k: int | None) -> None:
    """Refuse outputs of fixed length that can never be answered or stored, whatever the input.

    Parameters
    ----------
    answer
        The outputs that are computed. Finds and targets are shown in full; everything else can be stored apart.
    batch
        Rows of each run; None where that is open, 0 where the graph has no batch axis.
    top_k
        How many of the scores are kept; None for all.

    Raises
    ------
    ModelPackageError
        They are too large.
    """
    shown = [*(answer.finds.outputs if answer.finds else ()), *answer.targets, *answer.targets]
    few = shown if top_k is None else [*shown, answer.scores]
    stored = [one for one in dict.fromkeys((*answer.headline, *answer.further)) if one not in few]
    for outputs, each, most, kind in (
        (shown, _json_bytes, MAX_OUTPUT_BYTES, "bytes of JSON"),
        (stored, _binary_bytes, MAX_STORED_BYTES, "bytes"),
    ):
        sizes: dict[OutputSpec, int] = {}
        for one in outputs:
            if values := _values(one, batch):
                sizes[one] = sizes.get(one, 0) + values * each(one.dtype)
        if sum(sizes.values()) > most:
            largest = max(sizes, key=sizes.__getitem__)
            where = "answered" if kind != "bytes" else "stored"
            raise ModelPackageError(
                f"model.onnx: output {largest.name!r} is {written(row_shape(largest.shape, batch))} per input, and of "
                f"one prediction at most {most} {kind} can be {where}: name the outputs that are worth storing under "
                "keep in model.json, or export the model with smaller ones"
            )


def _values(one: OutputSpec, batch: int | None) -> int:
    """Return how many values an output has for one input; 0 if the file leaves that open."""
    row = row_shape(one.shape, batch)
    if row is None or not all(isinstance(axis, int) for axis in row):
        return 0
    return math.prod(axis for axis in row if isinstance(axis, int))


def _json_bytes(dtype: str) -> int:
    return _LEAST_BYTES.get(dtype, _LEAST_BYTES_OF_A_WHOLE_NUMBER)


def _binary_bytes(dtype: str) -> int:
    if dtype in ("string", "bool"):
        return _LENGTH_BYTES if dtype == "string" else 1
    return int(dtype[-2:].lstrip("nt")) // 8  # float32, uint8
