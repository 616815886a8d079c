"""find what is to be deleted.

The indexes are built while others write. A build that was interrupted leaves an invalid index, which is dropped first,
so this revision can be run again although it is no transaction.

Idempotency keys are found by the predictions that they stored. Nearly all have stored one, so the small index on the
first suffices; only those of several predictions are in the larger one.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

_DROP = (
    "DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_by_age",
    "DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_by_first_prediction",
    "DROP INDEX CONCURRENTLY IF EXISTS idempotency_keys_by_several_predictions",
    "DROP INDEX CONCURRENTLY IF EXISTS uploads_by_age",
    "DROP INDEX CONCURRENTLY IF EXISTS uploads_by_user",
    "DROP INDEX CONCURRENTLY IF EXISTS inputs_by_upload",
)

_CREATE = (
    "CREATE INDEX CONCURRENTLY idempotency_keys_by_age ON idempotency_keys (created_at)",
    "CREATE INDEX CONCURRENTLY idempotency_keys_by_first_prediction ON idempotency_keys ((prediction_ids[1]))",
    """
    CREATE INDEX CONCURRENTLY idempotency_keys_by_several_predictions ON idempotency_keys USING gin (prediction_ids)
    WHERE cardinality(prediction_ids) > 1
    """,
    "CREATE INDEX CONCURRENTLY uploads_by_age ON uploads (created_at)",
    "CREATE INDEX CONCURRENTLY uploads_by_user ON uploads (user_id, created_at)",
    "CREATE INDEX CONCURRENTLY inputs_by_upload ON inputs (upload_id) WHERE upload_id IS NOT NULL",
)


def upgrade() -> None:
    """Add the indexes that deletions and the sweep read."""
    context = op.get_context()
    if context.opts["has_session"]:
        with context.autocommit_block():
            op.execute("COMMIT")  # of the transaction in which the block has asked for the isolation level
            for statement in (*_DROP, *_CREATE):
                op.execute(statement)
        return
    # Behind a pooler all revisions are one transaction, in which no index can be built concurrently.
    for statement in _CREATE:
        op.execute(statement.replace(" CONCURRENTLY", ""))
