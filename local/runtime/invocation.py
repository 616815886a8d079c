"""One invocation of a function: its identifiers, its event, and its outcome."""

import asyncio
import binascii
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic_core import to_json

from local.runtime.environment import ERROR

LARGEST_PAYLOAD = 6 * 1024 * 1024
"""Lambda's limit for a synchronous invocation: bytes of JSON in the event, and in the result."""

encode: Callable[[object], bytes] = to_json
"""Return a value as compact JSON, in UTF-8."""


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The identifiers of one invocation."""

    request_id: str
    """API Gateway's id of the request: the header `apigw-requestid`, and a member of the event's `requestContext`."""

    invocation_id: str
    """Lambda's id of the invocation, a random UUID: `context.aws_request_id`."""

    trace_id: str
    """The value of X-Ray's tracing header."""


def new_identifiers() -> Identifiers:
    """Return new identifiers."""
    noise = os.urandom(39)
    digits = noise[:28].hex()
    version_4 = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[noise[8] & 3]}{digits[17:20]}-{digits[20:32]}"
    return Identifiers(
        request_id=binascii.b2a_base64(noise[28:], newline=False).decode("ascii"),
        invocation_id=version_4,
        trace_id=f"Root=1-{int(time.time()):08x}-{digits[32:56]}",
    )


class FunctionError(Exception):
    """The handler raised an exception, or its process ended. Lambda calls it a function error."""


class FunctionTimeoutError(Exception):
    """An invocation took longer than its function's timeout."""


class FunctionStartError(Exception):
    """An environment could not be started, or could not import its handler. The message is one line that says why."""


class Invocation:
    """One invocation of a function.

    Parameters
    ----------
    event
        The event, as JSON.
    identifiers
        Its identifiers.

    Attributes
    ----------
    result : asyncio.Future of bytes
        The handler's result as JSON, or `FunctionError`, `FunctionTimeoutError` or `FunctionStartError`. Cancel it if
        nobody waits any more: an event that no environment holds yet is then never begun.
    """

    __slots__ = ("event", "identifiers", "result")

    def __init__(self, event: bytes, identifiers: Identifiers) -> None:
        self.event = event
        self.identifiers = identifiers
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def end(self, kind: bytes, payload: bytes) -> None:
        """Set its outcome to what the environment answered."""
        if kind == ERROR:
            self.fail(FunctionError(describe(json.loads(payload))))
        elif len(payload) > LARGEST_PAYLOAD:
            self.fail(FunctionError(f"its result has {len(payload)} bytes; the limit is {LARGEST_PAYLOAD}"))
        elif not self.result.done():
            self.result.set_result(payload)

    def fail(self, error: Exception) -> None:
        """Set its outcome to an error."""
        if not self.result.done():
            self.result.set_exception(error)


def describe(error: Mapping[str, str]) -> str:
    """Return an error that an environment reported, in one line."""
    return " ".join(f"{error['errorType']}: {error['errorMessage']}".split())
