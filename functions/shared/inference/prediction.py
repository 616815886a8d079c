"""The model's prediction for one input, as plain Python values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Number: TypeAlias = int | float
Find: TypeAlias = dict[str, Any]
"""What a detection found: `box`, `score` and `label`."""
Output: TypeAlias = list["Number | str | Find | Output"]
TensorValue: TypeAlias = dict[str, Any]
"""A tensor in the JSON of the Open Inference Protocol: `shape`, `datatype`, and `data`, flat and in row-major order."""


@dataclass(slots=True)
class Prediction:
    """A prediction, ready for JSON: it has no NaN, infinity, negative zero or numpy type.

    Attributes
    ----------
    output
        The model's output for this input, nested where it has more than one axis per input; a single value is a list
        of one. For a model that returns only a label, that label. For a detection, an object for each find: its `box`,
        its `score` and its `label`. For a model that takes tensors, an object with one
        member, `outputs`: its outputs by name, each a `TensorValue`.
    likely_class
        Classification: index of the most likely class among the labels; None if the index of the returned label is
        unknown.
    label
        Classification: the class name; the index as text if the model has no names.
    confidence
        Classification: probability of `likely_class`, in [0, 1]; None if the model's scores are not probabilities.
    predicted_value
        Classification: the label. Regression: the number, or the (nested) list of them. Embedding: the vector. Several
        targets: the class or the number of each. Detection: the label of each find. None if no output is the answer.
    outputs
        The further outputs by name; None where `output` is all.
    """

    output: Output | dict[str, dict[str, TensorValue]]
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | Number | Output | None
    outputs: Mapping[str, TensorValue] | None = None
