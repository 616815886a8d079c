"""The error that ends the local server."""


class CannotServeError(Exception):
    """The local server cannot start or go on. The message is one line for the person who started it."""
