"""What functions need besides themselves, each a service that is started before them and stopped after them."""

from collections.abc import Mapping
from pathlib import Path

from local.errors import CannotServeError
from local.services.postgres import EmbeddedPostgres, PostgresError


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

    @property
    def opened(self) -> tuple[Path, ...]:
        """Folders that were made searchable for its system user at the start. Empty unless run as root."""
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
