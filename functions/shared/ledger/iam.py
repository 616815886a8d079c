"""Log in to RDS with an IAM token instead of a password (AWS, "IAM database authentication")."""

from functools import cache
from typing import TYPE_CHECKING

from functions.shared.ledger.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_rds import RDSClient


def login_token(host: str, port: int, user: str, region: str) -> str:
    """Sign a token that RDS accepts as the password of a new connection for 15 minutes.

    The token is signed locally with the role's credentials, without a network call.

    Parameters
    ----------
    host, port
        Of the database or RDS Proxy. The token is valid only for this host and port.
    user : str
        A database user that may log in with IAM.
    region : str
        AWS region of the database.

    Returns
    -------
    str
        The token.

    Raises
    ------
    LedgerUnavailableError
        If there are no credentials to sign the token with.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return _client(region).generate_db_auth_token(DBHostname=host, Port=port, DBUsername=user, Region=region)
    except (BotoCoreError, ClientError) as error:
        raise LedgerUnavailableError(f"auth=iam: no token can be signed: {error}") from error


@cache
def _client(region: str) -> "RDSClient":
    # Importing boto3 and creating a client takes half a second. Logging in with a password skips that.
    import boto3

    # Use a separate session: threads must not share the default session to create clients.
    return boto3.session.Session().client("rds", region_name=region)
