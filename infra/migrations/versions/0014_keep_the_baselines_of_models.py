"""keep the baselines of models.

What a model's inputs and answers looked like when it was made, as its package says it in ``baseline.json``: what is
predicted is compared with that.

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
