"""Handlers that a queue and a schedule call, for the local server's tests. They log what they are called with."""

import json
import os
import signal
from typing import Any

Event = dict[str, Any]


def take(event: Event, _context: Any) -> dict[str, Any]:
    """Do what the messages say: fail on them alone, on the whole batch, or die."""
    print(json.dumps({"take": event}))
    bodies = [record["body"] for record in event["Records"]]
    if "raise" in bodies:
        raise ValueError("as asked")
    if "die" in bodies:
        os.kill(os.getpid(), signal.SIGKILL)
    failed = [record["messageId"] for record in event["Records"] if record["body"] == "bad"]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def tick(event: Event, _context: Any) -> None:
    """Do nothing."""
    print(json.dumps({"tick": event}))
