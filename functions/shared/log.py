"""Structured logs: one JSON object a line on standard output, as CloudWatch Logs Insights reads them.

A line is written for every prediction, in the time that is billed for it. Through `logging` and Powertools' Logger that
took a tenth of a warm request (tests/benchmarks/README.md), for records, filters and handlers that nothing here uses.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from pydantic_core import PydanticSerializationError, to_json

from functions.shared.execution_environment import on_lambda

_LEVELS: Final = {
    level: logging.getLevelNamesMapping()[level] for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
}

LOGS_THROUGH_LOGGING: Final = "functions.shared.inference"
"""The layer that knows nothing of this log, and writes to Python's."""

_encode_any: Final = json.JSONEncoder(default=str, separators=(",", ":")).encode


class StructuredLog:
    """Writes lines of one level and above. What is handed over by name becomes a member of the line.

    A line that cannot be written is lost, and nothing else: what it tells of has happened, and is answered.

    Parameters
    ----------
    service
        Which function writes.
    level
        ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``.

    Attributes
    ----------
    request_id
        The invocation that the lines from here on belong to.

    Raises
    ------
    KeyError
        If there is no such level.
    """

    def __init__(self, service: str = "onnx-ledger", level: str = "INFO") -> None:
        self.configure(service, level)
        self.request_id: str | None = None

    def configure(self, service: str, level: str) -> None:
        """Write for another function, or from another level on. Parameters and errors as in `StructuredLog`."""
        self._service, self._least = service, _LEVELS[level]

    def debug(self, message: str, **fields: object) -> None:
        """Write what helps to find a fault."""
        if self._least <= logging.DEBUG:
            self._write("DEBUG", message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Write what has happened, as it should."""
        if self._least <= logging.INFO:
            self._write("INFO", message, fields)

    def info_each(self, lines: Iterable[tuple[str, Mapping[str, object]]], **shared: object) -> None:
        """Write messages, each with fields of its own, as `info` does each: many lines in the time of a few."""
        if self._least <= logging.INFO:
            # A line's own members, and then, in the place of its closing brace, what all of them end with.
            end = f",{_json({**shared, **self._stamp()})[1:]}\n"
            own = [_json({"level": "INFO", "message": message, **fields}) for message, fields in lines]
            _put("".join([line[:-1] + end for line in own]))

    def warning(self, message: str, **fields: object) -> None:
        """Write what somebody may want to look into."""
        if self._least <= logging.WARNING:
            self._write("WARNING", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Write what somebody has to look into."""
        if self._least <= logging.ERROR:
            self._write("ERROR", message, fields)

    def exception(self, message: str, error: BaseException) -> None:
        """Write an error with its traceback, all in one line."""
        self.error(message, **_exception(error))

    def write_record(self, record: logging.LogRecord) -> None:
        """Write a record of `logging`."""
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields |= _exception(record.exc_info[1])
        self._write(record.levelname, record.getMessage(), fields)

    def _write(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        _put(_json({"level": level, "message": message, **fields, **self._stamp()}) + "\n")

    def _stamp(self) -> dict[str, object]:
        """Return what all lines of a moment have in common."""
        stamp: dict[str, object] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "service": self._service,
        }
        if self.request_id is not None:
            stamp["function_request_id"] = self.request_id
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):  # AWS, "Using Lambda environment variables"
            stamp["xray_trace_id"] = trace
        return stamp


def _exception(error: BaseException) -> dict[str, object]:
    import traceback

    return {"exception_name": type(error).__name__, "exception": "".join(traceback.format_exception(error))}


def _json(members: Mapping[str, object]) -> str:
    """Encode in ASCII, so that every text can be written, whatever a caller sent and however the output is encoded."""
    try:
        return to_json(members, ensure_ascii=True, fallback=str).decode()
    except PydanticSerializationError:  # texts and bytes that are not Unicode
        return _encode_any(members)


def _put(lines: str) -> None:
    out = sys.stdout
    try:
        out.write(lines)
        out.flush()
    except (OSError, ValueError):
        pass  # whoever read it is gone, or its disk is full, or it is closed


class _ToStructuredLog(logging.Handler):
    """Writes what a library says through `logging` as a line of a structured log."""

    def __init__(self, log: StructuredLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.write_record(record)


logger: Final = StructuredLog()
"""The one log of a function."""


def start_logging(level: str) -> None:
    """Set the function's log up, once per execution environment, and take in what `inference` logs.

    Without this, a line of `inference` ("fetched the model", "using the CPU") is lost, or is no JSON.

    Parameters
    ----------
    level
        As in `StructuredLog`.
    """
    logger.configure(os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "onnx-ledger"), level)
    library = logging.getLogger(LOGS_THROUGH_LOGGING)
    library.handlers = [_ToStructuredLog(logger)]
    library.setLevel(level)
    # Lambda's own handler, on the root logger, would write the same line again.
    library.propagate = not on_lambda()
