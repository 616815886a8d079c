"""Answer the largest values of an output as texts, which name the class of each.

Source: Triton Inference Server, "Classification Extension".
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.infer.request import RequestedOutput, refusal, shown


def largest(
    output: RequestedOutput, array: NDArray[Any], labels: Sequence[str] | None, *, batched: bool
) -> NDArray[Any]:
    """Return the largest values of each row, from the largest, as `value:index` or `value:index:label`.

    Parameters
    ----------
    output
        The output, as it is asked for: `classes` is how many of its values.
    array
        Its values.
    labels
        The names of the classes, by index; None if they have none.
    batched
        Whether the first axis is that of the rows. If not, the output is one row.

    Raises
    ------
    Problem
        400, if the output is not of numbers.
    """
    if array.dtype.kind not in "fiu":
        raise refusal(f"The output {shown(output.name)} has no numbers, of which the largest could be told.")
    batched = batched and array.ndim > 0
    # No length is left to -1: of no values at all, numpy could not tell it.
    width = math.prod(array.shape[batched:])
    rows = array.reshape(len(array) if batched else 1, width)
    names = labels if labels is not None and len(labels) == width else None
    texts = np.empty((len(rows), min(output.classes, width)), dtype=object)
    for at, row in enumerate(rows):
        order = width - 1 - np.argsort(row[::-1], kind="stable")[::-1]  # of equal values, the first one goes first
        texts[at] = [_text(row[one], int(one), names) for one in order[: texts.shape[1]]]
    return texts if batched else texts[0]


def _text(value: Any, index: int, names: Sequence[str] | None) -> str:  # noqa: ANN401 - a number of any numpy type
    text = f"{value:f}:{index}" if isinstance(value, np.floating) else f"{value}:{index}"
    return text if names is None else f"{text}:{names[index]}"
