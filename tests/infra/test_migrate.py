"""The function that migrates at each deployment: what it does to the database, and what CloudFormation hears of it."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Any, Literal

import boto3
import pytest
from moto import mock_aws

from functions.migrate import custom_resource, handler
from functions.migrate.custom_resource import CustomResourceRequest
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from infra import migrations
from tests.support.cloudformation import CloudFormation
from tests.support.database import run

SECRET = "tr0ub4dor"


@dataclass(frozen=True)
class Context:
    """What Lambda hands over beside the event."""

    milliseconds: int = 900_000
    aws_request_id: str = "8f5b1b0e-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def request(
    cloudformation: CloudFormation, kind: Literal["Create", "Update", "Delete"], **properties: str
) -> CustomResourceRequest:
    event: CustomResourceRequest = {
        "RequestType": kind,
        "ResponseURL": cloudformation.url,
        "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/ledger/51af3dc0",
        "RequestId": "5d478078-13e9-baf0-464a-7ef285ecc786",
        "LogicalResourceId": "Migration",
        "ResourceProperties": properties,
    }
    if kind != "Create":
        event["PhysicalResourceId"] = "named-on-create"
    return event


def only(cloudformation: CloudFormation) -> dict[str, Any]:
    [body] = cloudformation.answers
    parsed: dict[str, Any] = json.loads(body)
    return parsed


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "SECONDS_BETWEEN_TRIES", 0.02)
    monkeypatch.setattr(custom_resource, "SECONDS_BETWEEN_ATTEMPTS", 0.02)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("DATABASE_SECRET_ARN", raising=False)


def test_the_first_deployment_makes_the_tables_and_answers_success(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", owner_url)
    event = request(cloudformation, "Create")
    handler.handler(event, Context())
    assert only(cloudformation) == {
        "Status": "SUCCESS",
        "PhysicalResourceId": handler.RESOURCE,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": "Migration",
    }
    assert run(owner_url, "SELECT count(*) FROM predictions") == [[0]]


def test_an_answer_has_no_content_type_since_the_signature_covers_none(
    cloudformation: CloudFormation,
) -> None:
    handler.handler(request(cloudformation, "Delete"), Context())
    assert cloudformation.contenttypes == [""]


def test_the_next_deployment_finds_nothing_to_do_and_keeps_the_name(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.upgrade(owner_url)
    monkeypatch.setenv("DATABASE_URL", owner_url)
    handler.handler(request(cloudformation, "Update"), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"
    assert only(cloudformation)["PhysicalResourceId"] == "named-on-create"


def test_deleting_the_stack_leaves_the_tables_alone(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.upgrade(owner_url)
    monkeypatch.setenv("DATABASE_URL", owner_url)
    handler.handler(request(cloudformation, "Delete"), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"
    assert run(owner_url, "SELECT count(*) FROM predictions") == [[0]]


def test_deleting_a_stack_whose_database_is_gone_succeeds(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ledger@127.0.0.1:1/ledger")
    handler.handler(request(cloudformation, "Delete"), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"


def test_a_database_that_cannot_be_reached_fails_the_deployment_without_telling_the_password(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handler, "WAKING_SECONDS", 0.1)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://ledger:{SECRET}@127.0.0.1:1/ledger")
    handler.handler(request(cloudformation, "Update"), Context())
    assert only(cloudformation)["Status"] == "FAILED"
    assert "cannot be reached" in only(cloudformation)["Reason"]
    assert SECRET not in cloudformation.answers[0].decode() + caplog.text


def test_a_database_that_is_still_waking_up_is_waited_for(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = parse_database_url(owner_url)
    socket = Path(str(there.socket_directory)) / f".s.PGSQL.{there.port}"
    with TemporaryDirectory() as folder:
        monkeypatch.setenv("DATABASE_URL", f"postgresql://{there.user}@/{there.database}?host={folder}")
        Timer(0.3, (Path(folder) / ".s.PGSQL.5432").symlink_to, [socket]).start()
        handler.handler(request(cloudformation, "Update"), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"


def test_a_migration_that_the_database_refuses_fails_the_deployment_and_changes_nothing(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(owner_url, "CREATE TABLE predictions (in_the_way int)")
    monkeypatch.setenv("DATABASE_URL", owner_url)
    handler.handler(request(cloudformation, "Create"), Context())
    assert only(cloudformation)["Status"] == "FAILED"
    assert "predictions" in only(cloudformation)["Reason"]
    assert run(owner_url, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'") == [["predictions"]]


def test_two_deployments_at_once_both_succeed(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", owner_url)
    events = [request(cloudformation, "Update", MakeFunctionUsers="true") for _ in range(4)]
    with ThreadPoolExecutor(len(events)) as pool:
        list(pool.map(lambda event: handler.handler(event, Context()), events))
    assert [json.loads(body)["Status"] for body in cloudformation.answers] == ["SUCCESS"] * len(events)


def test_the_version_before_accepts_a_schema_that_is_newer_than_itself(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.upgrade(owner_url)
    run(owner_url, "UPDATE alembic_version SET version_num = '9999'")
    monkeypatch.setenv("DATABASE_URL", owner_url)
    handler.handler(request(cloudformation, "Update"), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"
    assert run(owner_url, "SELECT version_num FROM alembic_version") == [["9999"]]


def test_a_migration_that_outlasts_the_function_fails_the_deployment_in_time_and_is_answered_once(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.upgrade(owner_url)
    monkeypatch.setenv("DATABASE_URL", owner_url)
    monkeypatch.setattr(handler, "SECONDS_TO_ANSWER", 1.0)
    # Whoever migrates holds this lock; as long as we do, the function waits.
    blocker = Connection(parse_database_url(owner_url), longest=60)
    blocker.run(f"SELECT pg_advisory_lock({migrations._LOCK})", {})
    with ThreadPoolExecutor(1) as pool, closing(blocker):
        invocation = pool.submit(handler.handler, request(cloudformation, "Update"), Context(1_200))
        deadline = time.monotonic() + 30
        while not cloudformation.answers and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not invocation.done()
        assert only(cloudformation)["Status"] == "FAILED"
        blocker.close()
        invocation.result(30)
    assert only(cloudformation)["Status"] == "FAILED"


def test_an_answer_that_gets_lost_is_sent_again(cloudformation: CloudFormation) -> None:
    cloudformation.refusals = 2
    handler.handler(request(cloudformation, "Delete"), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"


def test_a_missing_setting_fails_the_deployment_and_is_named(cloudformation: CloudFormation) -> None:
    handler.handler(request(cloudformation, "Create"), Context())
    assert only(cloudformation)["Status"] == "FAILED"
    assert "DATABASE_SECRET_ARN" in only(cloudformation)["Reason"]


@pytest.mark.parametrize("stored", [str, lambda url: json.dumps({"DATABASE_URL": url})], ids=["text", "object"])
def test_the_address_may_be_kept_in_a_secret(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch, stored: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        secrets = boto3.client("secretsmanager")
        arn = secrets.create_secret(Name="ledger", SecretString=stored(owner_url))["ARN"]
        monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
        # moto would answer the request to CloudFormation too, if it went through the same library; it does not.
        handler.handler(request(cloudformation, "Create"), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"
    assert run(owner_url, "SELECT count(*) FROM predictions") == [[0]]


def test_a_secret_without_the_address_fails_the_deployment(
    cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        stored = json.dumps({"not what we look for": ""})
        arn = boto3.client("secretsmanager").create_secret(Name="ledger", SecretString=stored)["ARN"]
        monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
        handler.handler(request(cloudformation, "Create"), Context())
    assert only(cloudformation)["Status"] == "FAILED"
    assert "DATABASE_SECRET_ARN" in only(cloudformation)["Reason"]


def test_the_text_of_an_error_that_is_not_ours_is_kept_from_the_answer() -> None:
    assert SECRET not in handler._reason(RuntimeError(SECRET))
    assert "RuntimeError" in handler._reason(RuntimeError(SECRET))


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_functions_get_users_of_their_own_only_where_the_stack_makes_the_database(
    cloudformation: CloudFormation, owner_url: str, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", owner_url)
    handler.handler(request(cloudformation, "Create", MakeFunctionUsers=wanted), Context())
    assert only(cloudformation)["Status"] == "SUCCESS"
    allowed = "SELECT grantee::text FROM information_schema.role_table_grants WHERE table_name = 'predictions'"
    who = {"ledger_reader", "ledger_writer", "ledger_eraser", "ledger_judge", "ledger_roller"}
    others = who if wanted == "true" else set()
    assert {grantee for [grantee] in run(owner_url, allowed)} == {"ledger_owner"} | others
