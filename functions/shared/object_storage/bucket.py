"""A bucket of inputs: put, get and remove objects, and presign URLs for direct uploads and downloads.

Keys are `inputs/<user>/<input_id>`, so that a policy or a lifecycle rule can select one user's objects. The user is
percent-encoded, or a digest if that is too long. The bucket's own rule encrypts objects at rest (AWS, "Setting default
server-side encryption behavior"). Each is sent with its SHA-256, which S3 checks ("Checking object integrity").
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from functions.shared import wait_budget
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreError, ObjectStoreUnavailableError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "inputs/"

LENT_PREFIX: Final = f"{PREFIX}lent/"
"""What the key of a copy begins with that is put only so that a caller can fetch it. It names the input and no user."""

LARGEST_UNLENT: Final = 4_400_000
"""The largest input in a response, in bytes: Lambda returns at most 6 MB, in base64. A larger one is lent."""

# Seconds, so that a caller hears in under three that S3 is not there.
CONNECT_TIMEOUT: Final = 0.5
READ_TIMEOUT: Final = 0.8
ATTEMPTS: Final = 2
LONGEST_CALL: Final = 1.7
"""Seconds that a call may take at most. A request whose budget is smaller does not call S3."""
PARALLEL: Final = 8
"""The number of concurrent requests."""

_LONGEST_USER: Final = 900  # characters; a key has 1024 bytes at most
_MOST_DELETES: Final = 1000  # keys that S3 takes in one DeleteObjects
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})


def key_of(user_id: str, input_id: UUID) -> str:
    """Return the key of a user's input."""
    user = quote(user_id, safe="")
    if len(user) > _LONGEST_USER:
        user = f"~{hashlib.sha256(user_id.encode()).hexdigest()}"
    return f"{PREFIX}{user}/{input_id}"


def lent_key(input_id: UUID) -> str:
    """Return the key of a copy that is lent of an input in the database."""
    return f"{LENT_PREFIX}{input_id}"


