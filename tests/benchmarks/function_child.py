"""Functions in a process of their own, which take an event a line and say how long they were at it.

The process runs this file by its path, and imports nothing but the functions of the folder that it is started for: so
the functions of an earlier commit can be asked in turn with those of this one. Its log goes nowhere, its standard
output says what came of each event.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

_MILLISECONDS = 900_000  # that the context leaves: Lambda's most


class FunctionError(Exception):
    """A function has not answered as it should."""


@dataclass(frozen=True)
class Took:
    """What came of an event.

    Attributes
    ----------
    ms
        Milliseconds from the event to the answer, by the clock.
    processor_ms
        Milliseconds of the process's processor time.
    answer
        What the handler returned; None if it was not asked for.
    """

    ms: float
    processor_ms: float
    answer: Any = None


class FunctionChild:
    """The process.

    Parameters
    ----------
    environment
        Its environment variables, as `tests.benchmarks.child.function_environment` returns them.
    root
        The folder with the functions.
    """

    def __init__(self, environment: dict[str, str], root: Path) -> None:
        command = [sys.executable, "-P", __file__]  # -P: the modules beside this file must not hide others
        environment = {**environment, "PYTHONPATH": str(root)}
        self._process = subprocess.Popen(
            command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, function: str, event: object, *, status: int | None = 200, answer: bool = False) -> Took:
        """Call a function with an event.

        Parameters
        ----------
        function
            The function's folder, such as `predict`.
        event
            The event.
        status
            The status that its answer must have; None if it is no answer to an HTTP request.
        answer
            Whether to return the answer, too.

        Raises
        ------
        FunctionError
            If the process ends, or the status is another.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"function": function, "event": event}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise FunctionError(f"{function} ended its process: {self._process.wait()}")
        took = json.loads(line)
        returned = took["answer"]
        if status is not None and returned["statusCode"] != status:
            raise FunctionError(f"{function} answered {returned['statusCode']}: {returned['body'][:1000]}")
        return Took(took["ms"], took["processor_ms"], returned if answer else None)

    def __enter__(self) -> Self:
        """Return the process, which runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self._process.communicate()


class _Context:
    def __init__(self) -> None:
        self.aws_request_id = str(uuid4())

    def get_remaining_time_in_millis(self) -> int:
        return _MILLISECONDS


def _answer_events() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        asked = json.loads(line)
        handler = importlib.import_module(f"functions.{asked['function']}.handler").handler
        event, context = asked["event"], _Context()
        used, began = time.process_time(), time.perf_counter()
        answer = handler(event, context)
        took, used = time.perf_counter() - began, time.process_time() - used
        json.dump({"ms": took * 1000, "processor_ms": used * 1000, "answer": answer}, answers)
        answers.write("\n")
        answers.flush()


if __name__ == "__main__":
    _answer_events()
