"""Structured logs: one JSON object a line, as CloudWatch Logs Insights reads them."""

import json
import os

from aws_lambda_powertools import Logger

logger = Logger(
    service=os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "onnx-ledger"),
    level=os.environ.get("LOG_LEVEL", "INFO"),
    # An exception's traceback goes into the log as one field, so that a failure is one line too.
    serialize_stacktrace=True,
    # Powertools makes an encoder for every line, and tries whether a message is JSON: none of ours is.
    json_serializer=json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":")).encode,
    json_deserializer=str,
)
"""The one logger of a function. `inject_request_id` gives every line the request it belongs to."""


def inject_request_id(request_id: str) -> None:
    """Put a request's id on every line from here on, until the next request's."""
    logger.append_keys(function_request_id=request_id)
