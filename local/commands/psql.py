"""`python -m local psql`: PostgreSQL's own client, connected to the ledger's database."""

import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from functions.shared.ledger.database_url import DatabaseAddress, parse_database_url
from functions.shared.ledger.errors import LedgerError
from functions.shared.ledger.login import password_now
from local.errors import CannotServeError
from local.services.postgres import EmbeddedPostgres, PostgresError, bundled_binaries
from local.settings import Settings


def psql(settings: Settings, arguments: Sequence[str]) -> int:
    """Run psql on the database that `make serve` stores in, and return its exit status.

    That is the database of `DATABASE_URL`, else the one in the home folder. Where no server runs it, it is started, and
    stopped when psql ends. Until then `make serve` finds it in use, and a second psql is a guest of the first.

    Parameters
    ----------
    settings
        As for the server.
    arguments
        psql's own, such as `-c` and a statement.

    Raises
    ------
    CannotServeError
        If there is no such database, or no psql that can connect to it.
    """
    # Ctrl-C cancels psql's statement, not this process, which has a database to stop. A handler, and not SIG_IGN, which
    # psql's pager would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if settings.database_url is not None:
            return _run(parse_database_url(settings.database_url), arguments)
        database = EmbeddedPostgres(settings.ledger_home / "postgres")
        if not database.exists():
            raise CannotServeError(f"there is no ledger in {settings.ledger_home} yet: `make serve` makes one")
        if running := database.running_url():
            return _run(parse_database_url(running), arguments)
        with database:
            return _run(parse_database_url(database.url), arguments)
    except (LedgerError, PostgresError) as error:
        raise CannotServeError(str(error)) from error


def connection_environment(address: DatabaseAddress) -> Mapping[str, str]:
    """Return libpq's environment variables for an address. A command line would show the password to everybody.

    Parameters
    ----------
    address
        Where the database is.

    Raises
    ------
    LedgerUnavailableError
        If the address wants an IAM token, and none can be signed.
    """
    variables = {
        "PGHOST": address.socket_directory or address.host or "",
        "PGPORT": str(address.port),
        "PGUSER": address.user,
        "PGDATABASE": address.database,
        "PGSSLMODE": "disable",
        "PGTARGETSESSIONATTRS": address.target_session_attrs,
    }
    if password := password_now(address):
        variables["PGPASSWORD"] = password
    if address.options is not None:
        variables["PGOPTIONS"] = address.options
    if address.channel_binding_required:
        variables["PGCHANNELBINDING"] = "require"
    if address.verify_tls:
        variables["PGSSLMODE"] = "verify-full"
        # `system` is OpenSSL's choice, as the functions have it; a libpq before 16 takes it for a file's name.
        variables["PGSSLROOTCERT"] = address.ca_file or ssl.get_default_verify_paths().cafile or "system"
    return variables


def _run(address: DatabaseAddress, arguments: Sequence[str]) -> int:
    # A PGSERVICE or PGHOSTADDR of the caller's would lead to another database.
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    command = [str(_client(address)), *arguments]
    return subprocess.run(command, env={**others, **connection_environment(address)}, check=False).returncode


def _client(address: DatabaseAddress) -> Path:
    """Return the psql of the embedded PostgreSQL's version, or one that speaks TLS, which that one does not."""
    if not address.verify_tls:
        return bundled_binaries() / "psql"
    if found := shutil.which("psql"):
        return Path(found)
    raise CannotServeError(
        "there is no psql on PATH, and the bundled one has no TLS: install PostgreSQL's client, or let any other one "
        f"connect to host {address.host}, port {address.port}, database {address.database}, user {address.user}, "
        "with sslmode verify-full"
    )
