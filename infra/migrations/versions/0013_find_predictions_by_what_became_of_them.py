"""find predictions by what became of them.

The list finds predictions by the caller's own id, by their ground truth, and by their confidence.
docs/decisions/list.md says why it needs these indexes.

``judged_predictions`` has a row for each prediction with a ground truth, and the indexes that find these. On
``predictions`` itself, each of those indexes would make every stored prediction more expensive, even one that is never
judged. A trigger maintains the table, whichever statement judges, withdraws or deletes. Storing a prediction does not
fire it. A ground truth can be longer than an entry of an index, so the table has only its beginning.

The indexes are built while others write. An interrupted build leaves an invalid index, which is dropped first, so this
revision can be run again.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

_INDEXES = {
    "predictions_by_inference_id": "(inference_id, prediction_id) WHERE inference_id IS NOT NULL",
    "predictions_by_confidence": "(confidence, prediction_id, user_id)",
}
_DROP = "DROP INDEX CONCURRENTLY IF EXISTS "
_CREATE = "CREATE INDEX CONCURRENTLY "
_ON = " ON predictions "

_STATEMENTS = (
    """
    CREATE TABLE judged_predictions (
        prediction_id uuid PRIMARY KEY,
        correct boolean,
        user_id text NOT NULL,
        ground_truth text NOT NULL
    )
    """,
    "CREATE INDEX judged_predictions_by_correct ON judged_predictions (correct, prediction_id)",
    "CREATE INDEX judged_predictions_by_user ON judged_predictions (user_id, prediction_id)",
    "CREATE INDEX judged_predictions_by_user_and_correct ON judged_predictions (user_id, correct, prediction_id)",
    "CREATE INDEX judged_predictions_by_ground_truth ON judged_predictions (ground_truth, prediction_id)",
    "COMMENT ON TABLE judged_predictions IS 'Predictions with a ground truth, to find them by. A trigger keeps it.'",
    "COMMENT ON COLUMN judged_predictions.correct IS 'As in predictions.'",
    """
    COMMENT ON COLUMN judged_predictions.ground_truth IS
        'The first 256 characters of the one in predictions: of a label itself, else of its JSON.'
    """,
    # The trigger fires once for each statement: 10,000 ground truths are one INSERT. It writes nothing if nothing was
    # judged, because not every database user that updates predictions may write to this table.
    """
    CREATE FUNCTION keep_judged_predictions() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        judged uuid[] := ARRAY(
            SELECT after.prediction_id FROM after JOIN before USING (prediction_id)
            WHERE after.ground_truth IS NOT NULL
              AND (after.ground_truth, after.correct) IS DISTINCT FROM (before.ground_truth, before.correct)
        );
        withdrawn uuid[] := ARRAY(
            SELECT after.prediction_id FROM after JOIN before USING (prediction_id)
            WHERE after.ground_truth IS NULL AND before.ground_truth IS NOT NULL
        );
    BEGIN
        IF cardinality(judged) > 0 THEN
            INSERT INTO judged_predictions (prediction_id, correct, user_id, ground_truth)
            SELECT prediction_id, correct, user_id, left(ground_truth #>> '{}', 256) FROM after
            WHERE prediction_id = ANY (judged)
            ON CONFLICT (prediction_id) DO UPDATE
            SET correct = excluded.correct, ground_truth = excluded.ground_truth;
        END IF;
        IF cardinality(withdrawn) > 0 THEN
            DELETE FROM judged_predictions WHERE prediction_id = ANY (withdrawn);
        END IF;
        RETURN NULL;
    END
    $$
    """,
    "COMMENT ON FUNCTION keep_judged_predictions IS 'Keeps judged_predictions as predictions says.'",
    """
    CREATE TRIGGER keep_judged AFTER UPDATE ON predictions REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_judged_predictions()
    """,
    """
    CREATE FUNCTION forget_judged_prediction() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM judged_predictions WHERE prediction_id = OLD.prediction_id;
        RETURN NULL;
    END
    $$
    """,
    "COMMENT ON FUNCTION forget_judged_prediction IS 'Keeps judged_predictions as predictions says.'",
    """
    CREATE TRIGGER forget_judged AFTER DELETE ON predictions FOR EACH ROW WHEN (OLD.ground_truth IS NOT NULL)
    EXECUTE FUNCTION forget_judged_prediction()
    """,
)


def upgrade() -> None:
    """Add the table, what keeps it, and the indexes."""
    context = op.get_context()
    if context.opts["has_session"]:
        with context.autocommit_block():
            op.execute("COMMIT")  # of the transaction in which the block has asked for the isolation level
            for name, columns in _INDEXES.items():
                op.execute(_DROP + name)
                op.execute(_CREATE + name + _ON + columns)
    else:
        # Behind a pooler, all revisions run in one transaction, which cannot build an index concurrently.
        for name, columns in _INDEXES.items():
            op.execute((_CREATE + name + _ON + columns).replace(" CONCURRENTLY", ""))
    for statement in _STATEMENTS:
        op.execute(statement)
