"""A ledger that is filled with predictions, spread evenly over a time, by one statement for each table and part.

The predictions are of 100 users, each with an inference id. Of digits, the pictures have 67 bytes, half of them have a
ground truth, and of these one in 32 was wrong. Of diabetes, each has ten features, and half of them a ground truth.
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.driver import NativeSession
from functions.shared.ledger.login import start_session

USERS: Final = 100
LABELS: Final = tuple("0123456789")

_AT_ONCE: Final = 100_000  # rows of one statement
_TABLES: Final = ("inputs", "predictions", "ground_truths")
_TOGETHER: Final = (("predictions",), ("inputs", "ground_truths"))
"""What each of two sessions fills: the one takes about as long as the other."""
_TO_FIND_THEM: Final = "judged_predictions"

_PICTURE: Final = bytes.fromhex(  # a PNG file of one black pixel
    "89504e470d0a1a0a0000000d494844520000000100000001080000000"
    "03a7e9b550000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
_OUTPUT: Final = "[0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.91]"

# Every row is made from its number alone, so that the statement of each table makes the same ids. An id is a UUID of
# version 7: 28672 is its version, the smallest bigint its variant.
_ROWS: Final = """
    SELECT
        n,
        h,
        encode(
            int8send(ms << 16 | 28672) || int8send(h & 4611686018427387903 | (-9223372036854775807 - 1)), 'hex'
        )::uuid AS id,
        to_timestamp(ms / 1000.0) AS created_at,
        mod(h & 1023, 10) AS digit,
        (h >> 10) & 1 = 0 AS judged,
        (h >> 11) & 31 = 0 AS wrong,
        (h >> 16 & 65535) / 65536::float8 AS x,
        (h >> 32 & 65535) / 65536::float8 AS y,
        'user-' || lpad(mod(h >> 48 & 1023, 100)::text, 3, '0') AS user_id
    FROM (
        SELECT n, :started_ms + n * :span_ms / :rows AS ms, hashint8extended(n, 17) AS h
        FROM generate_series(:first::bigint, :last) n
    ) numbers
