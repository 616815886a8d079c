"""The database user that the other functions log in as: it reads and writes rows, and can change nothing else.

Only where the stack makes the database itself. In a database of your own, users and what they may do are yours.
"""

from typing import Final

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url

FUNCTION_USER: Final = "ledger_function"
"""Its name, which `infra/database.yaml` puts into the functions' `DATABASE_URL`."""

# Any number, as long as nothing else takes an advisory lock of that number in this database.
_LOCK: Final = "SELECT pg_advisory_lock(2025047)"

_EXISTS: Final = "SELECT 1 FROM pg_roles WHERE rolname = 'ledger_function'"
_CREATE: Final = "CREATE ROLE ledger_function LOGIN"

_GRANTS: Final = (
    # Members of this role, which RDS provides, log in with an IAM token and not with a password.
    "GRANT rds_iam TO ledger_function",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ledger_function",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ledger_function",
    # Which revision the schema is at is not for a function to say.
    "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM ledger_function",
)


def make_function_user(owner_url: str) -> None:
    """Create the user if there is none, and give it its rights to all tables that there are now.

    Safe to run again, and twice at once.

    Parameters
    ----------
    owner_url : str
        ``DATABASE_URL`` of the role that owns the tables.

    Raises
    ------
    LedgerError
        If the database cannot be reached or refuses.
    """
    connection = Connection(parse_database_url(owner_url), prepared=False)
    try:
        # Two sessions that grant at once trip over each other's catalogue rows. The lock ends with the connection.
        connection.run(_LOCK, {})
        if not connection.run(_EXISTS, {}):
            connection.run(_CREATE, {})
        for grant in _GRANTS:
            connection.run(grant, {})
    finally:
        connection.close()
