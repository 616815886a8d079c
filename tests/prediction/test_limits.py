"""What is too large for an answer is found out before it is stored, in whatever form a model answers it."""

from typing import Any

import pytest

from functions.shared.inference.errors import OutputTooLargeError
from functions.shared.inference.prediction import Prediction
from functions.shared.prediction.limits import storable

LONG = "x" * 6_000_000


@pytest.mark.parametrize(
    "output",
    [
        pytest.param([0.123456789] * 600_000, id="numbers"),
        pytest.param([[0.123456789] * 600_000], id="nested numbers"),
        pytest.param([LONG], id="a text"),
        pytest.param([{"box": [0.0] * 4, "score": 1.0, "label": LONG}], id="a find"),
        pytest.param({"outputs": {"y": {"shape": [1], "datatype": "BYTES", "data": [LONG]}}}, id="a tensor"),
    ],
)
def test_an_output_that_no_answer_holds_is_refused(output: Any) -> None:
    assert isinstance(storable(Prediction(output, None, None, None, 1.0)), OutputTooLargeError)


def test_a_further_output_counts_too() -> None:
    further = {"y": {"shape": [1], "datatype": "BYTES", "data": [LONG]}}
    assert isinstance(storable(Prediction([1.0], None, None, None, 1.0, further)), OutputTooLargeError)


def test_what_fits_is_stored() -> None:
    prediction = Prediction([{"box": [0.0] * 4, "score": 1.0, "label": "cat"}], None, None, None, ["cat"])
    assert storable(prediction) is prediction
