"""An execution environment of `predict` in a process of its own, for what cannot be done to the process of the tests.

``python -m tests.faults.environment_child snapshot`` initializes as before a snapshot, and is then forked twice: the
two processes predict at the same time. ``... memory FILE...`` limits its memory after the initialization, and predicts
the files one after the other. All print JSON.
"""

import importlib
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.digits import Context, form_event
from tests.support.repository import DIGIT

PREDICTIONS = 20
MEGABYTES = 40
"""Memory that is left after the initialization: enough for a digit, and not for millions of pixels."""


def _sockets() -> set[str]:
    """Return the sockets that are open in this process, by their inodes."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _predict(handler: Any, content: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = handler(form_event("/prediction", content), Context())
    return answer


def initialized() -> list[str]:
    """Initialize, and return the sockets that this left open."""
    before = _sockets()
    importlib.import_module("functions.predict.handler")
    return sorted(_sockets() - before)


def snapshot() -> dict[str, Any]:
    """Initialize, fork twice, and return what each process did."""
    left_open = initialized()
    from functions.predict.handler import handler

    before = _sockets()
    restored = []
    for _ in range(2):
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reader)
            answers = [json.loads(_predict(handler, DIGIT.read_bytes())["body"]) for _ in range(PREDICTIONS)]
            done = {
                "prediction_ids": [one["prediction_id"] for one in answers],
                "input_ids": [one["input_id"] for one in answers],
                "sockets": sorted(_sockets() - before),
            }
            os.write(writer, json.dumps(done).encode())
            os.close(writer)
            os._exit(0)
        os.close(writer)
        restored.append((process, reader))
    results = []
    for process, reader in restored:
        with os.fdopen(reader, "rb") as pipe:
            results.append(json.loads(pipe.read()))
        os.waitpid(process, 0)
    return {"left_open": left_open, "processes": results}


def memory(files: Sequence[str]) -> list[dict[str, Any]]:
    """Limit the memory of this process, and return the answer for each file."""
    from functions.predict.handler import handler

    _predict(handler, DIGIT.read_bytes())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + MEGABYTES * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    answers = [_predict(handler, Path(file).read_bytes()) for file in files]
    return [
        {"status": one["statusCode"], "headers": one["headers"], "detail": json.loads(one["body"]).get("detail")}
        for one in answers
    ]


if __name__ == "__main__":
    kind, *arguments = sys.argv[1:]
    result: object = {"snapshot": snapshot, "initialized": initialized, "memory": lambda: memory(arguments)}[kind]()
    print(json.dumps(result), file=sys.stderr)
