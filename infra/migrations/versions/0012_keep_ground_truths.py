"""keep ground truths.

A ground truth says what a prediction should have been. It comes later, may come more than once, and may be withdrawn.
``ground_truths`` keeps each, and the row of the prediction has the current one, so that no figure needs a join. The row
also has what other figures need: the caller's own id, what was measured, and the kind of a failure. No index has any of
this yet, so a prediction that is stored without it costs what it did.

A foreign key deletes the ground truths together with their prediction, whoever deletes that: also if one is given at
the same moment, and also if a function of the previous version deletes. It costs a deletion one look-up, and storing a
prediction nothing.

The migration only expands the schema: functions of the previous version read and write none of it.
"""

from alembic import op

revision = "0012"
down_revision = "0011"

_STATEMENTS = (
    """
    ALTER TABLE predictions
        ADD COLUMN inference_id text,
        ADD COLUMN ground_truth jsonb,
        ADD COLUMN correct boolean,
        ADD COLUMN judged_at timestamptz,
        ADD COLUMN failure text,
        ADD COLUMN measured real[]
    """,
    "COMMENT ON COLUMN predictions.inference_id IS 'The caller''s own id of what was predicted. Not unique.'",
    """
    COMMENT ON COLUMN predictions.ground_truth IS
        'What the prediction should have been: a label as a string, a number, a list of either for several targets, or '
        'any JSON of a model that takes tensors. Null if nobody has said so.'
    """,
    """
    COMMENT ON COLUMN predictions.correct IS
        'Of a classification with a ground truth: whether the label is the ground truth; of several targets, whether '
        'all are. Null otherwise.'
    """,
    "COMMENT ON COLUMN predictions.judged_at IS 'When the ground truth was given, or withdrawn if there is none.'",
    "COMMENT ON COLUMN predictions.failure IS 'Why it failed, as one word for figures. The error says it in full.'",
    """
    COMMENT ON COLUMN predictions.measured IS
        'By position: 1 decoding, 2 inference, 3 waiting in the queue, all in milliseconds; of a picture 4 width, '
        '5 height, 6 bytes, 7 brightness, 8 contrast. Null where there is none.'
    """,
    """
    CREATE TABLE ground_truths (
        prediction_id uuid NOT NULL REFERENCES predictions ON DELETE CASCADE,
        created_at timestamptz NOT NULL,
        value jsonb,
        source text,
        source_id text,
        comment text,
        given_by text,
        PRIMARY KEY (prediction_id, created_at)
    )
    """,
    "CREATE INDEX ground_truths_by_giver ON ground_truths (given_by) WHERE given_by IS NOT NULL",
    "COMMENT ON TABLE ground_truths IS 'Every ground truth that was given or withdrawn. The latest is in predictions.'",
    "COMMENT ON COLUMN ground_truths.created_at IS 'The later, the newer. The latest is judged_at of the prediction.'",
    "COMMENT ON COLUMN ground_truths.value IS 'As in predictions.ground_truth. Null if it was withdrawn.'",
    "COMMENT ON COLUMN ground_truths.source IS 'What kind of thing knows it: human, code or model.'",
    "COMMENT ON COLUMN ground_truths.source_id IS 'Which one, in the words of the caller.'",
    """
    COMMENT ON COLUMN ground_truths.given_by IS
        'The user of the token. Null without an authorizer, and once the user is erased.'
    """,
    # A view may only be replaced by one that has the same columns first, and new ones after them.
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
        input.declared_contenttype,
        prediction.inference_id,
        prediction.ground_truth #>> '{}' AS ground_truth,
        prediction.correct,
        prediction.judged_at
    FROM predictions prediction
    LEFT JOIN models model USING (model_id)
    LEFT JOIN inputs input USING (input_id)
    """,
    """
    COMMENT ON COLUMN prediction_log.ground_truth IS
        'What predicted_value should have been, written in the same way. Null if nobody has said so.'
    """,
)


def upgrade() -> None:
    """Add the columns and the table, and show the ground truth to analysts."""
    for statement in _STATEMENTS:
        op.execute(statement)
