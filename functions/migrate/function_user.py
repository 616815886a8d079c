"""Create the database user that the other functions log in as. It can read and write rows, and change nothing else.

This applies only to a database that the stack creates. In your own database, you create the users.
"""

from typing import Final

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url

FUNCTION_USER: Final = "ledger_function"
"""The user's name, which `infra/database.yaml` puts into the functions' `DATABASE_URL`."""

# Any number will do that no other advisory lock in this database uses.
_LOCK: Final = "SELECT pg_advisory_lock(2025047)"

_EXISTS: Final = "SELECT 1 FROM pg_roles WHERE rolname = 'ledger_function'"
_CREATE: Final = "CREATE ROLE ledger_function LOGIN"

_GRANTS: Final = (
    # Members of this role, which RDS provides, log in with an IAM token instead of a password.
    "GRANT rds_iam TO ledger_function",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ledger_function",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ledger_function",
    # Only the migration changes the schema's revision.
    "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM ledger_function",
)


def make_function_user(owner_url: str) -> None:
    """Create the user if it is missing, and grant it its rights on all existing tables.

    It is safe to call this again, and twice at once.

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
        # Two sessions that grant at once fail on each other's catalogue rows. The lock ends with the connection.
        connection.run(_LOCK, {})
        if not connection.run(_EXISTS, {}):
            connection.run(_CREATE, {})
        for grant in _GRANTS:
            connection.run(grant, {})
    finally:
        connection.close()
