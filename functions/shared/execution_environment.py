"""Detect Lambda's execution environment, and type what Lambda passes to a handler."""

import os
from typing import Protocol


class LambdaContext(Protocol):
    """The members that are read of the context object (AWS, "Using the Lambda context object")."""

    @property
    def aws_request_id(self) -> str:
        """The id of this invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


def on_lambda() -> bool:
    """Tell whether this process runs on Lambda, where start-up work belongs before the first event."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def before_snapshot() -> bool:
    """Tell whether Lambda takes a snapshot of this process and restores it many times (AWS, "Lambda SnapStart")."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
