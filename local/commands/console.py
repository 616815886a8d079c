"""Lines for the person who started the server."""

import sys


def to_stdout(line: str) -> None:
    """Tell how it goes, on standard output."""
    print(line, flush=True)


def to_stderr(line: str) -> None:
    """Tell what goes wrong, on standard error."""
    print(line, file=sys.stderr, flush=True)
