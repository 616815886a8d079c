"""Write tensors as plain values for JSON."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.datatypes import DATATYPES
from functions.shared.inference.prediction import TensorValue


def tensor_value(array: NDArray[Any]) -> TensorValue:
    """Write a tensor as plain values for JSON. It must not have NaN or infinity; a negative zero becomes zero."""
    dtype = "string" if array.dtype.kind in "OU" else array.dtype.name
    flat = np.ravel(array)
    if flat.dtype.kind == "f":
        flat = flat + 0.0  # -0.0 + 0.0 is 0.0
    return {"shape": list(array.shape), "datatype": DATATYPES[dtype], "data": flat.tolist()}
