"""keep the settings of a model.

The migration only expands the schema: functions of the previous version register models without settings, which have
different ids.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

_STATEMENTS = (
    "ALTER TABLE models ADD COLUMN settings jsonb",
    """
    COMMENT ON COLUMN models.settings IS
        'model.json as it was in force, defaults included. Null where a model was registered before this was kept.'
    """,
    """
    COMMENT ON COLUMN models.sha256 IS
        'Of the .onnx file, its external data and the settings. Of the file alone where there is nothing more to tell.'
    """,
)


def upgrade() -> None:
    """Add the column for the settings that a model was served with."""
    for statement in _STATEMENTS:
        op.execute(statement)
