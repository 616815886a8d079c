"""One event on its way through a function: what it is known by, and how it can end."""

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
"""Bytes of JSON that Lambda takes as an event, or gives back as a result, of a synchronous invocation."""

encode: Callable[[object], bytes] = to_json
"""JSON as it travels: compact, in UTF-8."""


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What one request is known by."""

    request_id: str
    """API Gateway's, in the header `apigw-requestid` and in the event's `requestContext`."""

    invocation_id: str
    """Lambda's, `context.aws_request_id`: a random UUID."""

    trace_id: str
    """X-Ray's tracing header."""


def new_identifiers() -> Identifiers:
    """Make identifiers for one request."""
    noise = os.urandom(39)
    digits = noise[:28].hex()
    version_4 = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[noise[8] & 3]}{digits[17:20]}-{digits[20:32]}"
    return Identifiers(
        request_id=binascii.b2a_base64(noise[28:], newline=False).decode("ascii"),
        invocation_id=version_4,
        trace_id=f"Root=1-{int(time.time()):08x}-{digits[32:56]}",
    )


class FunctionError(Exception):
    """An invocation ended without a result: the handler raised, or its process ended. Lambda's "function error"."""


class FunctionTimeoutError(Exception):
    """An invocation took longer than its function may."""


class FunctionStartError(Exception):
    """A function's environment could not be started, or its handler could not be imported. One line that says why."""


class Invocation:
    """One event on its way through a function.

    Parameters
    ----------
    event
        The event, as JSON.
    identifiers
        What it is known by.

    Attributes
    ----------
    result : asyncio.Future of bytes
        The handler's result as JSON; or `FunctionError`, `FunctionTimeoutError`, `FunctionStartError`. Once it is
        cancelled nobody waits for it: as long as no environment was given the event it is never begun.
    """

    __slots__ = ("event", "identifiers", "result")

    def __init__(self, event: bytes, identifiers: Identifiers) -> None:
        self.event = event
        self.identifiers = identifiers
        self.result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def end(self, kind: bytes, payload: bytes) -> None:
        """End it with what the environment has answered."""
        if kind == ERROR:
            self.fail(FunctionError(describe(json.loads(payload))))
        elif len(payload) > LARGEST_PAYLOAD:
            self.fail(FunctionError(f"its result has {len(payload)} bytes, over the limit of {LARGEST_PAYLOAD}"))
        elif not self.result.done():
            self.result.set_result(payload)

    def fail(self, error: Exception) -> None:
        """End it without a result."""
        if not self.result.done():
            self.result.set_exception(error)


def describe(error: Mapping[str, str]) -> str:
    """Return an error, as the environment reports it, in one line."""
    return " ".join(f"{error['errorType']}: {error['errorMessage']}".split())
