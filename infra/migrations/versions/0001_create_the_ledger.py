"""create the ledger.

Every index slows down every insert, so each list that the API offers has one index, and there is no other:

- ``predictions_pkey`` (prediction_id) finds one record, and lists all records, or those of a period, newest first. Ids
  are ordered by time, so the index grows at its right edge and a page is read backwards from there.
- ``predictions_by_user``, ``_by_label`` and ``_by_model`` do the same for one user, label or model.
- ``predictions_unfinished`` is what the sweep reads. It holds only queued and processing rows, so a synchronous
  prediction adds nothing to it.
- ``inputs_pkey`` (input_id) finds the input of a record.

For combined filters, say a user's predictions with one label, PostgreSQL uses the more selective index and filters the
rows that it finds.
"""

from alembic import op

revision = "0001"
down_revision = None

_MODELS = """
CREATE TABLE models (
    model_id bigint PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    labels jsonb,
    task text NOT NULL,
    provider text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    served_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX models_by_name ON models (name, version);

COMMENT ON TABLE models IS 'Every model that has been served, one row for each combination of its properties.';
COMMENT ON COLUMN models.model_id IS
    'Made from the other columns (a digest of them), so it means the same model in every database.';
COMMENT ON COLUMN models.sha256 IS 'Of the .onnx file.';
COMMENT ON COLUMN models.labels IS 'Names of the classes in the order of the output.';
COMMENT ON COLUMN models.provider IS 'The execution provider of ONNX Runtime that ran it.';
COMMENT ON COLUMN models.served_at IS 'When an execution environment last began to serve it.';
"""

# The bytes are images, which are already compressed: EXTERNAL stores them out of line and does not compress them again.
_INPUTS = """
CREATE TABLE inputs (
    input_id uuid PRIMARY KEY,
    size bigint NOT NULL,
    sha256 bytea NOT NULL,
    contenttype text NOT NULL,
    filename text,
    features json,
    content bytea,
    CONSTRAINT inputs_complete CHECK (num_nonnulls(content, features) = 1 AND octet_length(sha256) = 32)
);

ALTER TABLE inputs ALTER content SET STORAGE EXTERNAL;

COMMENT ON TABLE inputs IS 'Every input as it was sent.';
COMMENT ON COLUMN inputs.size IS 'In bytes.';
COMMENT ON COLUMN inputs.features IS 'json, not jsonb: the text as it was sent, to the letter.';
"""

# Each table has one CHECK: PostgreSQL parses every CHECK again in every INSERT statement (20 µs each).
# Columns are ordered by alignment (16 and 8 bytes, then 4, then variable), so that no row contains padding.
_PREDICTIONS = """
CREATE TABLE predictions (
    prediction_id uuid PRIMARY KEY,
    input_id uuid NOT NULL REFERENCES inputs,
    model_id bigint REFERENCES models,
    created_at timestamptz NOT NULL,
    duration_ms double precision,
    confidence double precision,
    status_since timestamptz,
    likely_class integer,
    status text NOT NULL,
    user_id text NOT NULL,
    label text,
    predicted_value jsonb,
    output jsonb,
    metadata json NOT NULL,
    error text,
    CONSTRAINT predictions_outcome CHECK (
        CASE status
            WHEN 'succeeded' THEN num_nulls(model_id, duration_ms, predicted_value, output) = 0 AND error IS NULL
            WHEN 'failed' THEN error IS NOT NULL AND output IS NULL
            WHEN 'processing' THEN num_nonnulls(output, error) = 0 AND status_since IS NOT NULL
            WHEN 'queued' THEN num_nonnulls(output, error) = 0 AND status_since IS NOT NULL
            ELSE FALSE
        END
    )
);
CREATE INDEX predictions_by_user ON predictions (user_id, prediction_id);
CREATE INDEX predictions_by_label ON predictions (label, prediction_id);
CREATE INDEX predictions_by_model ON predictions (model_id, prediction_id);
CREATE INDEX predictions_unfinished ON predictions (prediction_id) WHERE status IN ('queued', 'processing');

COMMENT ON TABLE predictions IS 'Every prediction that was asked for.';
COMMENT ON COLUMN predictions.prediction_id IS 'UUID version 7: descending ids are the predictions, newest first.';
COMMENT ON COLUMN predictions.created_at IS 'When it was asked for: the time in prediction_id, to the microsecond.';
COMMENT ON COLUMN predictions.duration_ms IS 'Decoding and inference, in milliseconds.';
COMMENT ON COLUMN predictions.status_since IS
    'Of an asynchronous prediction: when it was last sent to the queue, taken by a worker, or finished.';
COMMENT ON COLUMN predictions.output IS 'The model''s output for this input.';
COMMENT ON COLUMN predictions.metadata IS 'json, not jsonb: keys in the order they were sent.';
COMMENT ON COLUMN predictions.error IS 'Why it failed, in words for the caller.';
"""

_IDEMPOTENCY_KEYS = """
CREATE TABLE idempotency_keys (
    user_id text NOT NULL,
    key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    was_queued boolean NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    prediction_ids uuid[] NOT NULL,
    PRIMARY KEY (user_id, key)
);

COMMENT ON TABLE idempotency_keys IS 'Requests that are to be stored once, by the key their user gave them.';
COMMENT ON COLUMN idempotency_keys.was_queued IS 'Whether the first answer was 202.';
COMMENT ON COLUMN idempotency_keys.digest IS 'Of what was asked: the same key with another digest is a conflict.';
COMMENT ON COLUMN idempotency_keys.prediction_ids IS 'What the first request stored, in order.';
"""


def upgrade() -> None:
    """Create all tables."""
    for script in (_MODELS, _INPUTS, _PREDICTIONS, _IDEMPOTENCY_KEYS):
        for statement in script.split(";\n"):
            if statement.strip():
                op.execute(statement)