def place_of(uri: str) -> tuple[str, str]:
    """Return the bucket and the key in `s3://bucket/key`."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def input_id_of(key: str) -> UUID | None:
    """Return the input id in a key; None if neither `key_of` nor `lent_key` made the key."""
    if not key.startswith(PREFIX):
        return None
    try:
        return UUID(key.rpartition("/")[2])
    except ValueError:
        return None


class NewObject(NamedTuple):
    """An object to put."""

    key: str
    content: bytes
    contenttype: str
    sha256: bytes
    """SHA-256 of the content, 32 bytes."""


class PresignedUpload(NamedTuple):
    """An upload request that anyone who holds it may send until it expires. It cannot replace an existing object."""

    url: str
    headers: dict[str, str]
    """The caller must send them unchanged: the signature covers them."""


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
        Its name. boto3 chooses the endpoint: the region's, or the one in `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`.
    """

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    def warm_up(self) -> None:
        """Create the client, so that the first request does not wait for it."""
        _ = self._client

    def uri(self, key: str) -> str:
        """Return `s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}"

    def key(self, uri: str) -> str:
        """Return the key of one of this bucket's objects.

        Raises
        ------
        ObjectMissingError
            If the URI is in another bucket.
        """
        prefix = self.uri("")
        if not uri.startswith(prefix):
            raise ObjectMissingError(f"{uri} is not in {self.bucket}")
        return uri.removeprefix(prefix)

    def put(self, objects: Sequence[NewObject]) -> None:
        """Put objects, all or none.

        Raises
        ------
        ObjectStoreUnavailableError
            If an object could not be put. The others have then been removed, as far as possible.
        """
        if len(objects) == 1:
            self._put(objects[0])
            return
        from concurrent.futures import ThreadPoolExecutor  # most cold starts do not need it

        failures: list[ObjectStoreError] = []

        def put(one: NewObject) -> None:
            if not failures:  # the others would most likely fail as well
                try:
                    self._put(one)
                except ObjectStoreError as error:
                    failures.append(error)

        self.warm_up()  # threads that find no client would each create one, and boto3's session is not safe for that
        began = monotonic()
        with ThreadPoolExecutor(PARALLEL) as threads:
            list(threads.map(put, objects))
        if failures:
            wait_budget.spend(monotonic() - began)  # the threads have no budget of their own
            self.remove_quietly([one.key for one in objects])
            raise failures[0]

    def _put(self, one: NewObject) -> None:
        with self._call() as client:
            client.put_object(
                Bucket=self.bucket,
                Key=one.key,
                Body=one.content,
                ContentType=one.contenttype,
                ChecksumSHA256=b64encode(one.sha256).decode(),
            )

    def get(self, key: str, *, sha256: bytes | None = None) -> bytes:
        """Return an object's content.

        Parameters
        ----------
        key
            Where it is.
        sha256
            SHA-256 of the content, 32 bytes, where it is known. Nothing predicts or shows other bytes.

        Raises
        ------
        ObjectMissingError, ObjectStoreUnavailableError
            If the object does not exist; if it cannot be read, or has another SHA-256.
        """
        with self._call() as client:
            answer = client.get_object(Bucket=self.bucket, Key=key)
            content = answer["Body"].read()
        if answer.get("ContentLength") != len(content):
            raise ObjectStoreUnavailableError(f"the answer with {self.uri(key)} was cut")
        if sha256 is not None and hashlib.sha256(content).digest() != sha256:
            raise ObjectStoreUnavailableError(f"{self.uri(key)} has other bytes than those that were stored")
        return content

    def size(self, key: str) -> int:
        """Return an object's size in bytes. Raises as `get` does."""
        with self._call() as client:
            size: int | None = client.head_object(Bucket=self.bucket, Key=key).get("ContentLength")
        if size is None:
            raise ObjectStoreUnavailableError(f"the answer about {self.uri(key)} was cut")
        return size

    def has(self, key: str) -> bool:
        """Tell whether an object exists. Raises `ObjectStoreUnavailableError` if S3 cannot say."""
        try:
            self.size(key)
        except ObjectMissingError:
            return False
        return True

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects. Objects that do not exist are ignored.

        Raises
        ------
        ObjectStoreUnavailableError
            If not all could be removed.
        """
        for start in range(0, len(keys), _MOST_DELETES):
            batch = keys[start : start + _MOST_DELETES]
            with self._call() as client:
                answer = client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": False}
                )
            if errors := answer.get("Errors"):
                raise ObjectStoreUnavailableError(f"{len(errors)} objects not removed: {errors[0].get('Code')}")
            # An answer that is cut within its head has no body, and so no errors.
            if len(answer.get("Deleted", ())) < len(set(batch)):
                raise ObjectStoreUnavailableError("S3 has not said that all objects are removed")

    def remove_quietly(self, keys: Sequence[str]) -> bool:
        """Remove objects and return whether that worked. `python -m infra.inputs reconcile` finds what is left."""
        try:
            self.remove(keys)
        except ObjectStoreUnavailableError:
            return False
        return True

    def list(self) -> Iterator[StoredObject]:
        """Yield every object that holds an input.

        Raises
        ------
        ObjectStoreUnavailableError
            If they cannot be listed.
        """
        with self._call() as client:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=PREFIX):
                if "IsTruncated" not in page:
                    raise ObjectStoreUnavailableError("the list of objects was cut")
                for found in page.get("Contents", ()):
                    yield StoredObject(found["Key"], found["Size"], found["LastModified"])

    def presigned_get(self, key: str, *, contenttype: str, seconds: int, encoding: str | None = None) -> str:
        """Return a URL that reads an object and expires after some seconds. Needs no network.

        Parameters
        ----------
        key
            Where the object is.
        contenttype
            The content type of S3's answer. An upload has the one that was announced, which its bytes may not have.
        seconds
            How long the URL is valid.
        encoding
            The content encoding of S3's answer; None if it has none.
        """
        parameters = {"Bucket": self.bucket, "Key": key, "ResponseContentType": contenttype}
        if encoding is not None:
            parameters["ResponseContentEncoding"] = encoding
        return self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)

    def presigned_put(
        self, key: str, *, contenttype: str, size: int, sha256: bytes | None, seconds: int
    ) -> PresignedUpload:
        """Return a request that uploads one object. Needs no network.

        The signature covers the content type, the size, and the SHA-256 if known, so S3 refuses any other object (AWS,
        "Authenticating Requests: Using Query Parameters"). S3 also refuses to replace an existing object (AWS, "How to
        prevent object overwrites with conditional writes"): otherwise a caller could change a predicted input.

        Parameters
        ----------
        key
            Where S3 stores the object.
        contenttype, size, sha256
            Properties of the object: `size` in bytes, `sha256` as 32 bytes or None if unknown.
        seconds
            How long the URL is valid.
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

    @contextmanager
    def _call(self) -> Iterator["S3Client"]:
        """Lend the client to one call, and limit how long the call may take.

        botocore raises `ValueError` for a header that it cannot read, as where the connection breaks within a date.
        """
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        if not wait_budget.allows(LONGEST_CALL):
            raise ObjectStoreUnavailableError("no time is left to ask S3")
        began = monotonic()
        try:
            client = self._client  # the first call creates it, which may take a second, and none of it is a wait
            began = monotonic()
            yield client
        except (BotoCoreError, ClientError, HTTPClientError, ValueError) as error:
            if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") in _MISSING:
                raise ObjectMissingError(str(error)) from error
            wait_budget.spend(monotonic() - began)
            raise ObjectStoreUnavailableError(str(error)) from error

    @cached_property
    def _client(self) -> "S3Client":
        # Importing boto3 and creating a client takes half a second. Deployments without a bucket skip that.
        import boto3
        from botocore.config import Config

        config = Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            max_pool_connections=PARALLEL,
            # Without this, presigned URLs use the global endpoint, which redirects to other regions' buckets.
            s3={"addressing_style": "virtual"},
        )
        client = boto3.client("s3", config=config)
        client.meta.events.register("before-sign.s3.PutObject", _send_the_body_at_once)
        return client


def _send_the_body_at_once(request: "AWSRequest", **_: object) -> None:
    """Do not ask S3 whether it will take the body: that takes a round trip, or a second where S3 does not answer."""
    del request.headers["Expect"]
