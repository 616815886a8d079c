"""Handlers of a small API, for the local server's tests."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def echo(event: Event, context: Any) -> dict[str, Any]:
    """Return the event, the context object's data and the environment variables."""
    remaining = context.get_remaining_time_in_millis()
    seen = {
        "event": event,
        "context": {
            name: getattr(context, name)
            for name in (
                "aws_request_id",
                "client_context",
                "function_name",
                "function_version",
                "identity",
                "invoked_function_arn",
                "log_group_name",
                "log_stream_name",
                "memory_limit_in_mb",
            )
        },
        "remaining": remaining,
        "environment": dict(os.environ),
        "input": sys.stdin.read(),
        "folder": str(Path.cwd()),
        "process": os.getpid(),
    }
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(seen)}


def behave(event: Event, context: Any) -> object:
    """Do what the body says."""
    asked = json.loads(event["body"])
    match asked["do"]:
        case "return":
            return asked["result"]
        case "raise":
            raise ValueError(asked["message"])
        case "exit":
            sys.exit(3)
        case "be killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "return no JSON":
            return {"statusCode": 200, "body": object()}
        case "return much":
            return {"statusCode": 200, "body": "x" * asked["size"]}
        case "write":
            print(f"{context.aws_request_id} {os.environ['_X_AMZN_TRACE_ID']}")
        case "hang":
            while True:
                time.sleep(1)
    return None


def sleep(event: Event, context: Any) -> dict[str, Any]:
    """Sleep for some seconds. Append a line to `file` if there is one. Kill the process if `then` is `die`.

    Make the file `begins` before, if there is one.
    """
    asked = event["queryStringParameters"]
    began, remaining = time.monotonic(), context.get_remaining_time_in_millis()
    if "begins" in asked:
        Path(asked["begins"]).touch()
    time.sleep(float(asked["seconds"]))
    if "file" in asked:
        with Path(asked["file"]).open("a") as file:
            file.write(f"{context.aws_request_id}\n")
    if asked.get("then") == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"began": began, "ended": time.monotonic(), "remaining": remaining, "process": os.getpid()}
