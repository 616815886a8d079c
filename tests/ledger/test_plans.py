"""How PostgreSQL reads pages and records: from an index, and no more of it than is shown."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pg8000.native
import pytest

from functions.shared.ledger import page_statements, statements
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.driver import to_statement
from functions.shared.ledger.identifiers import FIRST_ID, LAST_ID, first_id_at
from functions.shared.ledger.ledger import _OUTCOME_COLUMNS, _OUTPUT_COLUMNS, CLAIM_WINDOW

ROWS = 20_000
LIMIT = 51
TABLES = ("predictions", "inputs", "judged_predictions")
START = datetime(2026, 11, 22, tzinfo=UTC)

# Half of the predictions are one user's, and a tenth have one label. The label 'old' and the model 'old' occur often,
# but only at the beginning, as those of a model that is no longer served do: the trap for a plan that expects them
# anywhere. So it is with what is wrong, or should have been 'old', and with the inference id 'old'. What has failed is
# older than all.
GENERATED = """
WITH numbered AS (
    SELECT n, (lpad(to_hex(:start_ms::bigint + n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid AS id
    FROM generate_series(0, :rows - 1) n
), input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, filename, content)
    SELECT id, 1, sha256(id::text::bytea), 'image/png', 'seven.png', '\\x00' FROM numbered
)
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class, status,
                         user_id, label, predicted_value, output, metadata, inference_id)
SELECT id, id, CASE WHEN n < 5000 THEN 1 ELSE 2 + n % 2 END, to_timestamp((:start_ms::bigint + n) / 1000.0), 0.1,
       (n % 100) / 100.0, n % 10, 'succeeded', CASE WHEN n % 2 = 0 THEN 'anonymous' ELSE 'user ' || n % 500 END,
       CASE WHEN n < 5000 THEN 'old' ELSE (n % 10)::text END, '"7"', '[0.1, 0.9]', '{}',
       CASE WHEN n < 5000 THEN 'old' WHEN n % 4 = 0 THEN 'often' WHEN n % 4 = 1 THEN 'order ' || n END
FROM numbered
"""
JUDGED = """
UPDATE predictions SET ground_truth = to_jsonb(label),
       correct = CASE WHEN prediction_id >= :middle::uuid THEN TRUE WHEN likely_class % 2 = 0 THEN FALSE END
