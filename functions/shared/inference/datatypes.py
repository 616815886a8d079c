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
