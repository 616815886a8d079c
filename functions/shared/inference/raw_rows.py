"""Split what the runtime answers into rows, as it is: no activation, no label."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def raw_rows(
    names: Sequence[str],
    raw: Sequence[NDArray[Any] | list[Any]],
    rows: int,
    count: int,
    classes: Mapping[str, Sequence[int | str]],
    unmatched: Collection[str] = (),
) -> list[dict[str, NDArray[Any]]]:
    """Return the outputs of each row of a run, by name, but no sequences of tensors.

    An output that has no axis of the rows is the same for all.

    Parameters
    ----------
    names, raw
        The outputs.
    rows
        Rows of the run.
    count
        Rows to return, from the first; the others are padding.
    classes
        Of the outputs that are a map for each row, the keys, in the order in which their values become numbers.
    unmatched
        The outputs whose first axis may be another than that of the rows. A run with one of
        them has one row.
    """
    made: list[dict[str, NDArray[Any]]] = [{} for _ in range(count)]
    for name, output in zip(names, raw, strict=True):
        if isinstance(output, list):
            if not (output and isinstance(output[0], dict)):
                continue
            keys = classes.get(name) or sorted(output[0])
            array = np.array([[row[key] for key in keys] for row in output], dtype=np.float32)
        else:
            array = output
        per_row = array.ndim > 0 and len(array) == rows and name not in unmatched
        for at in range(count):
            # array[at] would be a text or a number, and no array, where a row has one of them.
            made[at][name] = array[at, ...] if per_row else array
    return made
