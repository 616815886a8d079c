"""Inputs as objects in S3, with moto in S3's place."""

import contextlib
import gc
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from functions.shared.object_storage.bucket import Bucket, NewObject, input_id_of, key_of, prefix_of
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreUnavailableError

pytestmark = pytest.mark.slow

BUCKET = "inputs-of-tests"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with mock_aws():
        place = {"LocationConstraint": "eu-central-1"}
        boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)  # type: ignore[arg-type]
        yield Bucket(BUCKET)


def an_object(content: bytes, user_id: str = "anna") -> NewObject:
    return NewObject(key_of(user_id, uuid4()), content, "image/png", hashlib.sha256(content).digest())


def test_what_was_put_is_what_is_read(bucket: Bucket) -> None:
    one = an_object(b"\x00\xff" * 1000)

    bucket.put([one])

    assert bucket.get(one.key) == one.content
    assert bucket.size(one.key) == 2000
    assert [(found.key, found.size) for found in bucket.list()] == [(one.key, 2000)]


def test_a_key_names_the_user_and_the_input_and_nothing_else_can_be_meant() -> None:
    input_id = UUID(int=7)

    assert key_of("anna", input_id) == f"inputs/anna/{input_id}"
    assert key_of("../a/b ü", input_id) == f"inputs/..%2Fa%2Fb%20%C3%BC/{input_id}"
    assert input_id_of(key_of("x/y", input_id)) == input_id
    assert input_id_of(f"other/{input_id}") is None
    assert input_id_of("inputs/anna/readme.txt") is None


def test_a_batch_is_put_together(bucket: Bucket) -> None:
    batch = [an_object(bytes([number])) for number in range(20)]

    bucket.put(batch)

    assert {found.key for found in bucket.list()} == {one.key for one in batch}


def test_a_list_of_some_has_only_theirs_and_goes_on_after_a_page(bucket: Bucket) -> None:
    theirs = [key_of("anna%/ é", uuid4()) for _ in range(1001)]
    for key in [*theirs, key_of("anna%/ é2", uuid4()), key_of("anna%", uuid4())]:
        bucket._client.put_object(Bucket=BUCKET, Key=key, Body=b"")

    pages = list(bucket.pages(prefix_of("anna%/ é")))

    assert [len(page) for page in pages] == [1000, 1]
    assert [found.key for page in pages for found in page] == sorted(theirs)
    assert len(list(bucket.list())) == 1003


def test_of_a_batch_that_fails_nothing_is_left(bucket: Bucket) -> None:
    good = [an_object(bytes([number])) for number in range(5)]
    bad = an_object(b"content", user_id="bad")

    def lose_the_bad_one(request: AWSPreparedRequest, **_: object) -> None:
        if "/bad/" in str(request.url):
            raise EndpointConnectionError(endpoint_url=request.url)

    bucket._client.meta.events.register_first("before-send.s3.PutObject", lose_the_bad_one)

    with pytest.raises(ObjectStoreUnavailableError):
        bucket.put([*good, bad])

    assert list(bucket.list()) == []


def test_what_is_not_there_is_missing_and_may_be_removed_again(bucket: Bucket) -> None:
    key = key_of("anna", uuid4())

    with pytest.raises(ObjectMissingError):
        bucket.get(key)
    with pytest.raises(ObjectMissingError):
        bucket.size(key)
    bucket.remove([key])


def test_another_buckets_object_is_not_ours(bucket: Bucket) -> None:
    with pytest.raises(ObjectMissingError):
        bucket.key("s3://another/inputs/anna/1")
    assert bucket.key(bucket.uri("inputs/anna/1")) == "inputs/anna/1"


