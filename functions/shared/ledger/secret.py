"""The database URL from AWS Secrets Manager, for deployments that do not keep it in the environment."""

import json
from typing import Protocol

from functions.shared.ledger.errors import DatabaseUrlError, LedgerUnavailableError


class DatabaseSettings(Protocol):
    """The settings that a function with a database needs."""

    @property
    def database_url(self) -> str | None:
        """As in `resolve_database_url`."""

    @property
    def database_secret_arn(self) -> str | None:
        """As in `resolve_database_url`."""


def resolve_database_url(url: str | None, secret_arn: str | None) -> str:
    """Return the database URL, from the environment or from a secret.

    Each call asks Secrets Manager: call this once per execution environment.

    Parameters
    ----------
    url : str or None
        ``DATABASE_URL``.
    secret_arn : str or None
        ``DATABASE_SECRET_ARN``: a secret whose text is the URL, or a JSON object with a member ``DATABASE_URL``.

    Returns
    -------
    str
        For `database_url.parse_database_url`.

    Raises
    ------
    DatabaseUrlError
        If neither or both are given, or the secret contains no URL. The message never shows the secret.
    LedgerUnavailableError
        If the secret cannot be read.
    """
    if url and not secret_arn:
        return url
    if url or not secret_arn:
        raise DatabaseUrlError("exactly one of DATABASE_URL and DATABASE_SECRET_ARN must be set")
    secret = _read(secret_arn)
    # Secrets created in the console are JSON objects; secrets created through the API are often plain text.
    if secret is not None and secret.lstrip().startswith("{"):
        try:
            secret = json.loads(secret).get("DATABASE_URL")
        except ValueError:
            raise DatabaseUrlError("DATABASE_SECRET_ARN: the secret starts with { but is not valid JSON") from None
        if not isinstance(secret, str):
            raise DatabaseUrlError("DATABASE_SECRET_ARN: the secret's JSON has no string member DATABASE_URL")
    if secret is None or not secret.strip().startswith(("postgresql://", "postgres://")):
        raise DatabaseUrlError("DATABASE_SECRET_ARN: the secret must hold text that starts with postgresql://")
    return secret.strip()


def _read(secret_arn: str) -> str | None:
    """Return the secret's text; None if the secret is binary."""
    # Importing boto3 and creating a client takes half a second. Deployments without a secret skip that.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    # All attempts must fit into the 30 seconds that API Gateway waits.
    config = Config(connect_timeout=2, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 3})
    try:
        client = boto3.session.Session().client("secretsmanager", config=config)
        return client.get_secret_value(SecretId=secret_arn).get("SecretString")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise LedgerUnavailableError(f"DATABASE_SECRET_ARN: the secret cannot be read: {code}") from error
    except BotoCoreError as error:
        raise LedgerUnavailableError(f"DATABASE_SECRET_ARN: the secret cannot be read: {error}") from error
