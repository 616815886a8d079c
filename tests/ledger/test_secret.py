"""DATABASE_SECRET_ARN: the address of the database, kept in Secrets Manager (moto's)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.shared.ledger.errors import DatabaseUrlError, LedgerError, LedgerUnavailableError
from functions.shared.ledger.secret import resolve_database_url
from functions.shared.settings import FunctionSettings, SettingsError

pytestmark = pytest.mark.slow

URL = "postgresql://anna:hunter2@db.example/ledger"
NOWHERE = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:none-a1b2c3"
Keep = Callable[[str | bytes], str]


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keep]:
    """Make a secret and return its ARN."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        secrets = boto3.client("secretsmanager")

        def make(content: str | bytes) -> str:
            kept: dict[str, Any] = {"SecretBinary" if isinstance(content, bytes) else "SecretString": content}
            return secrets.create_secret(Name="ledger", **kept)["ARN"]

        yield make


def test_a_url_is_taken_as_it_is() -> None:
    assert resolve_database_url(URL, None) == URL


@pytest.mark.parametrize(
    "content", [URL, f"{URL}\n", json.dumps({"DATABASE_URL": URL}), json.dumps({"DATABASE_URL": URL, "user": "anna"})]
)
def test_a_secret_is_the_url_or_an_object_that_has_it(keep: Keep, content: str) -> None:
    assert resolve_database_url(None, keep(content)) == URL


@pytest.mark.parametrize(
    "content",
    [
        "hunter2",
        "mysql://anna:hunter2@db/ledger",
        '{"DATABASE_URL": "hunter2',
        '{"password": "hunter2"}',
        '{"DATABASE_URL": ["hunter2"]}',
        '{"DATABASE_URL": "hunter2"}',
        b"hunter2",
    ],
)
def test_a_secret_without_an_address_is_refused_and_not_shown(keep: Keep, content: str | bytes) -> None:
    arn = keep(content)
    with pytest.raises(DatabaseUrlError, match="DATABASE_SECRET_ARN") as refused:
        resolve_database_url(None, arn)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.usefixtures("keep")
def test_a_secret_that_is_not_there_is_named_by_its_variable() -> None:
    with pytest.raises(LedgerUnavailableError, match=r"DATABASE_SECRET_ARN.*ResourceNotFoundException"):
        resolve_database_url(None, NOWHERE)


@pytest.mark.parametrize(("url", "arn"), [(None, None), ("", ""), (URL, NOWHERE)])
def test_exactly_one_of_the_two_is_given(url: str | None, arn: str | None) -> None:
    with pytest.raises(LedgerError, match="DATABASE_URL and DATABASE_SECRET_ARN") as refused:
        resolve_database_url(url, arn)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "environment", [{}, {"DATABASE_URL": ""}, {"DATABASE_URL": URL, "DATABASE_SECRET_ARN": NOWHERE}]
)
def test_settings_with_neither_or_both_name_both(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_URL.*DATABASE_SECRET_ARN") as refused:
        FunctionSettings.from_environment(environment)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("environment", [{"DATABASE_URL": URL}, {"DATABASE_SECRET_ARN": NOWHERE, "DATABASE_URL": ""}])
def test_settings_with_one_of_the_two_are_complete(environment: dict[str, str]) -> None:
    settings = FunctionSettings.from_environment(environment)
    assert {settings.database_url, settings.database_secret_arn} == {None, *filter(None, environment.values())}
