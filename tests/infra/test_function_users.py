"""The database users of the functions: each may do what its functions need, and nothing else."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID

import boto3
import httpx
import pytest
from moto import mock_aws

from functions.migrate import function_users
from functions.migrate.function_users import FUNCTION_USERS, make_function_users
from functions.rollup.handler import handler as roll_up
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.errors import LedgerError
from functions.shared.ledger.identifiers import first_id_at
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, QueuedPrediction
from functions.shared.ledger.rollups import MEASURES, SummaryLedger
from functions.sweep.handler import handler as sweep
from infra import migrations
from tests.infra.test_template import USERS
from tests.support.buckets import make_bucket, put
from tests.support.database import in_database, run
from tests.support.event_transport import Context, EventTransport, forget_environment
from tests.support.prediction_queue import AWS, Queue, predict
from tests.support.predictions import MODEL, prediction
from tests.support.repository import DIGIT, ROOT

MODULES = {
    "PredictFunction": "predict",
    "InferFunction": "infer",
    "WorkerFunction": "worker",
    "UploadFunction": "upload",
    "ListPredictionsFunction": "list_predictions",
    "GetPredictionFunction": "get_prediction",
    "StatisticsFunction": "statistics",
    "DescribeFunction": "describe",
    "SweepFunction": "sweep",
    "DeletePredictionsFunction": "delete_predictions",
    "GroundTruthFunction": "ground_truth",
    "RollupFunction": "rollup",
}

# A relation that is missing here has been given to nobody. Grant it in functions/migrate/function_users.py to whom it
# is for, and say so here. UPDATE is of some columns only, but for idempotency keys.
RIGHTS: dict[str, dict[str, set[str]]] = {
    "alembic_version": {},
    "prediction_log": {},
    "schedule": {},
    "models": {
        "ledger_reader": {"SELECT"},
        "ledger_roller": {"SELECT"},
        "ledger_writer": {"SELECT", "INSERT", "UPDATE"},
        "ledger_eraser": {"SELECT"},
        "ledger_judge": {"SELECT"},
    },
    "inputs": {
        "ledger_reader": {"SELECT"},
        "ledger_roller": {"SELECT"},
        "ledger_writer": {"SELECT", "INSERT"},
        "ledger_eraser": {"SELECT", "DELETE"},
    },
    "predictions": {
        "ledger_reader": {"SELECT"},
        "ledger_roller": {"SELECT"},
        "ledger_writer": {"SELECT", "INSERT", "UPDATE"},
        "ledger_eraser": {"SELECT", "UPDATE", "DELETE"},
        "ledger_judge": {"SELECT", "UPDATE"},
    },
    "judged_predictions": {
        "ledger_reader": {"SELECT"},
        "ledger_writer": {"SELECT", "INSERT", "UPDATE"},
        "ledger_eraser": {"SELECT", "DELETE"},
        "ledger_judge": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    },
    "ground_truths": {"ledger_eraser": {"SELECT", "UPDATE"}, "ledger_judge": {"SELECT", "INSERT"}},
    "large_outputs": {
        "ledger_reader": {"SELECT"},
        "ledger_writer": {"SELECT", "INSERT"},
        "ledger_eraser": {"SELECT", "DELETE"},
    },
    "idempotency_keys": {
        "ledger_writer": {"SELECT", "INSERT", "UPDATE"},
        "ledger_eraser": {"SELECT", "UPDATE", "DELETE"},
    },
    "uploads": {
        "ledger_uploader": {"SELECT", "INSERT"},
        "ledger_writer": {"SELECT"},
        "ledger_eraser": {"SELECT", "UPDATE", "DELETE"},
    },
    "rollups": {"ledger_reader": {"SELECT"}, "ledger_roller": {"SELECT", "INSERT", "UPDATE", "DELETE"}},
    "rolled_until": {"ledger_reader": {"SELECT"}, "ledger_roller": {"SELECT", "INSERT", "UPDATE"}},
    "stale_hours": {"ledger_reader": {"SELECT"}, "ledger_roller": {"SELECT", "DELETE"}},
    "deletions": {"ledger_eraser": {"SELECT", "INSERT", "UPDATE"}},
    "deleted_inputs": {"ledger_eraser": {"SELECT", "INSERT", "UPDATE", "DELETE"}},
    "deleted_objects": {"ledger_eraser": {"SELECT", "INSERT", "UPDATE", "DELETE"}},
    "refused_requests": {
        "ledger_reader": {"SELECT", "INSERT", "UPDATE"},
        "ledger_uploader": {"SELECT", "INSERT", "UPDATE"},
        "ledger_writer": {"SELECT", "INSERT", "UPDATE"},
        "ledger_eraser": {"SELECT", "INSERT", "UPDATE"},
        "ledger_judge": {"SELECT", "INSERT", "UPDATE"},
    },
    "quota_usage": {
        "ledger_uploader": {"SELECT", "INSERT", "UPDATE"},
        "ledger_writer": {"SELECT", "INSERT", "UPDATE"},
        "ledger_eraser": {"SELECT", "UPDATE", "DELETE"},
    },
}

QUOTAS = ("QUOTA_PREDICTIONS_PER_HOUR", "QUOTA_STORED_BYTES", "QUOTA_QUEUED_PREDICTIONS", "QUOTA_OPEN_UPLOADS")

As = Callable[[str], str]
"""Returns the URL of the ledger for one of its users."""


@pytest.fixture
def as_user(owner_url: str) -> As:
    """A ledger with its users, made twice, as two deployments do."""
    migrations.upgrade(owner_url)
    for _ in range(2):
        make_function_users(owner_url)
    return lambda user: in_database(owner_url, str(parse_database_url(owner_url).database), user)


def test_two_deployments_at_once_make_them_one_after_the_other(owner_url: str) -> None:
    migrations.upgrade(owner_url)
    blocker = Connection(parse_database_url(owner_url), longest=60)
    with ThreadPoolExecutor(1) as pool, closing(blocker):
        blocker.run(function_users._LOCK, {})
        made = pool.submit(make_function_users, owner_url)
        with pytest.raises(TimeoutError):
            made.result(0.5)
        blocker.close()
        made.result(30)


@pytest.mark.parametrize("user", FUNCTION_USERS)
def test_each_logs_in_with_a_token(as_user: As, user: str) -> None:
    assert run(as_user(user), "SELECT pg_has_role('rds_iam', 'member')") == [[True]]


@pytest.mark.usefixtures("as_user")
def test_each_relation_is_given_to_whom_it_is_for(owner_url: str) -> None:
    found: dict[str, dict[str, set[str]]] = {}
    for relation, user, right in run(
        owner_url,
        """
        SELECT c.relname::text, u.rolname::text, p.privilege
        FROM pg_class c
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) p (privilege)
        LEFT JOIN pg_roles u ON u.rolname LIKE 'ledger\\_%' AND u.rolname NOT IN ('ledger_owner', 'ledger_function')
             AND (has_table_privilege(u.oid, c.oid, p.privilege)
                  OR p.privilege IN ('SELECT', 'INSERT', 'UPDATE')
                     AND has_any_column_privilege(u.oid, c.oid, p.privilege))
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
        """,
    ):
        users = found.setdefault(str(relation), {})
        if user is not None:
            users.setdefault(str(user), set()).add(str(right))
    assert found == RIGHTS


@pytest.mark.usefixtures("as_user")
def test_no_sequence_is_left_to_be_given(owner_url: str) -> None:
    assert run(owner_url, "SELECT count(*) FROM pg_class WHERE relkind = 'S'") == [[0]]


def test_nobody_but_the_writer_withdraws(as_user: As) -> None:
    statement = "SELECT withdraw_queued('019a0000-0000-7000-8000-000000000000')"
    assert run(as_user("ledger_writer"), statement) == [[True]]
    for user in set(FUNCTION_USERS) - {"ledger_writer"}:
        with pytest.raises(LedgerError, match="42501"):
            run(as_user(user), statement)


SCHEMA_CHANGES = [
    "CREATE TABLE mine (x int)",
    "DROP TABLE predictions",
    "ALTER TABLE predictions DROP COLUMN output",
    "TRUNCATE predictions",
    "UPDATE alembic_version SET version_num = '9999'",
    "SELECT * FROM alembic_version",
    "CREATE ROLE another",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP FUNCTION withdraw_queued(uuid)",
]

REFUSED = {
    "ledger_reader": [
        "DELETE FROM refused_requests",
        "UPDATE refused_requests SET route = ''",
        "INSERT INTO inputs (input_id) VALUES ('019a0000-0000-7000-8000-000000000000')",
        "UPDATE predictions SET label = 'x'",
        "DELETE FROM predictions",
        "DELETE FROM inputs",
        "SELECT * FROM idempotency_keys",
        "SELECT * FROM uploads",
        "SELECT 1 FROM predictions FOR UPDATE",
        "SELECT * FROM quota_usage",
        "SELECT more_unfinished_than('anna', 1)",
    ],
    "ledger_uploader": [
        "SELECT * FROM uploads",
        "SELECT * FROM predictions",
        "SELECT * FROM inputs",
        "UPDATE uploads SET user_id = 'x'",
        "DELETE FROM uploads",
        "DELETE FROM quota_usage",
        "SELECT more_unfinished_than('anna', 1)",
    ],
    "ledger_writer": [
        "DELETE FROM predictions",
        "DELETE FROM inputs",
        "DELETE FROM idempotency_keys",
        "DELETE FROM uploads",
        "DELETE FROM models",
        "UPDATE predictions SET user_id = 'x'",
        "UPDATE predictions SET input_id = prediction_id",
        "UPDATE inputs SET content = ''",
        "UPDATE models SET name = 'x'",
        "DELETE FROM quota_usage",
        "INSERT INTO uploads (input_id) VALUES ('019a0000-0000-7000-8000-000000000000')",
    ],
    "ledger_eraser": [
        "INSERT INTO inputs (input_id) VALUES ('019a0000-0000-7000-8000-000000000000')",
        "UPDATE predictions SET label = 'x'",
        "UPDATE predictions SET user_id = 'x'",
        "UPDATE inputs SET content = ''",
        "DELETE FROM models",
        "DELETE FROM deletions",
        "UPDATE idempotency_keys SET prediction_ids = '{}'",
        "DELETE FROM ground_truths",
        "UPDATE ground_truths SET value = NULL",
        "UPDATE predictions SET ground_truth = NULL",
    ],
    "ledger_judge": [
        "DELETE FROM ground_truths",
        "UPDATE ground_truths SET value = NULL",
        "DELETE FROM predictions",
        "UPDATE predictions SET label = 'x'",
        "INSERT INTO predictions (prediction_id) VALUES ('019a0000-0000-7000-8000-000000000000')",
        "SELECT * FROM inputs",
        "SELECT * FROM idempotency_keys",
        "SELECT * FROM quota_usage",
        "UPDATE models SET name = 'x'",
    ],
    "ledger_roller": [
        "SELECT * FROM refused_requests",
        "INSERT INTO stale_hours (starts_at) VALUES (now())",
        "DELETE FROM rolled_until",
        "DELETE FROM predictions",
        "UPDATE predictions SET label = 'x'",
        "SELECT content FROM inputs",
        "SELECT * FROM idempotency_keys",
        "SELECT withdraw_queued('019a0000-0000-7000-8000-000000000000')",
        "SELECT more_unfinished_than('anna', 1)",
    ],
}


@pytest.mark.parametrize("user", FUNCTION_USERS)
def test_none_may_do_anything_else(as_user: As, user: str) -> None:
    for statement in (*SCHEMA_CHANGES, *REFUSED[user]):
        with pytest.raises(LedgerError, match="42501"):
            run(as_user(user), statement)


@pytest.fixture(params=["without quotas", "with quotas"])
def stack(
    request: pytest.FixtureRequest, as_user: As, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[httpx.Client, Queue, As]]:
    """The functions, each logged in as the user that template.yaml gives it, with a queue and a bucket."""
    for name, value in {**AWS, "UPLOADS_BUCKET": "uploads", "MODEL": str(ROOT / "model_artifacts/mnist")}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        make_bucket("uploads")
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
        monkeypatch.setenv("QUEUE_URL", url)
        if request.param == "with quotas":
            for name in QUOTAS:
                monkeypatch.setenv(name, "1000000")
        forget_environment()
        for function, module in MODULES.items():
            monkeypatch.setenv("DATABASE_URL", as_user(USERS[function]))
            import_module(f"functions.{module}.handler").environment()
        with httpx.Client(transport=EventTransport(), base_url="https://api.example") as api:
            yield api, Queue(sqs, url), as_user
    forget_environment()


def test_each_function_does_its_work_as_its_user(stack: tuple[httpx.Client, Queue, As]) -> None:
    api, queue, _ = stack
    digit = DIGIT.read_bytes()

    for _ in range(2):  # the second time as a replay
        made = predict(api, digit, prefer=None, key="once")
        assert made.status_code == 201
    many = api.post("/predictions", files=[("file", ("7.png", digit, "image/png"))] * 2)
    assert many.status_code == 201
    announced = api.post("/upload", json={"contenttype": "image/png", "size": len(digit)}).json()
    put(announced, digit)
    assert api.post("/prediction", json={"input_id": announced["input_id"]}).status_code == 201
    for _ in range(2):
        later = predict(api, digit, key="later")
        assert later.status_code == 202
    assert queue.deliver() == []
    path = f"/prediction/{later.json()['prediction_id']}"
    assert api.get(path).json()["status"] == "succeeded"
    assert api.get(f"{path}/input").content == digit
    for query in ("", "?user_id=anna", "?label=7", "?model=mnist", "?model=mnist&label=7&min_confidence=0.1"):
        assert api.get(f"/predictions{query}").status_code == 200
    assert len(api.get("/predictions").json()["predictions"]) == 5
    for label in ("1", "7"):
        assert api.put(f"{path}/ground_truth", json={"label": label}).status_code == 200
    assert api.get(f"{path}/ground_truth").json()["correct"] is True
    assert api.delete(f"{path}/ground_truth").status_code == 204
    truths = {"items": [{"prediction_id": later.json()["prediction_id"], "label": "7"}]}
    assert api.post("/ground_truth", json=truths).json()["changed"] == 1
    version = "/models/mnist/versions/1"
    for figures in (
        "/statistics",
        "/models",
        f"{version}/performance",
        f"{version}/drift",
        f"{version}/drift?baseline=first",
    ):
        assert api.get(figures).status_code == 200
    assert api.delete(path).status_code == 204
    deletion = api.delete("/predictions?user_id=anonymous")
    assert deletion.status_code == 202  # the upload's URL can still be used
    assert api.get(deletion.headers["location"]).json()["deleted"] == 3
    assert api.delete("/predictions?until=2100-01-01T00:00:00Z").json() == {"deleted": 1}
    assert sweep({}, Context())["expired"] == 0
    assert api.get("/health?deep=1").status_code == 200
    assert api.get("/model").json()["provider"] == "CPUExecutionProvider"


def test_the_rollup_does_its_work_as_its_user(stack: tuple[httpx.Client, Queue, As]) -> None:
    _, _, as_user = stack
    writer = Ledger.at(as_user("ledger_writer"))
    old = prediction(prediction_id=first_id_at(datetime.now(UTC) - timedelta(days=2)))
    writer.store(MODEL, [old])  # late, so that it also makes a mark
    assert roll_up({}, Context()) == {"hours": 1, "left": False}
    run(as_user("ledger_owner"), "UPDATE predictions SET label = '8'")
    assert roll_up({}, Context()) == {"hours": 1, "left": False}
    eraser = DeletingLedger.at(as_user("ledger_eraser"))
    eraser.delete(old.prediction_id)
    assert run(as_user("ledger_reader"), "SELECT count(*) FROM rollups") == [[0]]
    reader = SummaryLedger.at(as_user("ledger_reader"))
    since = datetime.now(UTC) - timedelta(days=3)
    assert reader.summary(since=since, until=datetime.now(UTC), measures=MEASURES) == []
    for ledger in (writer, eraser, reader):
        ledger.close()


def test_the_sweep_does_its_work_as_its_user(stack: tuple[httpx.Client, Queue, As]) -> None:
    api, queue, as_user = stack
    ledger = Ledger.at(as_user("ledger_owner"))
    stuck = [QueuedPrediction(NewInput(DIGIT.read_bytes(), "image/png"), "anna") for _ in range(2)]
    for one in stuck:
        ledger.enqueue(one)
    ledger.claim([stuck[0].prediction_id], lease_seconds=1)
    ledger.close()
    run(as_user("ledger_owner"), "UPDATE predictions SET status_since = now() - interval '1 hour'")
    scheduled: Any = {"source": "aws.events"}

    assert sweep(scheduled, Context()) == {"sent": 1, "failed": 1, "deleted": 0, "expired": 0}

    assert queue.deliver() == []
    statuses = [api.get(f"/prediction/{one.prediction_id}").json()["status"] for one in stuck]
    assert statuses == ["failed", "succeeded"]


@pytest.mark.parametrize("key", [None, "later"])
def test_what_cannot_be_queued_is_withdrawn_without_the_right_to_delete(
    stack: tuple[httpx.Client, Queue, As], key: str | None
) -> None:
    api, queue, as_user = stack
    queue.sqs.delete_queue(QueueUrl=queue.url)

    assert predict(api, DIGIT.read_bytes(), key=key).status_code == 503

    counts = "SELECT (SELECT count(*) FROM predictions) + (SELECT count(*) FROM inputs)"
    assert run(as_user("ledger_owner"), f"{counts} + (SELECT count(*) FROM idempotency_keys)") == [[0]]


def test_each_function_counts_what_it_refuses_as_its_user(stack: tuple[httpx.Client, Queue, As]) -> None:
    api, _, as_user = stack
    test_each_function_does_its_work_as_its_user(stack)  # each has a connection now

    refused = [
        api.post("/prediction", content=b"", headers={"Content-Type": "image/png"}),
        api.get("/predictions?limit=0"),
        api.get("/prediction/none"),
        api.delete("/prediction/none"),
        api.put("/prediction/none/ground_truth", json={"label": "7"}),
        api.post("/upload", content=b""),
        api.get("/statistics?interval=month"),
    ]

    assert all(400 <= answer.status_code < 500 for answer in refused)
    routes = run(as_user("ledger_owner"), "SELECT DISTINCT route FROM refused_requests ORDER BY route")
    assert [route for (route,) in routes] == [
        "DELETE /prediction/{prediction_id}",
        "GET /prediction/{prediction_id}",
        "GET /predictions",
        "GET /statistics",
        "POST /prediction",
        "POST /upload",
        "PUT /prediction/{prediction_id}/ground_truth",
    ]


def test_what_a_worker_has_taken_is_not_withdrawn(as_user: As) -> None:
    ledger = Ledger.at(as_user("ledger_writer"))
    prediction = QueuedPrediction(NewInput(DIGIT.read_bytes(), "image/png"), "anna")
    ledger.enqueue(prediction)
    ledger.claim([prediction.prediction_id], lease_seconds=60)
    assert not ledger.withdraw(prediction.prediction_id)
    ledger.close()
    [[kept]] = run(as_user("ledger_owner"), "SELECT prediction_id FROM predictions")
    assert kept == UUID(str(prediction.prediction_id))
