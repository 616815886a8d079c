"""withdraw without the right to delete.

A request that cannot be queued after all is withdrawn. These functions do that with their owner's rights, so that the
database user of ``predict`` needs no right to delete: all it can delete is a prediction that is still queued.

Their bodies are parsed here, once (``BEGIN ATOMIC``): they mean these tables, whatever the caller's ``search_path`` or
temporary tables are. PostgreSQL refuses to drop a column that they use.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_STATEMENTS = (
    # An uploaded input stays, because other predictions may use it.
    """
    CREATE FUNCTION withdraw_queued(uuid) RETURNS boolean LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC
        WITH withdrawn AS (
            DELETE FROM predictions WHERE prediction_id = $1 AND status = 'queued'
            RETURNING prediction_id, input_id
        ), input AS (
            DELETE FROM inputs i USING withdrawn
            WHERE i.input_id = withdrawn.input_id AND NOT EXISTS (SELECT FROM uploads u WHERE u.input_id = i.input_id)
        )
        SELECT EXISTS (SELECT FROM withdrawn) OR NOT EXISTS (SELECT FROM predictions WHERE prediction_id = $1);
    END
    """,
    # As above, but also keeps a prediction that another request with the same key was answered with. That request
    # updated the key's row, which therefore has an xmin other than that of the prediction's transaction.
    """
    CREATE FUNCTION withdraw_queued(uuid, text, text) RETURNS boolean LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC
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
            RETURNING p.prediction_id, p.input_id
        ), input AS (
            DELETE FROM inputs i USING withdrawn
            WHERE i.input_id = withdrawn.input_id AND NOT EXISTS (SELECT FROM uploads u WHERE u.input_id = i.input_id)
        )
        SELECT EXISTS (SELECT FROM withdrawn) OR NOT EXISTS (SELECT FROM predictions WHERE prediction_id = $1);
    END
    """,
    "COMMENT ON FUNCTION withdraw_queued(uuid) IS 'Deletes a prediction that no worker has taken; false if one has.'",
    """
    COMMENT ON FUNCTION withdraw_queued(uuid, text, text) IS
        'The same for one that was asked for with an idempotency key: also false if another request was told of it.'
    """,
    "REVOKE EXECUTE ON FUNCTION withdraw_queued(uuid), withdraw_queued(uuid, text, text) FROM PUBLIC",
)


def upgrade() -> None:
    """Create the functions that withdraw a queued prediction."""
    for statement in _STATEMENTS:
        op.execute(statement)
