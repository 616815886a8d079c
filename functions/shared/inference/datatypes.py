"""The names of element types in the Open Inference Protocol (V2, "Tensor Data Types")."""

from collections.abc import Mapping
from typing import Final

DATATYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""The protocol's name by numpy's; `string` is ONNX's text. Exactly the types that are served."""

DTYPES: Final[Mapping[str, str]] = {datatype: dtype for dtype, datatype in DATATYPES.items()}
"""The reverse."""

# What numpy has in place of an element type that it does not have, by the start of its name.
_CASTS: Final = (
    ("bfloat16", "float32"),
    ("float8", "float32"),
    ("float4", "float32"),
    ("uint", "uint8"),
    ("int", "int8"),
)


def export_instead(dtype: str) -> str:
    """Say in a message how a tensor of an element type that is not served can be exported."""
    other = next((other for start, other in _CASTS if dtype.startswith(start)), None)
    what = "a tensor of numbers, booleans or texts" if other is None else f"{other}, with a Cast in the graph"
    return f": export it as {what}"
