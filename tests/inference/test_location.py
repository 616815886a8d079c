"""A model package kept in S3 arrives whole or not at all, once, and is the one that its model.json means."""

import hashlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import numpy as np
import onnx
import pytest
from moto import mock_aws

from functions.shared.inference.errors import ModelPackageError, ModelUnavailableError
from functions.shared.inference.location import resolve
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from tests.support import graphs

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MODEL: bytes = graphs.linear(np.eye(3), then=["LogSoftmax"]).SerializeToString()
LOCATION = "s3://models/served/iris"

Put = Callable[..., None]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


@pytest.fixture
def s3() -> Iterator["S3Client"]:
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        yield client


@pytest.fixture
def put(s3: "S3Client") -> Put:
    def put_files(prefix: str = "served/iris/", **files: bytes) -> None:
        for name, content in files.items():
            s3.put_object(Bucket="models", Key=prefix + name.replace("__", "."), Body=content)

    return put_files


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == tmp_path
    assert resolve("model_artifacts/mnist") == Path("model_artifacts/mnist")


def test_the_model_in_a_folder_stands_for_the_folder(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(MODEL)
    assert resolve(str(model)) == tmp_path


def test_a_path_at_which_nothing_can_be_looked_for_is_refused_with_the_reason() -> None:
    location = f"{300 * 'a'}/model.onnx"
    with pytest.raises(ModelPackageError, match=f"^{location}: cannot be read: File name too long$"):
        resolve(location)


def test_a_folder_may_be_called_like_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    assert resolve(str(folder)) == folder


def test_the_model_below_a_prefix_stands_for_the_prefix(tmp_path: Path, put: Put) -> None:
    put(model__onnx=MODEL)
    assert resolve(f"{LOCATION}/model.onnx", tmp_path).name == "iris"


def test_a_package_in_s3_is_fetched_into_a_folder_called_like_it(tmp_path: Path, put: Put) -> None:
    put(model__onnx=MODEL, model__json=b'{"version": "7"}')
    package = ModelPackage.load(resolve(LOCATION, tmp_path))
    assert (package.name, package.version) == ("iris", "7")
    assert package.path.read_bytes() == MODEL


@pytest.mark.parametrize("location", ["s3://models/served/iris/", "s3://models//served/iris"])
def test_slashes_around_the_prefix_do_not_matter(tmp_path: Path, put: Put, location: str) -> None:
    put(model__onnx=MODEL)
    assert resolve(location, tmp_path).name == "iris"


def test_a_package_may_lie_at_the_root_of_its_bucket(tmp_path: Path, put: Put) -> None:
    put("", model__onnx=MODEL)
    assert ModelPackage.load(resolve("s3://models", tmp_path)).name == "models"


def test_weights_beside_the_file_come_too_and_the_neighbours_do_not(tmp_path: Path, put: Put, s3: "S3Client") -> None:
    (tmp_path / "weights").mkdir()
    model = graphs.linear(np.ones((64, 64)), then=["LogSoftmax"])
    onnx.save(
        model, tmp_path / "model.onnx", save_as_external_data=True, location="weights/part1.bin", size_threshold=0
    )
    put(model__onnx=(tmp_path / "model.onnx").read_bytes())
    put("served/iris/weights/", part1__bin=(tmp_path / "weights" / "part1.bin").read_bytes())
    put("served/iris2/", model__onnx=b"another model")
    s3.put_object(Bucket="models", Key="served/iris/", Body=b"")  # what consoles make to show a folder
    folder = resolve(LOCATION, tmp_path / "cache")
    assert sorted(path.name for path in folder.rglob("*")) == ["model.onnx", "part1.bin", "weights"]
    Model.load(ModelPackage.load(folder)).warm_up()


def test_a_package_is_fetched_once_and_again_when_it_has_changed(
    tmp_path: Path, put: Put, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="functions.shared.inference.location")
    put(model__onnx=MODEL)
    first = resolve(LOCATION, tmp_path)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "fetching the model",
        "fetched the model",
    ]
    assert "1 files, 0.0 MB" in caplog.records[0].getMessage()
    assert resolve(LOCATION, tmp_path) == first
    assert len(caplog.records) == 2
    put(model__onnx=graphs.linear(np.ones((3, 3))).SerializeToString())
    assert resolve(LOCATION, tmp_path) != first
    assert (first / "model.onnx").read_bytes() == MODEL  # who still serves it, keeps it


