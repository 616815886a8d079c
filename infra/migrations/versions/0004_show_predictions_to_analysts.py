"""show predictions to analysts.

``prediction_log`` is a view for people and their tools: it has one row for each prediction, with its model and input.
It stores nothing and no function reads it, so it does not slow down an insert.

PostgreSQL refuses to drop a column that a view shows, or to change its type. A migration that does so must drop the
view first and create it again last, in the same transaction. A migration that adds a column need not touch the view.
People's queries name the view's columns: rename or drop one only as `infra/README.md` says for a table's.

The joins are outer joins although every prediction has an input: PostgreSQL skips an outer join when a query uses none
of its columns, so counting labels does not read the inputs.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = (
    """
    CREATE VIEW prediction_log AS
    SELECT
        prediction.prediction_id,
        prediction.created_at,
        prediction.user_id,
        prediction.status,
        model.name AS model_name,
        model.version AS model_version,
        model.task,
        prediction.label,
        prediction.likely_class,
        prediction.confidence,
        prediction.predicted_value #>> '{}' AS predicted_value,
        prediction.output,
        input.features,
        prediction.metadata,
        prediction.duration_ms,
        prediction.error,
        input.contenttype,
        input.filename,
        input.size AS input_bytes,
        encode(input.sha256, 'hex') AS input_sha256,
        input.uri AS input_uri,
        prediction.input_id,
        prediction.model_id
    FROM predictions prediction
    LEFT JOIN models model USING (model_id)
    LEFT JOIN inputs input USING (input_id)
    """,
    "COMMENT ON VIEW prediction_log IS 'Every prediction with its model and its input, for analysis.'",
    "COMMENT ON COLUMN prediction_log.model_name IS 'Null until an asynchronous prediction has been made.'",
    """
    COMMENT ON COLUMN prediction_log.predicted_value IS
        'The label, or the number of a regression, as text: predicted_value::float8 computes with it.'
    """,
    """
    COMMENT ON COLUMN prediction_log.features IS
        'As they were sent, an object by name or a list: features ->> ''bmi'', features ->> 0. Null for an image.'
    """,
    "COMMENT ON COLUMN prediction_log.input_uri IS 'Where the image is, s3://bucket/key, if not in inputs.content.'",
)


def upgrade() -> None:
    """Create the view."""
    for statement in _STATEMENTS:
        op.execute(statement)
