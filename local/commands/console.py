"""Prints lines for the person who started the server.

A line that cannot be printed is lost: the terminal is gone, or the file's disk is full, and the server goes on.
"""

import contextlib
import sys


def to_stdout(line: str) -> None:
    """Print a line of progress."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def to_stderr(line: str) -> None:
    """Print a line about a failure."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