def test_the_default_cache_is_private(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    put(model__onnx=MODEL)
    (cache,) = {resolve(LOCATION).parent.parent, *tmp_path.iterdir()}
    assert cache.stat().st_mode & 0o777 == 0o700


# --- what goes wrong -------------------------------------------------------------------------------------------------


def left(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*")]


def test_a_wrong_hash_is_refused_and_nothing_kept(tmp_path: Path, put: Put) -> None:
    found, wanted = hashlib.sha256(MODEL).hexdigest(), "0" * 64
    put(model__onnx=MODEL, model__json=json.dumps({"sha256": wanted}).encode())
    with pytest.raises(ModelPackageError, match=f"sha256: is {wanted}, but that of the model .* is {found}"):
        resolve(LOCATION, tmp_path)
    assert left(tmp_path) == []
    put(model__json=json.dumps({"sha256": found}).encode())
    assert resolve(LOCATION, tmp_path).is_dir()


def test_a_package_is_known_by_the_weights_beside_its_file(tmp_path: Path, put: Put) -> None:
    def upload(weights: float) -> None:
        (tmp_path / "w.bin").unlink(missing_ok=True)
        model = graphs.linear(np.full((64, 1), weights))
        onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
        put(model__onnx=(tmp_path / "model.onnx").read_bytes(), w__bin=(tmp_path / "w.bin").read_bytes())

    upload(1)
    ones = ModelPackage.load(resolve(LOCATION, tmp_path / "cache"))
    assert ones.sha256 == ModelPackage.load(tmp_path).sha256
    put(model__json=json.dumps({"sha256": ones.sha256}).encode())
    assert ModelPackage.load(resolve(LOCATION, tmp_path / "cache")).sha256 == ones.sha256
    upload(2)
    kept = left(tmp_path / "cache")
    with pytest.raises(ModelPackageError, match=f"sha256: is {ones.sha256}, but that of the model"):
        resolve(LOCATION, tmp_path / "cache")
    assert left(tmp_path / "cache") == kept


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"^s3://nowhere/iris: S3 answers NoSuchBucket$"):
        resolve("s3://nowhere/iris", tmp_path)


def test_a_prefix_without_a_model_is_refused_before_anything_is_fetched(tmp_path: Path, put: Put) -> None:
    with pytest.raises(ModelUnavailableError, match=r"holds no model\.onnx"):
        resolve(LOCATION, tmp_path)
    put(readme__txt=b"nothing here")
    put("served/iris/deeper/", model__onnx=MODEL)
    with pytest.raises(ModelUnavailableError, match=r"holds no model\.onnx"):
        resolve(LOCATION, tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("location", ["s3://", "s3:///prefix"])
def test_a_location_without_a_bucket_is_refused(location: str) -> None:
    with pytest.raises(ModelUnavailableError, match="is no location of the form s3://bucket/prefix"):
        resolve(location)


def test_a_key_that_leads_out_of_the_folder_is_refused(tmp_path: Path, put: Put, s3: "S3Client") -> None:
    put(model__onnx=MODEL)
    s3.put_object(Bucket="models", Key="served/iris/../../planted", Body=b"")
    with pytest.raises(ModelUnavailableError, match="leads out of the package's folder"):
        resolve(LOCATION, tmp_path)


def test_a_cache_that_cannot_be_written_is_said_to_be(tmp_path: Path, put: Put) -> None:
    put(model__onnx=MODEL)
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    with pytest.raises(ModelUnavailableError, match="cannot be kept here"):
        resolve(LOCATION, tmp_path / "cache")


def test_no_credentials_are_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which remembers the credentials of another test
    with pytest.raises(ModelUnavailableError, match="Unable to locate credentials"):
        resolve(LOCATION, tmp_path)


class FlakyS3:
    """An S3 of one model that hangs up in the middle of it the first `failures` times. Speaks just enough HTTP."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.downloads = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65536)
                connection.sendall(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        method, target, _ = request.split(b" ", 2)
        if b"list-type=2" in target:
            body = (
                f"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>iris/model.onnx</Key>"
                f"<ETag>e</ETag><Size>{len(MODEL)}</Size></Contents></ListBucketResult>"
            ).encode()
            return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        head = b'HTTP/1.1 200 OK\r\nConnection: close\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n' % len(MODEL)
        if method == b"HEAD":
            return head
        self.downloads += 1
        return head + (MODEL[: len(MODEL) // 2] if self.downloads <= self.failures else MODEL)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.mark.parametrize("failures", [1, 1000])
def test_an_interrupted_download_is_tried_again_and_in_the_end_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    server = FlakyS3(failures)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    try:
        if failures == 1:
            assert (resolve("s3://models/iris", tmp_path) / "model.onnx").read_bytes() == MODEL
            assert server.downloads == 2
        else:
            with pytest.raises(ModelUnavailableError, match="cannot be fetched from S3"):
                resolve("s3://models/iris", tmp_path)
            assert server.downloads == 5
            assert left(tmp_path) == []
    finally:
        server.close()


def test_of_several_that_fetch_at_once_all_get_the_whole_package(tmp_path: Path, put: Put) -> None:
    put(model__onnx=MODEL, model__json=b'{"version": "7"}')
    barrier = threading.Barrier(4)
    folders: list[Path] = []

    def fetch() -> None:
        barrier.wait()
        folders.append(resolve(LOCATION, tmp_path))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 4
    assert len(set(folders)) == 1
    assert sorted(left(tmp_path)) == sorted([folders[0].parent.name, "iris", "model.onnx", "model.json"])
