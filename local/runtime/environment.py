"""One execution environment: a process that imports a handler once, and then runs it on one event after another.

`python -m local.runtime.environment package.module.function PERMITS`, started by `local.runtime.pool`. Standard input
is a socket to the server, over which both sides send frames: four bytes with the length (big-endian), then that many
bytes. `PERMITS` is the file descriptor of a pipe, not blocking.

- The server sends a line of JSON with the data of the context object (`id`, `trace`, and `timeout` in seconds), then
  the event as JSON. It may send an event while the environment runs another.
- The environment sends one byte, then JSON. Its first frame is `READY` (with nothing) or `FAILED_TO_START` (with an
  error). It answers each event that it begins with `RESULT` (the handler's result) or `ERROR` (an error).

The environment must read an event's id from the pipe of permits before it begins the event. An event that the server
has taken back has no permit, and would run twice.

An error is an object as Lambda's runtime makes it: `errorType`, `errorMessage` and, for an event, `stackTrace`.

Every cold start imports this module first, so it imports little, and nothing outside the standard library.
"""

import contextlib
import importlib
import io
import json
import os
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, NoReturn

from local.account import ACCOUNT

if TYPE_CHECKING:
    from typing_extensions import Buffer

READY = b"I"
FAILED_TO_START = b"F"
RESULT = b"R"
ERROR = b"E"
LENGTH_BYTES = 4
PERMIT_BYTES = 36
"""A permit is the id of an invocation, a UUID in text."""

Handler = Callable[[object, "LambdaContext"], object]

_encode = json.JSONEncoder(ensure_ascii=False).encode


class LambdaContext:
    """The second argument of a handler.

    Source: AWS, "Using the Lambda context object to retrieve Python function information".

    Parameters
    ----------
    request_id
        Id of the invocation.
    deadline
        When Lambda would stop the invocation, in milliseconds since the epoch.
    """

    identity = None
    client_context = None

    # Read once: these environment variables do not change, and reading them would cost more than the rest of the call.
    function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
    memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
    log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    invoked_function_arn = f"arn:aws:lambda:{os.environ.get('AWS_REGION', '')}:{ACCOUNT}:function:{function_name}"

    def __init__(self, request_id: str, deadline: int) -> None:
        self.aws_request_id = request_id
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still take, in milliseconds."""
        return max(0, self._deadline - int(time.time() * 1000))

    def log(self, message: str) -> None:
        """Write to the log."""
        sys.stdout.write(message)


class _LossyFile(io.FileIO):
    """A file that drops what cannot be written to it: a full disk must not end a request, or the environment."""

    def write(self, data: "Buffer") -> int:
        """Write, and say that all is written even if it is not."""
        with contextlib.suppress(OSError):
            super().write(data)
        return len(memoryview(data).cast("B"))


def _lossy(descriptor: int) -> io.TextIOWrapper:
    """Return a standard stream that writes each line as soon as it is complete."""
    raw = io.BufferedWriter(_LossyFile(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _load(path: str) -> Handler:
    """Import a handler by `package.module.function` (or `package/module.function`, which Lambda takes as well)."""
    module_name, _, name = path.replace("/", ".").rpartition(".")
    handler: Handler = getattr(importlib.import_module(module_name), name)
    return handler


def _describe(error: BaseException) -> dict[str, Any]:
    return {"errorType": type(error).__name__, "errorMessage": str(error)}


def _answer(handler: Handler, invocation: dict[str, Any], event: bytes) -> bytes:
    """Run the handler on one event and return the answer's frame, without its length."""
    os.environ["_X_AMZN_TRACE_ID"] = invocation["trace"]
    deadline = int((time.time() + invocation["timeout"]) * 1000)
    try:
        result = handler(json.loads(event), LambdaContext(invocation["id"], deadline))
        return RESULT + _encode(result).encode()
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is its answer
        lines = traceback.format_exception(error)
        sys.stderr.write(f"[ERROR] {''.join(lines)}")
        report = {**_describe(error), "requestId": invocation["id"], "stackTrace": lines}
        return ERROR + json.dumps(report).encode()


def _send(channel: socket.socket, payload: bytes) -> None:
    channel.sendall(len(payload).to_bytes(LENGTH_BYTES, "big") + payload)


def _receive(stream: IO[bytes]) -> bytes | None:
    """Return the next frame, or None if the server has ended."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    frame = stream.read(length)
    return frame if len(frame) == length else None


def _next_permit(permits: int) -> str:
    """Return the id of the next event that may begin, or "" if there is none."""
    try:
        return os.read(permits, PERMIT_BYTES).decode("ascii")
    except BlockingIOError:
        return ""


def _exit_with_server(channel: socket.socket) -> NoReturn:
    """End the process when the server ends, even while the main thread runs a handler."""
    watch = select.poll()
    watch.register(channel, 0)  # no events: poll() always reports a closed peer
    watch.poll()
    os._exit(0)


def main() -> None:
    """Run events until the server closes the connection."""
    channel = socket.socket(fileno=os.dup(0))
    permits = int(sys.argv[2])
    # A handler that reads standard input must not read the next event, which would then be lost.
    with open(os.devnull) as nothing:  # noqa: PTH123 - pathlib would cost every cold start its import
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_exit_with_server, args=(channel,), daemon=True).start()
    sys.stdout, sys.stderr = _lossy(1), _lossy(2)
    root = os.environ["LAMBDA_TASK_ROOT"]
    os.chdir(root)
    sys.path[0] = root
    try:
        handler = _load(sys.argv[1])
    except Exception as error:  # noqa: BLE001 - the server reports whatever the import raises
        traceback.print_exception(error)
        _send(channel, FAILED_TO_START + json.dumps(_describe(error)).encode())
        sys.exit(1)
    _send(channel, READY)
    with open(channel.fileno(), "rb", closefd=False) as stream:  # makefile reads in Python
        permit = ""
        while (frame := _receive(stream)) is not None:
            about, _, event = frame.partition(b"\n")
            invocation = json.loads(about)
            permit = permit or _next_permit(permits)
            if permit == invocation["id"]:
                permit = ""
                _send(channel, _answer(handler, invocation, event))


if __name__ == "__main__":
    main()
