"""The database as a service: an embedded PostgreSQL, or the one that `DATABASE_URL` names."""

import sys
from collections.abc import Mapping
from pathlib import Path

from local.errors import CannotServeError
from local.services.postgres import EmbeddedPostgres, PostgresError


class EmbeddedDatabase:
    """A PostgreSQL in the home folder.

    Parameters
    ----------
    folder
        The folder of its data; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"PostgreSQL in {folder}"
        self._postgres = EmbeddedPostgres(folder)

    def start(self) -> Mapping[str, str]:
        """Start PostgreSQL, and name what root's PostgreSQL leaves on the machine outside the folder."""
        try:
            url = self._postgres.start()
        except PostgresError as error:
            raise CannotServeError(str(error)) from error
        while self._postgres.left_behind:
            print(f"root       {self._postgres.left_behind.pop(0)}", file=sys.stderr, flush=True)
        return {"DATABASE_URL": url}

    def running(self) -> bool:
        """Tell whether PostgreSQL runs."""
        return self._postgres.pid is not None

    def stop(self) -> None:
        """Stop PostgreSQL. Committed data stays."""
        self._postgres.stop()


class GivenDatabase:
    """A database that the user runs.

    Parameters
    ----------
    url
        Its URL.
    """

    name = "the database of DATABASE_URL"

    def __init__(self, url: str) -> None:
        self._url = url

    def start(self) -> Mapping[str, str]:
        """Do nothing. The migration, which comes next, reports a database that does not answer."""
        return {"DATABASE_URL": self._url}

    def running(self) -> bool:
        """Return true: the user runs the database, and the server does not restart it."""
        return True

    def stop(self) -> None:
        """Do nothing: the user runs the database."""
