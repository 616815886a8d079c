"""keep the queue in the ledger.

Where no SQS counts deliveries, the ledger counts attempts: a prediction that ends its worker is given up after some.
Where no EventBridge starts the sweep, the ledger says when it began last: of several servers, one begins the next.

The migration only expands the schema. Functions on Lambda read and write neither.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

_STATEMENTS = (
    "ALTER TABLE predictions ADD COLUMN attempts smallint",
    """
    COMMENT ON COLUMN predictions.attempts IS
        'Of an asynchronous prediction that a server made without SQS: how often a worker claimed it.'
    """,
    "CREATE TABLE schedule (task text PRIMARY KEY, began_at timestamptz NOT NULL)",
    "COMMENT ON TABLE schedule IS 'When servers last began what one of them does from time to time.'",
)


def upgrade() -> None:
    """Add the count of attempts, and the schedule."""
    for statement in _STATEMENTS:
        op.execute(statement)
