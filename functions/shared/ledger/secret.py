"""The database's address where it is not in the environment: a secret of AWS Secrets Manager."""

import json
from typing import Protocol

from functions.shared.ledger.errors import DatabaseUrlError, LedgerUnavailableError


class DatabaseSettings(Protocol):
    """What is read of the settings of a function with a database."""

    @property
    def database_url(self) -> str | None:
        """As in `resolve_database_url`."""

    @property
    def database_secret_arn(self) -> str | None:
        """As in `resolve_database_url`."""


def resolve_database_url(url: str | None, secret_arn: str | None) -> str:
    """Return the address of the database from the one of two settings that is given.

    Asks Secrets Manager each time: call it once per execution environment.

    Parameters
    ----------
    url : str or None
        ``DATABASE_URL``.
    secret_arn : str or None
        ``DATABASE_SECRET_ARN``: a secret whose text is the URL, or a JSON object with it as ``DATABASE_URL``.

    Returns
    -------
    str
        For `database_url.parse_database_url`.

    Raises
    ------
    DatabaseUrlError
        If neither or both are given, or the secret holds no address. Shows nothing of what the secret holds.
    LedgerUnavailableError
        If the secret cannot be read.
    """
    if url and not secret_arn:
        return url
    if url or not secret_arn:
        raise DatabaseUrlError("exactly one of DATABASE_URL and DATABASE_SECRET_ARN must be set")
    secret = _read(secret_arn)
    # Secrets Manager's console makes an object of names and values, its API a plain text.
    if secret is not None and secret.lstrip().startswith("{"):
        try:
            secret = json.loads(secret).get("DATABASE_URL")
        except ValueError:
            raise DatabaseUrlError("DATABASE_SECRET_ARN: the secret starts like JSON and is none") from None
        if not isinstance(secret, str):
            raise DatabaseUrlError("DATABASE_SECRET_ARN: the secret's JSON has no text DATABASE_URL")
    if secret is None or not secret.strip().startswith(("postgresql://", "postgres://")):
        raise DatabaseUrlError("DATABASE_SECRET_ARN: the secret must hold text that starts with postgresql://")
    return secret.strip()


def _read(secret_arn: str) -> str | None:
    """Fetch the secret's text; None if it holds bytes."""
    # boto3 takes half a second to import and to make a client: whoever has no secret does not pay for it.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    # Within the 30 seconds that API Gateway waits.
    config = Config(connect_timeout=2, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 3})
    try:
        client = boto3.session.Session().client("secretsmanager", config=config)
        return client.get_secret_value(SecretId=secret_arn).get("SecretString")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise LedgerUnavailableError(f"DATABASE_SECRET_ARN: the secret cannot be read: {code}") from error
    except BotoCoreError as error:
        raise LedgerUnavailableError(f"DATABASE_SECRET_ARN: the secret cannot be read: {error}") from error
