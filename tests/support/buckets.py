"""A bucket in moto, and an upload to a presigned URL."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import requests

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Bucket:
    """A bucket in moto."""

    s3: "S3Client"
    name: str

    def contents(self) -> dict[str, bytes]:
        """Return every object by its key."""
        listed = self.s3.list_objects_v2(Bucket=self.name).get("Contents", [])
        keys = [one["Key"] for one in listed]
        return {key: self.s3.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}


def make_bucket(name: str) -> Bucket:
    """Make a bucket."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=name)
    return Bucket(s3, name)


def put(announced: dict[str, Any], content: bytes) -> requests.Response:
    """Upload to the URL that `POST /upload` returned. moto replaces S3 only for the client `requests`."""
    return requests.put(announced["url"], data=content, headers=announced["headers"], timeout=5)
