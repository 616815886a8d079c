"""How PostgreSQL stores many requests: it looks each key and each user up, however many there are."""

from collections.abc import Iterator

import pytest

from functions.shared.ledger import arrays, statements
from functions.shared.ledger.arrays import Array
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.pool import Pool
from functions.shared.ledger.quotas import Quotas
from functions.shared.ledger.records import IdempotencyKey, StoredRequest
from tests.ledger.test_plans import GENERATED, START, array, explain, rows_seen
from tests.support.predictions import prediction

ROWS = 20_000
TABLES = ("predictions", "inputs", "idempotency_keys", "quota_usage")
KEYS = """
INSERT INTO idempotency_keys (user_id, key, was_queued, digest, prediction_ids)
SELECT user_id, prediction_id::text, FALSE, sha256('x'), ARRAY[prediction_id] FROM predictions
"""
USAGE = """
INSERT INTO quota_usage (user_id, hour, predictions, stored_bytes) SELECT 'user ' || n, now(), 1, 1
FROM generate_series(0, 19999) n
"""


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
    connection.run(USAGE, {}, keep=False)
    connection.run("VACUUM ANALYZE", {}, keep=False)
    yield connection
    connection.run(empty, {})
    connection.close()


def text_of(value: object) -> object:
    """Return a parameter as PostgreSQL writes it, arrays included."""
    if not isinstance(value, Array):
        return value
    written = [
        "NULL" if one is None else f"\\x{one.hex()}" if isinstance(one, bytes) else str(one) for one in value.values
    ]
    return array(one if one == "NULL" else '"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in written)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("statement", ["look up", "store", "store within quotas"])
def test_keys_and_quotas_are_looked_up_however_many_there_are(filled: Connection, statement: str, mode: str) -> None:
    most = None if statement == "store" else 2**40
    ledger = Ledger(Pool(lambda _: filled), quotas=Quotas(most, most))
    rows = filled.run("SELECT user_id, key FROM idempotency_keys ORDER BY key LIMIT 3", {})
    used = [IdempotencyKey(user_id, name, bytes(32)) for user_id, name in rows]
    if statement == "look up":
        sql = statements.REPLAYS
        parameters: dict[str, object] = {
            "key_user_id": Array(arrays.TEXT, [one.user_id for one in used]),
            "key": Array(arrays.TEXT, [one.key for one in used]),
            "key_seconds": 3600.0,
        }
    else:
        requests = [StoredRequest([prediction(user_id=one.user_id)], one) for one in used]
        requests += [
            StoredRequest([prediction(user_id=one.user_id)], one._replace(key=f"not {n}")) for n, one in enumerate(used)
        ]
        sql, parameters = ledger._statement_of(range(len(requests)), requests)
        parameters["model_id"] = 1
    simple = filled._pg.run
    simple("BEGIN")
    try:
        plan = explain(filled, sql, {name: text_of(value) for name, value in parameters.items()}, mode)
    finally:
        simple("ROLLBACK")
    scans = [node for node in plan if node.get("Relation Name") in TABLES and node["Node Type"] != "ModifyTable"]
    assert statement == "store" or scans
    for node in scans:
        assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
        assert rows_seen(node) <= len(used) * 2, node