def test_an_upload_is_signed_for_one_content_type_size_and_checksum(bucket: Bucket) -> None:
    upload = bucket.presigned_put("inputs/a/1", contenttype="image/jpeg", size=8_000_000, sha256=bytes(32), seconds=300)

    query = parse_qs(urlsplit(upload.url).query)
    signed = set(query["X-Amz-SignedHeaders"][0].split(";"))
    assert {"content-type", "content-length", "x-amz-checksum-sha256"} <= signed
    assert query["X-Amz-Expires"] == ["300"]
    assert upload.headers["Content-Type"] == "image/jpeg"
    assert upload.headers["Content-Length"] == "8000000"


def test_a_store_that_cannot_be_reached_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    bucket = Bucket(BUCKET)

    with pytest.raises(ObjectStoreUnavailableError):
        bucket.put([an_object(b"content")])
    with pytest.raises(ObjectStoreUnavailableError):
        bucket.get("inputs/anna/1")
    assert bucket.remove_quietly(["inputs/anna/1"]) is False


def test_a_list_that_goes_on_after_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = _answer(b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=_answer_each, args=(listener, answer, [len(answer)]), daemon=True).start()
        with pytest.raises(ObjectStoreUnavailableError, match="cut"):
            list(Bucket(BUCKET).pages())


_DATE = b"Sat, 28 Nov 2026 16:03:52 GMT"
_PAGE = (
    b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>inputs/anna/1</Key>'
    b"<LastModified>2026-11-28T16:03:52.000Z</LastModified><Size>7</Size></Contents></ListBucketResult>"
)


def _answer(body: bytes) -> bytes:
    head = b'HTTP/1.1 200 OK\r\nLast-Modified: %b\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n' % (_DATE, len(body))
    return head + body


@pytest.mark.filterwarnings("ignore:tzname G:")  # of a cut "GMT"
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # botocore leaves a cut answer to the garbage collection
@pytest.mark.parametrize(
    ("answer", "call", "right"),
    [
        pytest.param(_answer(b"content"), lambda bucket: bucket.get("inputs/anna/1"), b"content", id="get"),
        pytest.param(_answer(b""), lambda bucket: bucket.put([an_object(b"content")]) or "put", "put", id="put"),
        pytest.param(_answer(_PAGE), lambda bucket: [one.size for one in bucket.list()], [7], id="list"),
        pytest.param(
            _answer(b"<DeleteResult><Deleted><Key>inputs/anna/1</Key></Deleted></DeleteResult>"),
            lambda bucket: bucket.remove(["inputs/anna/1"]),
            None,
            id="remove",
        ),
        pytest.param(
            _answer(b"")[:-4].replace(b"Content-Length: 0", b"Content-Length: 7") + b"\r\n\r\n",
            lambda bucket: bucket.size("inputs/anna/1"),
            7,
            id="size",
        ),
    ],
)
def test_an_answer_that_is_cut_anywhere_is_none(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, call: Callable[[Bucket], object], right: object
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setattr("functions.shared.object_storage.bucket.ATTEMPTS", 1)
        cut = [len(answer)]
        threading.Thread(target=_answer_each, args=(listener, answer, cut), daemon=True).start()
        bucket = Bucket(BUCKET)
        assert call(bucket) == right
        # What names the length is the end of the head: whatever is cut before leaves no whole answer.
        for cut[0] in range(answer.index(b"Content-Length: ") + 1):
            try:
                found = call(bucket)
            except ObjectStoreUnavailableError:
                continue
            # S3 had begun to answer: it had stored the object.
            assert found == "put", f"cut after {cut[0]} bytes"
        bucket._client.close()
        gc.collect()  # in this test, which expects it


def _answer_each(listener: socket.socket, answer: bytes, cut: Sequence[int]) -> None:
    with contextlib.suppress(OSError):  # the listener was closed
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                received = b""
                while b"\r\n\r\n" not in received:
                    received += connection.recv(65536)
                length = re.search(rb"(?i)content-length: (\d+)", received)
                while length and len(received.partition(b"\r\n\r\n")[2]) < int(length[1]):
                    received += connection.recv(65536)
                connection.sendall(answer[: cut[0]])
