"""The database as a service: an embedded PostgreSQL, or the one that `DATABASE_URL` names."""

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

    @property
    def opened(self) -> tuple[Path, ...]:
        """Folders that the start made searchable for PostgreSQL's system user. Empty unless run as root."""
        return self._postgres.opened

    def start(self) -> Mapping[str, str]:
        """Start PostgreSQL."""
        try:
            return {"DATABASE_URL": self._postgres.start()}
        except PostgresError as error:
            raise CannotServeError(str(error)) from error

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
