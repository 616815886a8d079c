"""Handlers for a queue and a schedule, for the local server's tests. They log their events."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

Event = dict[str, Any]

WAIT_FOR = "wait for "


def take(event: Event, _context: Any) -> dict[str, Any]:
    """Do what the messages say: report a failure, raise an exception, kill the process, or wait for a file."""
    print(json.dumps({"take": event}))
    bodies = [record["body"] for record in event["Records"]]
    if "raise" in bodies:
        raise ValueError("as asked")
    if "die" in bodies:
        os.kill(os.getpid(), signal.SIGKILL)
    for body in bodies:
        if body.startswith(WAIT_FOR):
            until = time.monotonic() + 100
            while not Path(body.removeprefix(WAIT_FOR)).exists() and time.monotonic() < until:
                time.sleep(0.05)
    failed = [record["messageId"] for record in event["Records"] if record["body"] == "bad"]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def tick(event: Event, _context: Any) -> None:
    """Log the event."""
    print(json.dumps({"tick": event}))


def tock(event: Event, _context: Any) -> None:
    """Log the event."""
    print(json.dumps({"tock": event}))
