"""show predictions to analysts.

``prediction_log`` is a view for people and their tools: one row a prediction, with its model and its input. It stores
nothing, and no function reads it, so it costs a stored prediction nothing.

PostgreSQL refuses to drop a column that a view shows, or to change its type. A migration that does so drops the view
first and makes it again last, in the same transaction; a column that is added to a table does not concern it. A column
of the view is what somebody's query names: rename or drop one as `infra/README.md` says of a table's.

The joins are outer joins although every prediction has an input: PostgreSQL leaves an outer join out where a query asks
for none of its columns, and so does not read the inputs to count labels.
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
    """Make the view."""
    for statement in _STATEMENTS:
        op.execute(statement)
