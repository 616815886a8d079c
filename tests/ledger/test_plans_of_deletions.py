"""How PostgreSQL deletes: what a deletion looks for it finds in an index, however much else there is."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.shared.ledger import statements
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.identifiers import FIRST_ID, LAST_ID, new_id
from tests.ledger.test_plans import GENERATED, START, explain, rows_seen

ROWS = 20_000
COUNT = 50
TABLES = (
    "predictions",
    "inputs",
    "idempotency_keys",
    "uploads",
    "deletions",
    "deleted_inputs",
    "deleted_objects",
    "quota_usage",
    "large_outputs",
)

# One key in a hundred has stored several predictions. Half of the inputs were uploaded.
KEYS = """
INSERT INTO idempotency_keys (user_id, key, was_queued, digest, prediction_ids, created_at)
SELECT user_id, prediction_id::text, FALSE, sha256('x'),
       CASE WHEN likely_class = 3 THEN ARRAY[prediction_id, gen_random_uuid()] ELSE ARRAY[prediction_id] END,
       now() - make_interval(hours => (row_number() OVER (ORDER BY prediction_id DESC) / 100)::int)
FROM predictions
"""
UPLOADS = """
INSERT INTO uploads (input_id, size, user_id, contenttype, uri, created_at, expires_at)
SELECT input_id, 1, user_id, 'image/png', 's3://uploads/' || input_id,
       now() - make_interval(hours => (row_number() OVER (ORDER BY prediction_id DESC) / 100)::int),
       now() - interval '1 minute'
FROM predictions WHERE likely_class < 5
"""
NOTED = """
INSERT INTO deleted_inputs (deleted_id, deletion_id, input_id, user_id)
SELECT gen_random_uuid(), CASE WHEN likely_class = 0 THEN :deletion_id::uuid ELSE gen_random_uuid() END, input_id,
       user_id
FROM predictions
"""
OBJECTS = """
INSERT INTO deleted_objects (uri, deletion_id, writable_until, user_id)
SELECT 's3://uploads/' || input_id, CASE WHEN likely_class = 0 THEN :deletion_id::uuid ELSE gen_random_uuid() END,
       now(), user_id
FROM predictions
"""
DELETIONS = """
INSERT INTO deletions (deletion_id, user_id, requested_by, erases_user, deleted, position, uploads_until, last_id,
                       finished_at)
SELECT prediction_id, CASE WHEN likely_class = 0 THEN user_id END, CASE WHEN likely_class = 1 THEN user_id END, TRUE, 1,
       :first_id::uuid, now(), :last_id::uuid, CASE WHEN likely_class > 0 THEN now() END
FROM predictions
"""
USAGE = """
INSERT INTO quota_usage (user_id, hour, predictions, stored_bytes) SELECT 'user ' || n, now(), 1, 1
FROM generate_series(0, 19999) n
"""
LARGE_OUTPUTS = """
INSERT INTO large_outputs (prediction_id, output_id, name, datatype, shape, size, sha256, content)
SELECT prediction_id, gen_random_uuid(), 'output0', 'UINT8', '{1}', 1, sha256('x'), 'x' FROM predictions
"""
DELETION = new_id()


@pytest.fixture(scope="module")
def filled(migrated: str) -> Iterator[Connection]:
    connection = Connection(parse_database_url(migrated), longest=60)
    empty = f"TRUNCATE models, {', '.join(TABLES)} CASCADE"
    connection.run(empty, {})
    connection.run(
        "INSERT INTO models (model_id, name, version, sha256, task, provider) "
        "SELECT n, 'mnist', n::text, sha256('x'), 'classification', 'CPU' FROM generate_series(1, 3) n",
        {},
    )
    connection.run(GENERATED, {"rows": ROWS, "start_ms": int(START.timestamp() * 1000)}, keep=False)
    connection.run(KEYS, {}, keep=False)
    connection.run(UPLOADS, {}, keep=False)
    connection.run("UPDATE inputs SET upload_id = u.input_id FROM uploads u WHERE u.input_id = inputs.input_id", {})
    connection.run(NOTED, {"deletion_id": DELETION}, keep=False)
    connection.run(OBJECTS, {"deletion_id": DELETION}, keep=False)
    connection.run(DELETIONS, {"first_id": FIRST_ID, "last_id": LAST_ID}, keep=False)
    connection.run(USAGE, {}, keep=False)
    connection.run(LARGE_OUTPUTS, {}, keep=False)
    connection.run("UPDATE inputs SET counted = TRUE", {}, keep=False)
    connection.run("VACUUM ANALYZE", {}, keep=False)
    yield connection
    connection.run(empty, {})
    connection.close()


def parameters(connection: Connection) -> dict[str, object]:
    ((middle, user_id),) = connection.run(
        "SELECT prediction_id, user_id FROM predictions ORDER BY prediction_id OFFSET 10000 LIMIT 1", {}
    )
    return {
        "deletion_id": middle,
        "prediction_id": middle,
        "user_id": user_id,
        "erased": user_id,
        "requested_by": "admin",
        "erases_user": True,
        "first_id": FIRST_ID,
        "no_uploads": START,
        "before": LAST_ID,
        "position": FIRST_ID,
        "last_id": LAST_ID,
        "until": datetime(2100, 1, 1, tzinfo=UTC),
        "uploads_until": datetime(2100, 1, 1, tzinfo=UTC),
        "requested_at": START,
        "key_seconds": 3600.0,
        "lent_prefix": "s3://uploads/inputs/lent/",
        "lent_above": 0,
        "after": "",
        "count": COUNT,
    }


STATEMENTS = (
    "BEGIN_DELETION",
    "BEGIN_DELETION_OF_USER",
    "DELETE_ONE",
    "DELETE_ONE_IF_THEIRS",
    "UNFINISHED_ONE",
    "DELETE_MANY",
    "DELETE_MANY_OF_USER",
    "DELETE_UPLOADS",
    "DELETE_UPLOADS_OF_USER",
    "DELETE_KEYS_OF_USER",
    "DELETE_USAGE_OF_USER",
    "FORGET_REQUESTER",
    "EXPIRE_KEYS",
    "EXPIRE_UPLOADS",
    "SETTLE",
    "SETTLE_DELETION",
    "DELETED_OBJECTS",
    "DELETED_OBJECTS_OF_DELETION",
    "FINISH_DELETION",
    "FINISH_DELETION_OF_USER",
    "UNFINISHED_DELETIONS",
    "DELETION",
)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_nothing_is_scanned(filled: Connection, name: str, mode: str) -> None:
    given = parameters(filled)
    simple = filled._pg.run
    simple("BEGIN")
    try:
        plan = explain(filled, getattr(statements, name), given, mode)
    finally:
        simple("ROLLBACK")
    touched = [node for node in plan if node.get("Relation Name") in TABLES and "Scan" in node["Node Type"]]
    assert touched
    for node in touched:
        assert node["Node Type"] != "Seq Scan", node
        # An entry of a bitmap is a row that was looked at; of a user's or a deletion's there are more than one batch.
        assert rows_seen(node) <= max(COUNT + 1, ROWS / 5 if "Bitmap" in node["Node Type"] else 0), node


def test_what_a_deletion_has_to_look_up_for_a_foreign_key_has_an_index(filled: Connection) -> None:
    rows: list[list[Any]] = filled.run(
        """
        SELECT c.conname FROM pg_constraint c
        WHERE c.contype = 'f' AND c.confrelid IN ('inputs'::regclass, 'uploads'::regclass) AND NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1] AND i.indisvalid)
        """,
        {},
    )
    assert rows == []
