"""The AWS account and the region that functions believe they run in."""

from collections.abc import Mapping

ACCOUNT = "123456789012"
"""The account of AWS's own examples."""


def region_of(caller: Mapping[str, str]) -> str:
    """Return the AWS region that functions believe they run in."""
    return caller.get("AWS_REGION") or caller.get("AWS_DEFAULT_REGION") or "us-east-1"
