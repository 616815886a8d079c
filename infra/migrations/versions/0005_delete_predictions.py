"""delete predictions.

A deletion works in small transactions, and what is still to do is always in a table, for whoever comes next.
``deletions`` has what was asked and how far it is, ``deleted_inputs`` the inputs that may have lost their last
prediction, ``deleted_objects`` the objects in S3 that no row names any more. A row of the last two goes as soon as its
work is done, and a finished deletion forgets whose records it deleted.

The migration only expands the schema: functions of the previous version store inputs without ``upload_id``.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

_STATEMENTS = (
    """
    CREATE TABLE deletions (
        deletion_id uuid PRIMARY KEY,
        last_id uuid NOT NULL,
        position uuid NOT NULL,
        deleted bigint NOT NULL,
        requested_at timestamptz NOT NULL DEFAULT now(),
        uploads_until timestamptz NOT NULL,
        finished_at timestamptz,
        erases_user boolean NOT NULL,
        user_id text,
        requested_by text
    )
    """,
    "COMMENT ON TABLE deletions IS 'Every deletion that was asked for: when, by whom, and of how many predictions.'",
    "COMMENT ON COLUMN deletions.deletion_id IS 'For the deletion of one prediction, the id of that prediction.'",
    "COMMENT ON COLUMN deletions.last_id IS 'The greatest prediction_id that it deletes.'",
    "COMMENT ON COLUMN deletions.position IS 'Up to this prediction_id, all predictions are deleted.'",
    "COMMENT ON COLUMN deletions.deleted IS 'How many predictions it has deleted so far.'",
    "COMMENT ON COLUMN deletions.uploads_until IS 'Uploads that were announced up to then are deleted too.'",
    "COMMENT ON COLUMN deletions.erases_user IS 'Whether all that there was of a user is deleted.'",
    """
    COMMENT ON COLUMN deletions.user_id IS
        'Whose predictions are deleted; null for everybody''s. Null once finished: no name outlives its records.'
    """,
    """
    COMMENT ON COLUMN deletions.requested_by IS
        'The caller, where they deleted records of others. Null for their own, and where the API has no authorizer.'
    """,
    "CREATE INDEX deletions_unfinished ON deletions (requested_at, deletion_id) WHERE finished_at IS NULL",
    "CREATE INDEX deletions_by_user ON deletions (user_id, deletion_id) WHERE user_id IS NOT NULL",
    "CREATE INDEX deletions_by_requester ON deletions (requested_by, deletion_id) WHERE requested_by IS NOT NULL",
    """
    CREATE TABLE deleted_inputs (
        deleted_id uuid PRIMARY KEY,
        deletion_id uuid,
        input_id uuid NOT NULL,
        writable_until timestamptz,
        user_id text NOT NULL,
        uri text
    )
    """,
    """
    COMMENT ON TABLE deleted_inputs IS
        'Deleted predictions and uploads whose input is still to be deleted, unless another prediction has it.'
    """,
    "COMMENT ON COLUMN deleted_inputs.deleted_id IS 'The prediction, or the input_id of the upload.'",
    "COMMENT ON COLUMN deleted_inputs.deletion_id IS 'The deletion; null if the upload has expired.'",
    "COMMENT ON COLUMN deleted_inputs.writable_until IS 'Of an upload: until when its URL can be used.'",
    "COMMENT ON COLUMN deleted_inputs.uri IS 'Of an upload: where its bytes are, s3://bucket/key.'",
    "CREATE INDEX deleted_inputs_by_deletion ON deleted_inputs (deletion_id, deleted_id)",
    "CREATE INDEX deleted_inputs_by_user ON deleted_inputs (user_id, deleted_id)",
    """
    CREATE TABLE deleted_objects (
        uri text PRIMARY KEY,
        deletion_id uuid,
        writable_until timestamptz NOT NULL,
        removed_at timestamptz,
        user_id text
    )
    """,
    "COMMENT ON TABLE deleted_objects IS 'Objects that no row names any more, and that are still to be removed.'",
    """
    COMMENT ON COLUMN deleted_objects.writable_until IS
        'Until then somebody may still put the object again, so it is removed once more afterwards.'
    """,
    "COMMENT ON COLUMN deleted_objects.removed_at IS 'When it was first removed.'",
    "COMMENT ON COLUMN deleted_objects.user_id IS 'The user whose name is in the URI, or null.'",
    "CREATE INDEX deleted_objects_by_deletion ON deleted_objects (deletion_id, uri)",
    "CREATE INDEX deleted_objects_by_user ON deleted_objects (user_id, uri)",
    "ALTER TABLE uploads ADD COLUMN expires_at timestamptz",
    """
    COMMENT ON COLUMN uploads.expires_at IS
        'Until when the URL can be used. Null where this was not kept: then for a week at most.'
    """,
    # An input can then not be stored once its upload is deleted: its object would be missing.
    "ALTER TABLE inputs ADD COLUMN upload_id uuid REFERENCES uploads ON DELETE SET NULL",
    "COMMENT ON COLUMN inputs.upload_id IS 'The input_id of its upload, until that expires.'",
)


def upgrade() -> None:
    """Add the tables that deletions work with."""
    for statement in _STATEMENTS:
        op.execute(statement)
