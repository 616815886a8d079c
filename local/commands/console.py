"""Prints lines for the person who started the server."""

import sys


def to_stdout(line: str) -> None:
    """Print a line of progress."""
    print(line, flush=True)


def to_stderr(line: str) -> None:
    """Print a line about a failure."""
    print(line, file=sys.stderr, flush=True)