"""

_DIGITS: Final = {
    "inputs": f"""
        INSERT INTO inputs (input_id, size, sha256, contenttype, content)
        SELECT id, :size, sha256(:picture), 'image/png', :picture FROM ({_ROWS}) made
    """,
    "predictions": f"""
        INSERT INTO predictions (
            prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class, status, user_id,
            label, predicted_value, output, metadata, inference_id, ground_truth, correct, judged_at, measured
        )
        SELECT
            id, id, :model_id, created_at, 0.2, 1 - 0.6 * x * x * x, digit, 'succeeded', user_id, digit::text,
            to_jsonb(digit::text), :output, '{{}}', 'order-' || n,
            CASE WHEN judged THEN to_jsonb((mod(digit + CASE WHEN wrong THEN 1 ELSE 0 END, 10))::text) END,
            CASE WHEN judged THEN NOT wrong END,
            CASE WHEN judged THEN created_at + interval '1 hour' END,
            ARRAY[
                0.05 + 0.1 * y, 0.1 + 0.2 * x * y, NULL, 28, 28, 250 + 90 * y, 0.1 + 0.08 * x, 0.28 + 0.06 * y
            ]::real[]
        FROM ({_ROWS}) made
    """,
    "ground_truths": f"""
        INSERT INTO ground_truths (prediction_id, created_at, value, source)
        SELECT id, created_at + interval '1 hour',
               to_jsonb((mod(digit + CASE WHEN wrong THEN 1 ELSE 0 END, 10))::text), 'human'
        FROM ({_ROWS}) made WHERE judged
    """,
}

_DIABETES: Final = {
    "inputs": f"""
        INSERT INTO inputs (input_id, size, sha256, contenttype, features)
        SELECT id, octet_length(features), sha256(convert_to(features, 'UTF8')), 'application/json', features::json
        FROM (
            SELECT id, '[' || concat_ws(
                ', ', 20 + (x * 60)::int, 1 + (h & 1), 18 + (y * 20)::numeric(5, 1), 60 + (x * y * 70)::int,
                100 + (y * 200)::int, 50 + (x * 150)::numeric(5, 1), 20 + (x * 80)::int, 2 + (y * 7)::numeric(4, 2),
                3 + (x * 3)::numeric(5, 4), 60 + (y * 60)::int
            ) || ']' AS features
            FROM ({_ROWS}) made
        ) made
    """,
    "predictions": f"""
        INSERT INTO predictions (
            prediction_id, input_id, model_id, created_at, duration_ms, status, user_id, predicted_value, output,
            metadata, inference_id, ground_truth, judged_at, measured
        )
        SELECT
            id, id, :model_id, created_at, 0.1, 'succeeded', user_id, to_jsonb(value),
            to_jsonb(ARRAY[value]), '{{}}', 'order-' || n,
            CASE WHEN judged THEN to_jsonb(value + 40 * (x - 0.5)) END,
            CASE WHEN judged THEN created_at + interval '1 hour' END,
            ARRAY[0.02 + 0.01 * y, 0.02 + 0.01 * x, NULL, NULL, NULL, NULL, NULL, NULL]::real[]
        FROM (SELECT *, 60 + 200 * y AS value FROM ({_ROWS}) rows) made
    """,
    "ground_truths": f"""
        INSERT INTO ground_truths (prediction_id, created_at, value, source)
        SELECT id, created_at + interval '1 hour', to_jsonb(60 + 200 * y + 40 * (x - 0.5)), 'human'
        FROM ({_ROWS}) made WHERE judged
    """,
}
# As the trigger does it, row by row (revision 0013).
_JUDGED: Final = """
    INSERT INTO judged_predictions (prediction_id, correct, user_id, ground_truth)
    SELECT prediction_id, correct, user_id, left(ground_truth #>> '{}', 256)
    FROM predictions WHERE ground_truth IS NOT NULL ORDER BY prediction_id
"""
_STATEMENTS: Final = {"mnist": _DIGITS, "diabetes": _DIABETES}


@dataclass(frozen=True)
class Filled:
    """A database filled with predictions.

    Attributes
    ----------
    url
        The database's URL.
    superuser_url
        The URL for a superuser, who may turn off the checks of each row.
    rows
        The number of predictions.
    since, until
        The time of the first prediction, and that after the last.
    """

    url: str
    superuser_url: str
    rows: int
    since: datetime
    until: datetime

    def fill(self, model: Literal["mnist", "diabetes"] = "mnist") -> None:
        """Add the predictions of a model that is registered, and show the progress."""
        session = self._session()
        session.run("SET maintenance_work_mem = '256MB'")
        [[model_id]] = session.run("SELECT model_id FROM models WHERE name = :name", name=model)
        indexes = session.run(_INDEXES, tables=[*_TABLES, _TO_FIND_THEM])
        for name, _ in indexes:
            session.run(f"DROP INDEX {name}")
        began = time.monotonic()
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda tables: self._insert(model, tables, int(str(model_id)), began), _TOGETHER))
        print(file=sys.stderr)
        session.run(_JUDGED)
        for name, definition in indexes:
            print(f"\rindex {name} {'':40}", end="", file=sys.stderr, flush=True)
            session.run(str(definition))
        print("\rvacuum", end="", file=sys.stderr, flush=True)
        session.run("VACUUM (FREEZE, ANALYZE)")
        print(f"\r{self.rows:,} rows in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        session.close()

    def _session(self) -> Any:
        session, connected = start_session(NativeSession, parse_database_url(self.superuser_url))
        connected.settimeout(None)  # a statement takes as long as it takes
        return session

    def _insert(self, model: Literal["mnist", "diabetes"], tables: Sequence[str], model_id: int, began: float) -> None:
        """Add the rows of some tables, on a session of their own."""
        session = self._session()
        # Skipping the checks is safe: each prediction is made together with its input, and its model exists.
        session.run("SET session_replication_role = replica")
        values: dict[str, Any] = {
            "rows": self.rows,
            "started_ms": int(self.since.timestamp() * 1000),
            "span_ms": int((self.until - self.since).total_seconds() * 1000),
            "model_id": model_id,
            "output": _OUTPUT,
            "picture": _PICTURE,
            "size": len(_PICTURE),
        }
        for first in range(0, self.rows, _AT_ONCE):
            values |= {"first": first, "last": min(first + _AT_ONCE, self.rows) - 1}
            for statement in (_STATEMENTS[model][table] for table in tables):
                session.run(statement, **{name: value for name, value in values.items() if f":{name}" in statement})
            if "predictions" in tables:
                _show(values["last"] + 1, self.rows, began)
        session.close()

    def ask(self, statement: str, **values: object) -> Sequence[Sequence[Any]]:
        """Run a statement of the benchmark's own."""
        session = self._session()
        try:
            return [list(row) for row in session.run(statement, **values) or ()]
        finally:
            session.close()


# Those of a constraint stay: the first key of each table grows at its right edge, which costs little.
_INDEXES: Final = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid = ANY (:tables::regclass[]) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
ORDER BY 1
"""


def _show(done: int, of: int, began: float) -> None:
    took = time.monotonic() - began
    bar = "#" * (done * 30 // of)
    left = took / done * (of - done)
    print(f"\r[{bar:<30}] {done:,} of {of:,} rows, {done / took:,.0f}/s, {left:.0f} s left ", end="", file=sys.stderr)
    sys.stderr.flush()
