"""The interface of a service that the local server starts and stops."""

from collections.abc import Mapping
from typing import Protocol


class Service(Protocol):
    """A service that functions use. Its methods block, and one thread at a time calls them."""

    name: str
    """The name for messages."""

    def start(self) -> Mapping[str, str]:
        """Start or restart the service, and wait until it accepts requests.

        Returns
        -------
        Mapping of str to str
            Environment variables with which functions find the service.

        Raises
        ------
        CannotServeError
            If the service does not start.
        """

    def running(self) -> bool:
        """Tell whether the service runs."""

    def stop(self) -> None:
        """Stop the service and all that it started. Do nothing if it was not started, or did not start."""
