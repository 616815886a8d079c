"""Logging in to RDS with an IAM token in place of a password (AWS, "IAM database authentication")."""

from functools import cache
from typing import TYPE_CHECKING

from functions.shared.ledger.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_rds import RDSClient


def login_token(host: str, port: int, user: str, region: str) -> str:
    """Sign a token, which RDS takes as the password of a new connection for 15 minutes.

    A signature made on this machine with the role's credentials; no service is asked.

    Parameters
    ----------
    host, port
        Of the database or of RDS Proxy, by the name that is connected to: it is part of what is signed.
    user : str
        Database user, one that may log in so.
    region : str
        AWS region of the database.

    Returns
    -------
    str
        The token.

    Raises
    ------
    LedgerUnavailableError
        If there are no credentials to sign with.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return _client(region).generate_db_auth_token(DBHostname=host, Port=port, DBUsername=user, Region=region)
    except (BotoCoreError, ClientError) as error:
        raise LedgerUnavailableError(f"auth=iam: no token can be signed: {error}") from error


@cache
def _client(region: str) -> "RDSClient":
    # boto3 takes half a second to import and to make a client: whoever has a password does not pay for it.
    import boto3

    # A session of its own: the default one is not safe to share between threads that make clients.
    return boto3.session.Session().client("rds", region_name=region)
