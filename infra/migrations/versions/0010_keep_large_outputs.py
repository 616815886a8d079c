"""keep large outputs.

An output that is too large for an answer is stored apart from the record of its prediction, in the same transaction.
The record then has its shape, its size and its digest.

Nothing refers to ``predictions``: a foreign key would cost every deletion of a prediction a look-up, although few have
such an output. What settles a deletion deletes them (``SETTLE`` in functions/shared/ledger/statements.py).

The migration only expands the schema: functions of the previous version refuse such outputs, and store none.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

_STATEMENTS = (
    """
    CREATE TABLE large_outputs (
        prediction_id uuid NOT NULL,
        output_id uuid NOT NULL,
        size bigint NOT NULL,
        counted boolean,
        name text NOT NULL,
        datatype text NOT NULL,
        shape bigint[] NOT NULL,
        sha256 bytea NOT NULL,
        content bytea,
        uri text,
        PRIMARY KEY (prediction_id, name),
        CONSTRAINT large_outputs_complete CHECK (num_nonnulls(content, uri) = 1 AND octet_length(sha256) = 32)
    )
    """,
    # It is compressed already: EXTERNAL stores it out of line and does not compress it again.
    "ALTER TABLE large_outputs ALTER content SET STORAGE EXTERNAL",
    "CREATE INDEX large_outputs_as_objects ON large_outputs (output_id) WHERE uri IS NOT NULL",
    "COMMENT ON TABLE large_outputs IS 'Outputs that are too large for the records of their predictions.'",
    "COMMENT ON COLUMN large_outputs.output_id IS 'The last part of the key of the object at uri.'",
    "COMMENT ON COLUMN large_outputs.size IS 'In bytes, before they are compressed.'",
    "COMMENT ON COLUMN large_outputs.counted IS 'Whether its size is in quota_usage. Null if there was no quota.'",
    "COMMENT ON COLUMN large_outputs.name IS 'Its name in predictions.output or predictions.outputs.'",
    "COMMENT ON COLUMN large_outputs.datatype IS 'As the Open Inference Protocol calls it: FP32, INT64, BYTES.'",
    "COMMENT ON COLUMN large_outputs.sha256 IS 'Of the bytes before they are compressed.'",
    """
    COMMENT ON COLUMN large_outputs.content IS
        'The values in the binary form of the Open Inference Protocol, compressed with gzip. Null if they are at uri.'
    """,
    "COMMENT ON COLUMN large_outputs.uri IS 'Where the content is if it is no column here: s3://bucket/key.'",
    """
    COMMENT ON COLUMN predictions.output IS
        'The model''s output for this input: what an answer calls prediction. What is too large for an answer has a '
        'size and a sha256 here, and its values in large_outputs.'
    """,
    """
    COMMENT ON COLUMN predictions.outputs IS
        'The model''s other outputs for this input by name, as {shape, datatype, data}. Null where it has none. What '
        'is too large for an answer has a size and a sha256 here, and its values in large_outputs.'
    """,
    """
    COMMENT ON COLUMN prediction_log.output IS
        'What an answer calls prediction. Of a model that takes tensors: output #> ''{outputs,logits,data}''. What is '
        'too large for an answer has no data here: large_outputs has it.'
    """,
    """
    COMMENT ON COLUMN quota_usage.stored_bytes IS
        'The sum of the sizes of the user''s inputs and large outputs that are counted.'
    """,
)


def upgrade() -> None:
    """Add the table, and say in the others where what they lack is."""
    for statement in _STATEMENTS:
        op.execute(statement)