WHERE prediction_id < :end::uuid
"""
FAILED = """
WITH numbered AS (
    SELECT (lpad(to_hex(:start_ms::bigint - n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid AS id
    FROM generate_series(1, 2000) n
), input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, filename, content)
    SELECT id, 1, sha256(id::text::bytea), 'image/png', 'seven.png', '\\x00' FROM numbered
)
INSERT INTO predictions (prediction_id, input_id, created_at, status_since, status, user_id, metadata, error)
SELECT id, id, now(), now(), 'failed', 'anonymous', '{}', 'Why.' FROM numbered
"""


def id_of(number: int) -> UUID:
    """Return the least id that a prediction of this number may have."""
    return first_id_at(datetime.fromtimestamp(START.timestamp() + number / 1000, UTC))


@pytest.fixture(scope="module")
def filled(migrated: str) -> Iterator[Connection]:
    connection = Connection(parse_database_url(migrated), longest=60)
    connection.run("TRUNCATE predictions, inputs, models, idempotency_keys, judged_predictions CASCADE", {})
    connection.run(
        "INSERT INTO models (model_id, name, version, sha256, task, provider) "
        "SELECT n, CASE n WHEN 1 THEN 'old' ELSE 'mnist' END, n::text, sha256('x'), 'classification', 'CPU' "
        "FROM generate_series(1, 3) n",
        {},
    )
    start = {"start_ms": int(START.timestamp() * 1000)}
    connection.run(GENERATED, {"rows": ROWS, **start}, keep=False)
    connection.run(FAILED, start, keep=False)
    connection.run(JUDGED, {"middle": id_of(ROWS // 4), "end": id_of(ROWS * 99 // 100)}, keep=False)
    connection.run("VACUUM ANALYZE", {}, keep=False)
    yield connection
    connection.run("TRUNCATE predictions, inputs, models, idempotency_keys, judged_predictions CASCADE", {})
    connection.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def explain(connection: Connection, sql: str, parameters: dict[str, object], mode: str) -> list[dict[str, Any]]:
    """Run a statement as a prepared one and return the nodes of its plan, with the rows that each has seen."""
    text, values_in_order = to_statement(sql)
    literals = ", ".join(pg8000.native.literal(str(value)) for value in values_in_order(parameters))
    simple = connection._pg.run  # neither of its texts has parameters that the connection should see
    simple(f"SET plan_cache_mode = {mode}")
    simple(f"PREPARE explained AS {text}")
    try:
        ((found,),) = simple(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE explained ({literals})")
    finally:
        simple("DEALLOCATE explained")
        simple("RESET plan_cache_mode")
    return list(nodes(found[0]["Plan"]))


def array(values: Iterable[object]) -> str:
    """An array as PostgreSQL writes it."""
    return "{" + ",".join(map(str, values)) + "}"


def rows_seen(node: dict[str, Any]) -> float:
    removed = sum(count for name, count in node.items() if name.startswith("Rows Removed"))
    return float((node["Actual Rows"] + removed) * node["Actual Loops"])


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"user_id": "anonymous"},
        {"user_id": "user 7"},
        {"user_id": "nobody"},
        {"label": "7"},
        {"label": "old"},
        {"label": "never seen"},
        {"model": "mnist"},
        {"model": "old"},
        {"version": "2"},
        {"model": "old", "version": "1"},
        {"inference_id": "often"},
        {"inference_id": "old"},
        {"inference_id": "order 5001"},
        {"inference_id": "never seen"},
        {"correct": True},
        {"correct": False},
        {"correct": False, "user_id": "anonymous"},
        {"correct": False, "user_id": "user 7"},
        {"ground_truth": "old"},
        {"ground_truth": "7"},
        {"judged": None},
        {"judged": None, "user_id": "user 7"},
        {"judged": None, "user_id": "anonymous"},
        {"succeeded": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("window", ["first page", "page 1,000", "a time"])
def test_a_page_is_read_from_its_index_and_no_row_for_nothing(
    filled: Connection, conditions: dict[str, object], window: str, mode: str
) -> None:
    middle = id_of(ROWS // 2)
    sql, keep = page_statements.page(frozenset(conditions))
    since, before = {
        "first page": (FIRST_ID, LAST_ID),
        "page 1,000": (FIRST_ID, middle),
        "a time": (middle, LAST_ID),
    }[window]
    plan = explain(filled, sql, conditions | {"since": since, "before": before, "count": LIMIT}, mode)
    models = 3 if "succeeded" in conditions else 2 if conditions.get("model") == "mnist" else 1
    assert keep
    for node in plan:
        if node.get("Relation Name") in TABLES:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
            assert rows_seen(node) <= LIMIT * models, node
        if "Sort" in node["Node Type"]:
            assert rows_seen(node) <= LIMIT * models, node


@pytest.mark.parametrize(
    "conditions",
    [
        {"user_id": "user 7", "label": "7"},
        {"user_id": "anonymous", "label": "never seen"},
        {"user_id": "user 7", "label": "old", "model": "old", "version": "1"},
        {"user_id": "user 7", "model": "mnist"},
        {"label": "never seen", "min_confidence": 0.5, "model": "mnist"},
        {"user_id": "anonymous", "inference_id": "order 5001"},
        {"user_id": "user 7", "inference_id": "often"},
        {"user_id": "user 7", "inference_id": "never seen"},
        {"user_id": "user 7", "ground_truth": "7"},
        {"user_id": "user 7", "unjudged": None},
        {"failed": None},
        {"user_id": "user 7", "failed": None},
        {"correct": True, "label": "never seen"},
        {"inference_id": "order 5001", "correct": True},
        {"inference_id": "order 5001", "judged": None},
        {"queued": None},
        {"processing": None, "user_id": "user 7"},
    ],
    ids=str,
)
def test_filters_that_meet_take_the_more_selective_of_their_indexes(
    filled: Connection, conditions: dict[str, object]
) -> None:
    sql, keep = page_statements.page(frozenset(conditions))
    parameters = conditions | {"since": FIRST_ID, "before": LAST_ID, "count": LIMIT}
    plan = explain(filled, sql, parameters, "force_custom_plan")
    assert not keep
    for node in plan:
        if node.get("Relation Name") in TABLES:
            assert node["Node Type"] != "Seq Scan", node
            assert rows_seen(node) <= ROWS / 100, node


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("after", [-1.0, 0.0, 0.5, 0.98, 1.0])
def test_the_least_sure_are_read_from_their_index_and_no_row_for_nothing(
    filled: Connection, after: float, mode: str
) -> None:
    sql, keep = page_statements.least_sure_page(frozenset())
    place = {"after_confidence": after, "after": FIRST_ID, "most_confidence": 1.0, "count": LIMIT}
    plan = explain(filled, sql, place, mode)
    assert keep
    assert "predictions_by_confidence" in {node.get("Index Name") for node in plan}
    for node in plan:
        if node.get("Relation Name") in TABLES:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
            assert rows_seen(node) <= LIMIT, node
        if "Sort" in node["Node Type"]:
            assert rows_seen(node) <= LIMIT, node


@pytest.mark.parametrize(
    "conditions",
    [
        {"user_id": "anonymous"},
        {"user_id": "user 7"},
        {"user_id": "nobody"},
        {"user_id": "user 7", "correct": True},
        {"correct": True},
        {"model": "mnist", "version": "2"},
        {"inference_id": "order 5001"},
        {"inference_id": "never seen", "unjudged": None},
    ],
    ids=str,
)
@pytest.mark.parametrize("after", [-1.0, 0.5, 1.0])
def test_the_least_sure_that_meet_conditions_are_read_with_few_others(
    filled: Connection, conditions: dict[str, object], after: float
) -> None:
    sql, keep = page_statements.least_sure_page(frozenset(conditions))
    place = {"after_confidence": after, "after": FIRST_ID, "most_confidence": 1.0, "count": LIMIT}
    plan = explain(filled, sql, conditions | place, "force_custom_plan")
    assert not keep
    for node in plan:
        if node.get("Relation Name") in TABLES:
            assert node["Node Type"] != "Seq Scan", node
            assert rows_seen(node) <= ROWS / 50, node


@pytest.mark.parametrize("sql", [statements.GET, statements.GET_INPUT, statements.GET_IF_THEIRS])
@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_record_is_read_by_its_keys(filled: Connection, sql: str, mode: str) -> None:
    ((newest, user_id),) = filled.run(
        "SELECT prediction_id, user_id FROM predictions ORDER BY prediction_id DESC LIMIT 1", {}
    )
    for node in explain(filled, sql, {"prediction_id": newest, "user_id": user_id}, mode):
        if node.get("Relation Name") in ("predictions", "inputs"):
            assert node["Node Type"] == "Index Scan"
            assert rows_seen(node) == 1


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_a_sweep_reads_what_is_unfinished_and_nothing_else(filled: Connection, mode: str) -> None:
    limits = {"queued_seconds": 60.0, "processing_seconds": 60.0, "after": FIRST_ID, "count": 1000}
    plan = explain(filled, statements.SWEEP, limits | {"error": "too late"}, mode)
    walked = [node for node in plan if node.get("Relation Name") == "predictions" and "Scan" in node["Node Type"]]
    assert "predictions_unfinished" in {node.get("Index Name") for node in walked}
    assert sum(map(rows_seen, walked)) == 0


def test_sessions_neither_compile_plans_nor_start_workers(filled: Connection) -> None:
    settings = (
        "SELECT name, setting FROM pg_settings WHERE source = 'client' AND name IN (:jit, :workers) ORDER BY name"
    )
    names = {"jit": "jit", "workers": "max_parallel_workers_per_gather"}
    assert filled.run(settings, names) == [["jit", "off"], ["max_parallel_workers_per_gather", "0"]]


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("statement", ["claim", "order", "complete", "complete with outputs"])
def test_a_worker_looks_up_its_own_rows_however_many_are_queued(filled: Connection, statement: str, mode: str) -> None:
    simple = filled._pg.run
    simple("BEGIN")
    try:
        simple("UPDATE predictions SET status = 'queued', status_since = now(), output = NULL WHERE confidence = 0")
        simple("ANALYZE predictions")
        ids = [row[0] for row in simple("SELECT prediction_id FROM predictions WHERE status = 'queued' LIMIT 3")]
        if statement == "claim":
            sql, parameters = statements.CLAIM, {"prediction_ids": array(ids), "lease_seconds": 60.0}
        elif statement == "order":
            sql, parameters = statements.LEAST_RECENTLY_CLAIMED, {"prediction_ids": array(ids)}
        else:
            columns = dict.fromkeys(_OUTCOME_COLUMNS, array([])) | {"prediction_id": array(ids)}
            sql, parameters = statements.COMPLETE, columns | {"error": array(["Why."] * 3), "model_id": 1}
            if statement == "complete with outputs":
                sql = statements.COMPLETE_WITH_OUTPUTS
                one = {"output_size": 1, "output_sha256": "x" * 32, "output_shape": '"{1}"', "output_uri": "NULL"}
                parameters |= {name: array([one.get(name, "output0")] * 3) for name in _OUTPUT_COLUMNS}
                parameters |= {"of_prediction": array(ids), "output_id": array(ids)}
        plan = explain(filled, sql, parameters, mode)
    finally:
        simple("ROLLBACK")
    for node in plan:
        if node.get("Relation Name") in ("predictions", "inputs"):
            assert node["Node Type"] in ("Index Scan", "Index Only Scan", "ModifyTable"), node
            assert rows_seen(node) <= len(ids), node


QUEUED = """
WITH numbered AS (
    SELECT n, (lpad(to_hex(:start_ms::bigint + n), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid AS id
    FROM generate_series(0, :rows - 1) n
), input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, content)
    SELECT id, 1, sha256(id::text::bytea), 'image/png', '\\x00' FROM numbered
)
INSERT INTO predictions (prediction_id, input_id, created_at, status_since, status, user_id, metadata)
SELECT id, id, now(), now(), CASE WHEN n < 100 THEN 'processing' ELSE 'queued' END, 'anna', '{}' FROM numbered
"""
BACKLOG = 100_000
"""Queued predictions, of which workers have the oldest hundred."""


@pytest.fixture(scope="module")
def backlog(filled: Connection) -> Iterator[Connection]:
    filled.run(QUEUED, {"rows": BACKLOG, "start_ms": int(START.timestamp() * 1000) + ROWS}, keep=False)
    filled.run("VACUUM ANALYZE", {}, keep=False)
    yield filled
    filled.run("DELETE FROM predictions WHERE status IN ('queued', 'processing')", {}, keep=False)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(
    ("sql", "seen"),
    [(statements.CLAIM_OLDEST, 100 + 64), (statements.CLAIM_AGAIN, CLAIM_WINDOW)],
    ids=["the oldest", "those left behind"],
)
def test_a_claim_looks_at_the_oldest_and_at_no_more_of_a_long_backlog(
    backlog: Connection, sql: str, seen: int, mode: str
) -> None:
    simple = backlog._pg.run
    simple("BEGIN")
    try:
        parameters: dict[str, object] = {
            "count": 64,
            "bytes": 32_000_000,
            "window": CLAIM_WINDOW,
            "lease_seconds": 60.0,
        }
        plan = explain(backlog, sql, parameters, mode)
    finally:
        simple("ROLLBACK")
    assert "predictions_unfinished" in {node.get("Index Name") for node in plan}
    for node in plan:
        if node.get("Relation Name") in ("predictions", "inputs"):
            assert node["Node Type"] in ("Index Scan", "Index Only Scan", "ModifyTable"), node
            assert rows_seen(node) <= seen, node
        if "Sort" in node["Node Type"]:
            assert rows_seen(node) <= 64, node
