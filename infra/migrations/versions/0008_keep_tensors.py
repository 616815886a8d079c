"""keep tensors.

An input may be named tensors, or a request of the Open Inference Protocol, and a model may have more outputs than the
one that is its answer. An image may be declared as something else than it is. The migration only expands the schema:
functions of the previous version store inputs without a form, which are images or features, and predictions without
further outputs.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

_STATEMENTS = (
    "ALTER TABLE inputs ADD COLUMN form text, ADD COLUMN header_length integer, ADD COLUMN declared_contenttype text",
    """
    COMMENT ON COLUMN inputs.declared_contenttype IS
        'What the caller declared an image to be. Null if that is its contenttype, or if nothing was declared.'
    """,
    """
    COMMENT ON COLUMN inputs.form IS
        'Null: content is an image, or features are features. tensors: features is an object of named tensors. v2: '
        'features is a request of the Open Inference Protocol. v2-binary: content is one with binary tensors.'
    """,
    "COMMENT ON COLUMN inputs.header_length IS 'Of v2-binary: how many bytes of the content are JSON.'",
    "ALTER TABLE predictions ADD COLUMN outputs jsonb",
    "COMMENT ON COLUMN predictions.output IS 'The model''s output for this input: what an answer calls prediction.'",
    """
    COMMENT ON COLUMN predictions.outputs IS
        'The model''s other outputs for this input by name, as {shape, datatype, data}. Null where it has none.'
    """,
    # A view may get more columns at its end; those that it has stay as they are.
    """
    CREATE OR REPLACE VIEW prediction_log AS
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
        prediction.model_id,
        input.form AS input_form,
        prediction.outputs,
        input.declared_contenttype
    FROM predictions prediction
    LEFT JOIN models model USING (model_id)
    LEFT JOIN inputs input USING (input_id)
    """,
    """
    COMMENT ON COLUMN prediction_log.features IS
        'As they were sent, an object by name or a list: features ->> ''bmi'', features ->> 0. Null for an image. '
        'Where input_form is tensors, the tensors by name; where it is v2, a request of the Open Inference Protocol.'
    """,
    """
    COMMENT ON COLUMN prediction_log.output IS
        'What an answer calls prediction. Of a model that takes tensors: output #> ''{outputs,logits,data}''.'
    """,
    "COMMENT ON COLUMN prediction_log.outputs IS 'The other outputs by name: outputs #> ''{age,data}''.'",
)


def upgrade() -> None:
    """Add the columns for tensors, and show them to analysts."""
    for statement in _STATEMENTS:
        op.execute(statement)
