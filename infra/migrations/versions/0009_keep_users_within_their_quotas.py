"""keep users within their quotas.

``quota_usage`` counts what a user has stored, one row a user, and only where a quota is set. The statement that stores
also counts, and casts what it finds to ``within_quotas``: over a quota, the cast fails by the constraint of that name,
and the statement is rolled back. What can be counted from the rows themselves, queued predictions and open uploads, is
not counted here: a count that is kept can drift.

``inputs.counted`` says whether an input's bytes are in its user's count, so that deleting it gives back what it took,
and nothing if it was stored while no quota was set.

A function of SQL that is volatile takes a snapshot of its own for each call. So the two that count rows see what others
have committed while their statement waited for the user's row, and of two requests for the last place one is refused.

The index is built while others write. A build that was interrupted leaves an invalid index, which is dropped first.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

_INDEX = """
CREATE INDEX CONCURRENTLY predictions_unfinished_by_user ON predictions (user_id)
WHERE status IN ('queued', 'processing')
"""

_STATEMENTS = (
    # Every request of a user updates the row: room on its page lets PostgreSQL do that without touching the index.
    """
    CREATE TABLE quota_usage (
        user_id text PRIMARY KEY,
        hour timestamptz NOT NULL,
        predictions bigint NOT NULL,
        stored_bytes bigint NOT NULL
    ) WITH (fillfactor = 50)
    """,
    "COMMENT ON TABLE quota_usage IS 'What users have stored while there were quotas, to keep them within these.'",
    "COMMENT ON COLUMN quota_usage.hour IS 'The beginning of the hour that predictions is of.'",
    "COMMENT ON COLUMN quota_usage.predictions IS 'Predictions stored in that hour, deleted ones included.'",
    "COMMENT ON COLUMN quota_usage.stored_bytes IS 'The sum of the sizes of the user''s inputs that are counted.'",
    "ALTER TABLE inputs ADD COLUMN counted boolean",
    "COMMENT ON COLUMN inputs.counted IS 'Whether its size is in quota_usage. Null if there was no quota.'",
    """
    CREATE DOMAIN within_quotas AS text
        CONSTRAINT predictions_per_hour CHECK (VALUE <> 'predictions_per_hour')
        CONSTRAINT stored_bytes CHECK (VALUE <> 'stored_bytes')
        CONSTRAINT queued_predictions CHECK (VALUE <> 'queued_predictions')
        CONSTRAINT open_uploads CHECK (VALUE <> 'open_uploads')
    """,
    "COMMENT ON DOMAIN within_quotas IS 'Null; or the name of an exceeded quota, which violates that constraint.'",
    """
    CREATE FUNCTION more_unfinished_than(text, bigint) RETURNS boolean LANGUAGE sql STRICT SECURITY DEFINER
    BEGIN ATOMIC
        SELECT EXISTS (
            SELECT FROM predictions WHERE user_id = $1 AND status IN ('queued', 'processing') OFFSET $2
        );
    END
    """,
    "COMMENT ON FUNCTION more_unfinished_than IS 'Whether a user has more predictions queued or in processing.'",
    # An upload is open until it has been predicted, or is deleted.
    """
    CREATE FUNCTION more_open_uploads_than(text, bigint) RETURNS boolean LANGUAGE sql STRICT SECURITY DEFINER
    BEGIN ATOMIC
        SELECT EXISTS (
            SELECT FROM uploads u
            WHERE u.user_id = $1 AND NOT EXISTS (SELECT FROM inputs i WHERE i.input_id = u.input_id) OFFSET $2
        );
    END
    """,
    "COMMENT ON FUNCTION more_open_uploads_than IS 'Whether a user has more uploads that are not predicted.'",
    "REVOKE EXECUTE ON FUNCTION more_unfinished_than, more_open_uploads_than FROM PUBLIC",
    # As in revision 0007; what is withdrawn is not counted either.
    """
    CREATE OR REPLACE FUNCTION withdraw_queued(uuid) RETURNS boolean LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC
        WITH withdrawn AS (
            DELETE FROM predictions WHERE prediction_id = $1 AND status = 'queued'
            RETURNING prediction_id, input_id, user_id
        ), input AS (
            DELETE FROM inputs i USING withdrawn
            WHERE i.input_id = withdrawn.input_id AND NOT EXISTS (SELECT FROM uploads u WHERE u.input_id = i.input_id)
            RETURNING i.size, i.counted
        ), usage AS (
            UPDATE quota_usage u
            SET predictions = greatest(u.predictions - 1, 0),
                stored_bytes = greatest(u.stored_bytes - coalesce((SELECT size FROM input WHERE counted), 0), 0)
            FROM withdrawn WHERE u.user_id = withdrawn.user_id
        )
        SELECT EXISTS (SELECT FROM withdrawn) OR NOT EXISTS (SELECT FROM predictions WHERE prediction_id = $1);
    END
    """,
    """
    CREATE OR REPLACE FUNCTION withdraw_queued(uuid, text, text) RETURNS boolean LANGUAGE sql SECURITY DEFINER
    BEGIN ATOMIC
        WITH unsent AS (
            SELECT prediction_id, xmin AS written_by FROM predictions
            WHERE prediction_id = $1 AND status = 'queued'
            FOR UPDATE
        ), idempotency_key AS (
            DELETE FROM idempotency_keys k USING unsent
            WHERE k.user_id = $2 AND k.key = $3 AND k.xmin = unsent.written_by
            RETURNING unsent.prediction_id
        ), withdrawn AS (
            DELETE FROM predictions p USING idempotency_key k WHERE p.prediction_id = k.prediction_id
            RETURNING p.prediction_id, p.input_id, p.user_id
        ), input AS (
            DELETE FROM inputs i USING withdrawn
            WHERE i.input_id = withdrawn.input_id AND NOT EXISTS (SELECT FROM uploads u WHERE u.input_id = i.input_id)
            RETURNING i.size, i.counted
        ), usage AS (
            UPDATE quota_usage u
            SET predictions = greatest(u.predictions - 1, 0),
                stored_bytes = greatest(u.stored_bytes - coalesce((SELECT size FROM input WHERE counted), 0), 0)
            FROM withdrawn WHERE u.user_id = withdrawn.user_id
        )
        SELECT EXISTS (SELECT FROM withdrawn) OR NOT EXISTS (SELECT FROM predictions WHERE prediction_id = $1);
    END
    """,
)


def upgrade() -> None:
    """Add what counts, and the index and the functions that count the rest."""
    context = op.get_context()
    if context.opts["has_session"]:
        with context.autocommit_block():
            op.execute("COMMIT")  # of the transaction in which the block has asked for the isolation level
            op.execute("DROP INDEX CONCURRENTLY IF EXISTS predictions_unfinished_by_user")
            op.execute(_INDEX)
    else:
        # Behind a pooler all revisions are one transaction, in which no index can be built concurrently.
        op.execute(_INDEX.replace(" CONCURRENTLY", ""))
    for statement in _STATEMENTS:
        op.execute(statement)
