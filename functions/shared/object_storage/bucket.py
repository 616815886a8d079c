"""One bucket of inputs: put, get, remove, and URLs that let a caller do the first two without us in between.

Keys are `inputs/<user>/<input_id>`, the user percent-encoded (or, where that gets too
long, as a digest), so that a policy or a lifecycle rule can name one user's.
Objects are encrypted at rest by the bucket's own rule (AWS, "Setting default server-side encryption behavior"), and
each travels with its SHA-256, which S3 checks ("Checking object integrity").
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "inputs/"

CONNECT_TIMEOUT: Final = 2.0  # seconds
READ_TIMEOUT: Final = 5.0  # seconds
ATTEMPTS: Final = 2
PARALLEL: Final = 8
"""Requests that are well under way at a time."""

_LONGEST_USER: Final = 900  # characters; a key has 1024 bytes at most
_MOST_DELETES: Final = 1000  # keys that S3 takes in one DeleteObjects
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})


def key_of(user_id: str, input_id: UUID) -> str:
    """Return the key of a user's input."""
    user = quote(user_id, safe="")
    if len(user) > _LONGEST_USER:
        user = f"~{sha256(user_id.encode()).hexdigest()}"
    return f"{PREFIX}{user}/{input_id}"


def input_id_of(key: str) -> UUID | None:
    """Return the input that a key stands for; None if the key is not one that `key_of` makes."""
    if not key.startswith(PREFIX):
        return None
    try:
        return UUID(key.rpartition("/")[2])
    except ValueError:
        return None


class NewObject(NamedTuple):
    """An object to be put."""

    key: str
    content: bytes
    contenttype: str
    sha256: bytes
    """Digest of the content, 32 bytes."""


class PresignedUpload(NamedTuple):
    """A request that its holder may send until it expires. What it has put, it cannot replace."""

    url: str
    headers: dict[str, str]
    """Must be sent as they are: they are part of what is signed."""


class StoredObject(NamedTuple):
    """An object that a listing found."""

    key: str
    size: int
    modified: datetime


class Bucket:
    """The objects of one bucket.

    Parameters
    ----------
    bucket
        Its name. The endpoint is boto3's to choose: the region's, or what `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`
        names.
    """

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    def warm_up(self) -> None:
        """Make the client, off the first request's path."""
        _ = self._client

    def uri(self, key: str) -> str:
        """Return `s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}"

    def key(self, uri: str) -> str:
        """Return the key of one of this bucket's objects.

        Raises
        ------
        ObjectMissingError
            If the URI names another bucket's.
        """
        prefix = self.uri("")
        if not uri.startswith(prefix):
            raise ObjectMissingError(f"{uri} is not in {self.bucket}")
        return uri.removeprefix(prefix)

    def put(self, objects: Sequence[NewObject]) -> None:
        """Put objects, all of them or none.

        Raises
        ------
        ObjectStoreUnavailableError
            If one could not be put; those that were have been removed again, as far as that was possible.
        """
        if len(objects) == 1:
            self._put(objects[0])
            return
        from concurrent.futures import ThreadPoolExecutor  # most cold starts never come here

        with ThreadPoolExecutor(PARALLEL) as threads:
            puts = [threads.submit(self._put, one) for one in objects]
        failures = [failure for put in puts if (failure := put.exception())]
        if failures:
            self.remove_quietly([one.key for one in objects])
            raise failures[0]

    def _put(self, one: NewObject) -> None:
        with _errors_as_ours():
            self._client.put_object(
                Bucket=self.bucket,
                Key=one.key,
                Body=one.content,
                ContentType=one.contenttype,
                ChecksumSHA256=b64encode(one.sha256).decode(),
            )

    def get(self, key: str) -> bytes:
        """Return an object's content.

        Raises
        ------
        ObjectMissingError, ObjectStoreUnavailableError
            If there is none; if it cannot be read.
        """
        with _errors_as_ours():
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises as `get` does."""
        with _errors_as_ours():
            return self._client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]

    def has(self, key: str) -> bool:
        """Tell whether there is such an object. Raises `ObjectStoreUnavailableError` if it cannot be told."""
        try:
            self.size(key)
        except ObjectMissingError:
            return False
        return True

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is not there is no error.

        Raises
        ------
        ObjectStoreUnavailableError
            If not all could be removed.
        """
        for start in range(0, len(keys), _MOST_DELETES):
            batch = keys[start : start + _MOST_DELETES]
            with _errors_as_ours():
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
            if errors := answer.get("Errors"):
                raise ObjectStoreUnavailableError(f"{len(errors)} objects not removed: {errors[0].get('Code')}")

    def remove_quietly(self, keys: Sequence[str]) -> bool:
        """Remove objects, and tell whether that worked. What is left is found by `python -m infra.inputs reconcile`."""
        try:
            self.remove(keys)
        except ObjectStoreUnavailableError:
            return False
        return True

    def list(self) -> Iterator[StoredObject]:
        """Yield every object of an input.

        Raises
        ------
        ObjectStoreUnavailableError
            If they cannot be listed.
        """
        with _errors_as_ours():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=PREFIX):
                for found in page.get("Contents", ()):
                    yield StoredObject(found["Key"], found["Size"], found["LastModified"])

    def presigned_get(self, key: str, *, seconds: int) -> str:
        """Return a URL that reads an object, for some seconds. Needs no network."""
        return self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=seconds
        )

    def presigned_put(
        self, key: str, *, contenttype: str, size: int, sha256: bytes | None, seconds: int
    ) -> PresignedUpload:
        """Return a request that uploads one object. Needs no network.

        What the object may be is signed: its content type, its size, and its SHA-256 where that is known. S3 refuses
        anything else (AWS, "Authenticating Requests: Using Query Parameters"), and refuses to replace an object that is
        there (AWS, "How to prevent object overwrites with conditional writes"): what was predicted stays what it was.

        Parameters
        ----------
        key
            Where it goes.
        contenttype, size, sha256
            What it must be; `size` in bytes, `sha256` 32 bytes, None where nobody said.
        seconds
            How long the URL can be used.
        """
        params: dict[str, Any] = {
            "Bucket": self.bucket,
            "Key": key,
            "ContentType": contenttype,
            "ContentLength": size,
            "IfNoneMatch": "*",
        }
        headers = {"Content-Type": contenttype, "Content-Length": str(size), "If-None-Match": "*"}
        if sha256 is not None:
            params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = b64encode(sha256).decode()
        return PresignedUpload(
            self._client.generate_presigned_url("put_object", Params=params, ExpiresIn=seconds), headers
        )

    @cached_property
    def _client(self) -> "S3Client":
        # boto3 takes half a second to import and to make a client: whoever has no bucket does not pay for it.
        import boto3
        from botocore.config import Config

        config = Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            max_pool_connections=PARALLEL,
            # Without this, presigned URLs name the global endpoint, which sends a bucket of another region elsewhere.
            s3={"addressing_style": "virtual"},
        )
        return boto3.client("s3", config=config)


@contextmanager
def _errors_as_ours() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _MISSING:
            raise ObjectMissingError(str(error)) from error
        raise ObjectStoreUnavailableError(str(error)) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise ObjectStoreUnavailableError(str(error)) from error
