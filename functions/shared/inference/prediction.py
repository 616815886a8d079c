"""What the model says about one input, as plain Python values."""

from dataclasses import dataclass
from typing import TypeAlias

Number: TypeAlias = int | float
Output: TypeAlias = list["Number | str | Output"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer, ready for JSON: no NaN, no Infinity, no negative zero, no numpy type.

    Attributes
    ----------
    output
        The model's output for this input, nested where it has more than one axis per input; a single value is a list
        of one. For a model that answers a label and nothing else, that label.
    likely_class
        Classification: position of the likeliest class among the labels; None where the file does not tell how the
        label it answers is numbered.
    label
        Classification: the class by name; the position as text where the model has no names.
    confidence
        Classification: probability of `likely_class`, in [0, 1]; None where the model's scores are no probabilities.
    predicted_value
        Classification: the label. Regression: the number, or the (nested) list of them.
    """

    output: Output
    likely_class: int | None
    label: str | None
    confidence: float | None
    predicted_value: str | Number | Output
