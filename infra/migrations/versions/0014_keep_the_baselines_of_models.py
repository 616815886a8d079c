"""keep the baselines of models.

A package's ``baseline.json`` says what the model's inputs and answers looked like when the model was made. Predictions
are compared with it.

The migration only expands the schema: functions of the previous version register models without a baseline.
"""

from alembic import op

revision = "0014"
down_revision = "0013"

_STATEMENTS = (
    "ALTER TABLE models ADD COLUMN baseline jsonb",
    """
    COMMENT ON COLUMN models.baseline IS
        'What baseline.json in its package says: counts of inputs and answers to compare with. Null if there is none.'
    """,
)


def upgrade() -> None:
    """Add the column."""
    for statement in _STATEMENTS:
        op.execute(statement)
