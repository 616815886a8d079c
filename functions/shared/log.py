"""Structured logs: one JSON object per line on standard output, as CloudWatch Logs Insights reads them.

Why this is not `logging` or Powertools: see docs/decisions/log.md.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final

from pydantic_core import PydanticSerializationError, to_json

from functions.shared.execution_environment import on_lambda

_LEVELS: Final = {
    level: logging.getLevelNamesMapping()[level] for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
}

LOGS_THROUGH_LOGGING: Final = "functions.shared.inference"
"""The package that logs through Python's `logging`, because it does not know this log."""

_encode_any: Final = json.JSONEncoder(default=str, separators=(",", ":")).encode


class StructuredLog:
    """Writes lines of a level and above. Keyword arguments become members of the line.

    A line that cannot be written is lost without an error, so that a full disk fails no request.

    Parameters
    ----------
    service
        The name of the function.
    level
        ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.

    Raises
    ------
    KeyError
        If the level is none of these.
    """

    def __init__(self, service: str = "onnx-ledger", level: str = "INFO") -> None:
        self.configure(service, level)
        # Each thread and each task of an event loop has its own: a server that takes many requests at once has one log.
        self._request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

    @property
    def request_id(self) -> str | None:
        """The id of the request that this thread, or this task of an event loop, is at work on."""
        return self._request_id.get()

    @request_id.setter
    def request_id(self, request_id: str | None) -> None:
        self._request_id.set(request_id)

    def configure(self, service: str, level: str) -> None:
        """Change the service and the level. Parameters and errors as in `StructuredLog`."""
        self._service, self._least = service, _LEVELS[level]

    def debug(self, message: str, **fields: object) -> None:
        """Write what helps to find a bug."""
        if self._least <= logging.DEBUG:
            self._write("DEBUG", message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Write what happened as it should."""
        if self._least <= logging.INFO:
            self._write("INFO", message, fields)

    def info_each(self, lines: Sequence[tuple[str, Mapping[str, object]]], **shared: object) -> None:
        """Write a line for each message and its fields, as `info` does, but encode the shared fields once."""
        if len(lines) == 1:
            [(message, fields)] = lines
            self.info(message, **fields, **shared)
        elif self._least <= logging.INFO:
            # Replace the closing brace of each line with the members that all lines share.
            end = f",{_json({**shared, **self._stamp()})[1:]}\n"
            own = [_json({"level": "INFO", "message": message, **fields}) for message, fields in lines]
            _put("".join([line[:-1] + end for line in own]))

    def warning(self, message: str, **fields: object) -> None:
        """Write what somebody may want to look at."""
        if self._least <= logging.WARNING:
            self._write("WARNING", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Write what somebody must look at."""
        if self._least <= logging.ERROR:
            self._write("ERROR", message, fields)

    def exception(self, message: str, error: BaseException) -> None:
        """Write an error and its traceback as one line."""
        self.error(message, **_exception(error))

    def write_record(self, record: logging.LogRecord) -> None:
        """Write a record that was logged through `logging`."""
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields |= _exception(record.exc_info[1])
        self._write(record.levelname, record.getMessage(), fields)

    def _write(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        _put(_json({"level": level, "message": message, **fields, **self._stamp()}) + "\n")

    def _stamp(self) -> dict[str, object]:
        """Return the members that every line has: time, service, request and trace."""
        stamp: dict[str, object] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "service": self._service,
        }
        if (request_id := self._request_id.get()) is not None:
            stamp["function_request_id"] = request_id
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):  # AWS, "Using Lambda environment variables"
            stamp["xray_trace_id"] = trace
        return stamp


def _exception(error: BaseException) -> dict[str, object]:
    import traceback

    return {"exception_name": type(error).__name__, "exception": "".join(traceback.format_exception(error))}


def _json(members: Mapping[str, object]) -> str:
    """Encode as ASCII, so that any text can be written, whatever the encoding of the output."""
    try:
        return to_json(members, ensure_ascii=True, fallback=str).decode()
    except PydanticSerializationError:  # a lone surrogate, or bytes that are not UTF-8
        return _encode_any(members)


def _put(lines: str) -> None:
    out = sys.stdout
    try:
        out.write(lines)
        out.flush()
    except (OSError, ValueError):
        pass  # the reader is gone, the disk is full, or the output is closed


class _ToStructuredLog(logging.Handler):
    """Writes the records of `logging` as lines of a structured log."""

    def __init__(self, log: StructuredLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write_record(record)


logger: Final = StructuredLog()
"""The log of a function."""


def start_logging(level: str) -> None:
    """Set up the log of the function. Call it once per execution environment.

    Without this, the lines of `inference` ("fetched the model", "using the CPU") are lost, or are not JSON.

    Parameters
    ----------
    level
        As in `StructuredLog`.
    """
    logger.configure(os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "onnx-ledger"), level)
    log_through(LOGS_THROUGH_LOGGING, level)


def log_through(name: str, level: str | int) -> None:
    """Write what is logged through a logger of `logging` to the log of the function.

    Parameters
    ----------
    name
        The logger's name.
    level
        The lowest level that is written.
    """
    library = logging.getLogger(name)
    library.handlers = [_ToStructuredLog(logger)]
    library.setLevel(level)
    # Otherwise Lambda's handler on the root logger writes each line a second time.
    library.propagate = not on_lambda()
