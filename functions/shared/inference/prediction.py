"""The model's prediction for one input, as plain Python values."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Number: TypeAlias = int | float
Find: TypeAlias = dict[str, Any]
"""What a detection found: `box`, `score` and `label`."""
Output: TypeAlias = list["Number | str | Find | Output"]
TensorValue: TypeAlias = dict[str, Any]
"""A tensor in the JSON of the Open Inference Protocol: `shape`, `datatype`, and `data`, flat and in row-major order.

One that is stored apart has its `size` in bytes and its `sha256` instead of `data`.
"""


class LargeTensor(NamedTuple):
    """An output that is too large for the record of its prediction, and stored apart from it.

    Attributes
    ----------
    name
        The output's name.
    datatype, shape
        As the Open Inference Protocol writes them.
    content
        The values, little-endian and in row-major order; of `BYTES`, each after its length in four bytes.
    sha256
        SHA-256 of the content, 32 bytes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: bytes
    sha256: bytes

    @classmethod
    def of(cls, name: str, datatype: str, shape: tuple[int, ...], content: bytes) -> "LargeTensor":
        """Return a tensor with its digest."""
        return cls(name, datatype, shape, content, hashlib.sha256(content).digest())

    @property
    def reference(self) -> TensorValue:
        """What stands in the record for it."""
        return {
            "shape": list(self.shape),
            "datatype": self.datatype,
            "size": len(self.content),
            "sha256": self.sha256.hex(),
        }


@dataclass(slots=True)
class Prediction:
    """A prediction, ready for JSON: it has no NaN, infinity, negative zero or numpy type.

    Attributes
    ----------
    output
        The model's output for this input, nested where it has more than one axis per input; a single value is a list
        of one. For a model that returns only a label, that label. For a detection, an object for each find: its `box`,
        its `score` and its `label`. For a model that takes tensors, and where the output is stored apart, an object
        with one member, `outputs`: its outputs by name, each a `TensorValue`. Where only the largest scores are kept,
        an object with their `values` and `indices`.
    likely_class
        Classification: index of the most likely class among the labels; None if the index of the returned label is
        unknown.
    label
        Classification: the class name; the index as text if the model has no names.
    confidence
        Classification: probability of `likely_class`, in [0, 1]; None if the model's scores are not probabilities.
    predicted_value
        Classification: the label. Regression: the number, or the (nested) list of them. Embedding: the vector. Several
        targets: the class or the number of each. Detection: the label of each find. None if no output is the answer,
        or if the numbers are stored apart.
    outputs
        The further outputs by name; None where `output` is all.
    large
        The outputs that are stored apart.
    """

    output: Output | dict[str, Any]
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | Number | Output | None
    outputs: Mapping[str, TensorValue] | None = None
    large: tuple[LargeTensor, ...] = ()
