"""What the local server asks of a service that it runs beside the functions."""

from collections.abc import Mapping
from typing import Protocol


class Service(Protocol):
    """Something that runs beside the functions. Its methods block, and are called from one thread at a time."""

    name: str
    """What people call it."""

    def start(self) -> Mapping[str, str]:
        """Start it, or start it again, and wait until it works.

        Returns
        -------
        Mapping of str to str
            Environment variables that tell functions where it is.

        Raises
        ------
        CannotServeError
            If it does not work.
        """

    def running(self) -> bool:
        """Tell whether it still runs."""

    def stop(self) -> None:
        """Stop it and whatever it started. Called as well where it was never started, or did not start."""
