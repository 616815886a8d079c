"""What storing, indexing, listing and answering a prediction can take, checked before anything is stored.

A record that is over one of these limits could be committed and never be read: it would take every page that it is on
with it.
"""

from typing import Final

from pydantic_core import to_json

from functions.shared.inference.errors import OutputTooLargeError, UnpredictableInputError
from functions.shared.inference.output_size import MAX_OUTPUT_BYTES, MAX_STORED_BYTES
from functions.shared.inference.prediction import Prediction

MAX_LABEL_LENGTH: Final = 255
"""Characters of a label: an index entry of PostgreSQL has room for 2,704 bytes, and the list's filter takes as many."""

RUN_SECONDS: Final = 18.0
"""Seconds that the model may run for one request. API Gateway ends a request after 30 s; decoding may take 5 s of
them, and the database, S3 and SQS what `wait_budget` allows."""

# A flat list of fewer numbers is far below the limit, and is not encoded to find out.
_SHORT: Final = 1_000


def storable(prediction: Prediction) -> Prediction | UnpredictableInputError | OutputTooLargeError:
    """Return a prediction that can be stored and read back, or why it cannot."""
    if prediction.label is not None and len(prediction.label) > MAX_LABEL_LENGTH:
        return UnpredictableInputError(
            f"the model answers a label of {len(prediction.label)} characters: at most {MAX_LABEL_LENGTH} can be stored"
        )
    if prediction.large:
        size = sum(len(one.content) for one in prediction.large)
        if size > MAX_STORED_BYTES:
            return OutputTooLargeError(
                f"the model's outputs for this input are {size} bytes, and at most {MAX_STORED_BYTES} can be stored: a "
                'deployment stores less where its model.json names the outputs worth it under "keep"'
            )
    if _may_be_large(prediction):
        shown = [prediction.output, prediction.outputs, prediction.predicted_value]
        size = len(to_json(shown, inf_nan_mode="constants"))
        if size > MAX_OUTPUT_BYTES:
            return OutputTooLargeError(
                f"the model's outputs for this input are {size} bytes of JSON, and at most {MAX_OUTPUT_BYTES} can be "
                'answered: a deployment stores less where its model.json names the outputs worth it under "keep"'
            )
    return prediction


def _may_be_large(prediction: Prediction) -> bool:
    output = prediction.output
    if prediction.outputs is not None or isinstance(output, dict) or len(output) > _SHORT:
        return True
    return bool(output) and isinstance(output[0], list | str | dict)
