"""What can keep the local server from starting."""


class CannotServeError(Exception):
    """The local server cannot start, or cannot go on. The message is one line for the person who started it."""
