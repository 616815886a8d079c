"""What an execution environment of this function creates once, for all its events."""

from functools import cache
from typing import Annotated, NamedTuple
from uuid import UUID

from fastapi import Path

from functions.get_prediction.stored_input import StoredInputs
from functions.shared.ledger.ledger import Ledger
from functions.shared.log import start_logging
from functions.shared.object_storage.bucket import Bucket
from functions.shared.settings import GetSettings

PredictionId = Annotated[UUID, Path(description="The `prediction_id` of a record.")]


class Environment(NamedTuple):
    """The ledger, where inputs are, and whether a request must have a token."""

    token_required: bool
    ledger: Ledger
    inputs: StoredInputs


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = GetSettings.from_environment()
    start_logging(settings.log_level)
    ledger = Ledger.configured(settings)
    inputs = StoredInputs(
        ledger,
        Bucket(settings.inputs_bucket) if settings.inputs_bucket else None,
        Bucket(settings.bucket_for_uploads) if settings.bucket_for_uploads else None,
        settings.max_inline_bytes,
    )
    return Environment(settings.token_required, ledger, inputs)
