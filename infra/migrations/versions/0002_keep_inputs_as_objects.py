"""keep inputs as objects.

An input may be an object in S3 instead of bytes in the database; its row then has the object's URI. The migration only
expands the schema: functions of the previous version keep storing bytes.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "ALTER TABLE inputs ADD COLUMN uri text",
    "COMMENT ON COLUMN inputs.uri IS 'Where the bytes are, s3://bucket/key, if they are not in content.'",
    "ALTER TABLE inputs DROP CONSTRAINT inputs_complete",
    # VALIDATE is a separate statement because it lets others write while it reads the table.
    """
    ALTER TABLE inputs ADD CONSTRAINT inputs_complete
    CHECK (num_nonnulls(content, features, uri) = 1 AND octet_length(sha256) = 32) NOT VALID
    """,
    "ALTER TABLE inputs VALIDATE CONSTRAINT inputs_complete",
    # `infra.inputs reconcile` reads this index, which holds only the inputs that are objects.
    "CREATE INDEX inputs_as_objects ON inputs (input_id) WHERE uri IS NOT NULL",
    # Without this index, deleting an input would scan all predictions for one that still refers to it.
    "CREATE INDEX predictions_by_input ON predictions (input_id)",
    """
    CREATE TABLE uploads (
        input_id uuid PRIMARY KEY,
        size bigint NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        user_id text NOT NULL,
        contenttype text NOT NULL,
        filename text,
        sha256 bytea CHECK (octet_length(sha256) = 32),
        uri text NOT NULL
    )
    """,
    "COMMENT ON TABLE uploads IS 'Inputs that callers were given a URL for, to upload them to.'",
    "COMMENT ON COLUMN uploads.sha256 IS 'What the caller said it would be, if they did.'",
)


def upgrade() -> None:
    """Let an input be an object, and add the table that records who may predict which upload."""
    for statement in _STATEMENTS:
        op.execute(statement)
