"""The names that the Open Inference Protocol has for the types of a tensor's elements."""

from typing import Final

DATATYPES: Final = {
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
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""The protocol's name of each type of a model's input or output (Open Inference Protocol, "Tensor Data Types")."""

DTYPES: Final = {datatype: dtype for dtype, datatype in DATATYPES.items()}
"""The reverse."""
