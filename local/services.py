"""What functions need besides themselves, each a service that is started before them and stopped after them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from local.console import complain
from local.errors import CannotServeError
from local.postgres import EmbeddedPostgres, PostgresError


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


class EmbeddedDatabase:
    """The database in the home folder.

    Parameters
    ----------
    folder
        Where its data is; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"PostgreSQL in {folder}"
        self._postgres = EmbeddedPostgres(folder)

    def start(self) -> Mapping[str, str]:
        """Start PostgreSQL, and say what stays of it on the machine besides the folder."""
        try:
            url = self._postgres.start()
        except PostgresError as error:
            raise CannotServeError(str(error)) from error
        while self._postgres.left_behind:
            complain(f"root       {self._postgres.left_behind.pop(0)}")
        return {"DATABASE_URL": url}

    def running(self) -> bool:
        """Tell whether PostgreSQL runs."""
        return self._postgres.pid is not None

    def stop(self) -> None:
        """Stop PostgreSQL; what was committed is kept."""
        self._postgres.stop()


class GivenDatabase:
    """A database that somebody else runs.

    Parameters
    ----------
    url
        Where it is.
    """

    name = "the database of DATABASE_URL"

    def __init__(self, url: str) -> None:
        self._url = url

    def start(self) -> Mapping[str, str]:
        """Do nothing: whether it answers shows when it is migrated."""
        return {"DATABASE_URL": self._url}

    def running(self) -> bool:
        """Leave that to whoever runs it."""
        return True

    def stop(self) -> None:
        """Leave that to whoever runs it."""
