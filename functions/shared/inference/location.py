"""Locate a model package: a local folder, or a prefix in an S3 bucket that is fetched once."""

import hashlib
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from functions.shared.inference.errors import ModelUnavailableError
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.package_files import is_file, status_of
from functions.shared.inference.package_settings import PackageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOG: Final = logging.getLogger(__name__)

_SCHEME: Final = "s3://"
_MODEL: Final = "model.onnx"
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_ATTEMPTS: Final = 5
_SECONDS_BETWEEN_PROGRESS_LINES: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Object:
    """An S3 object: its key, where it goes below the package's folder, its size in bytes, and its version."""

    key: str
    path: PurePosixPath
    size: int
    etag: str


def resolve(location: str, cache: Path | None = None) -> Path:
    """Return the folder of a model package, and fetch the package first if it is in S3.

    All objects below the prefix are fetched, because weights may lie beside the ONNX file. They go into a temporary
    folder that is renamed once it is complete: otherwise another process could load half a package. If several
    processes fetch at once, the first to finish wins. The final name depends on the objects' keys and versions, so only
    a changed package is fetched again.

    Parameters
    ----------
    location
        A folder's path or ``s3://bucket/prefix``, or the ``model.onnx`` in it.
    cache
        The folder for fetched packages; by default a private folder in the system's temporary directory.

    Returns
    -------
    Path
        For a folder, its path, even if it does not exist. For S3, a folder named after the prefix's last part.

    Raises
    ------
    ModelUnavailableError
        The location is invalid, empty or not readable, or the package cannot be fetched or saved.
    ModelPackageError
        It cannot be told what is at a path.
    """
    if not location.startswith(_SCHEME):
        path = Path(location)
        return path.parent if path.name == _MODEL and is_file(status_of(path, location)) else path
    bucket, _, prefix = location.removeprefix(_SCHEME).partition("/")
    prefix = f"/{prefix}".removesuffix(f"/{_MODEL}").strip("/")
    if not bucket:
        raise ModelUnavailableError(f"{location}: is no location of the form s3://bucket/prefix")
    try:
        return _fetch(location, bucket, prefix, _private_folder(cache))
    except OSError as error:
        raise ModelUnavailableError(f"{location}: cannot be kept here: {error.strerror or error}") from error


def _private_folder(cache: Path | None) -> Path:
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        return cache
    folder = Path(tempfile.gettempdir()) / f"onnx-ledger-models-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        # anyone can write to the temporary directory: a package planted there would be served
        raise ModelUnavailableError(f"{folder.name} in the temporary directory belongs to another user")
    return folder


def _fetch(location: str, bucket: str, prefix: str, cache: Path) -> Path:
    # importing takes 0.1 s, and only models in S3 need it
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    try:
        client = boto3.client("s3", config=config)
        objects = _list(client, bucket, f"{prefix}/" if prefix else "")
        if not any(one.path.parent == PurePosixPath() and one.path.suffix == ".onnx" for one in objects):
            raise ModelUnavailableError(f"{location}: holds no model.onnx")
        identity = hashlib.sha256(repr((bucket, objects)).encode()).hexdigest()
        kept = cache / identity[:32]
        folder = kept / (PurePosixPath(prefix).name or bucket)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix="fetching-", dir=cache) as unfinished:
                staged = Path(unfinished) / "package"
                _download(client, bucket, objects, staged / folder.name)
                _check(staged / folder.name)
                try:
                    staged.rename(kept)
                except OSError:
                    if not folder.is_dir():  # else another process was first
                        raise
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise ModelUnavailableError(f"{location}: S3 answers {code}") from error
    except (BotoCoreError, Boto3Error, ValueError) as error:  # ValueError: a header of the answer was cut
        raise ModelUnavailableError(f"{location}: cannot be fetched from S3: {error}") from error
    return folder


def _list(client: "S3Client", bucket: str, prefix: str) -> list[_Object]:
    objects = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            key = entry["Key"]
            path = PurePosixPath(key.removeprefix(prefix))
            if key.endswith("/"):
                continue  # the S3 console creates these to show an empty folder
            if path.is_absolute() or ".." in path.parts:
                raise ModelUnavailableError(f"s3://{bucket}/{key}: leads out of the package's folder")
            objects.append(_Object(key, path, entry["Size"], entry["ETag"]))
    return objects


def _download(client: "S3Client", bucket: str, objects: list[_Object], folder: Path) -> None:
    total = sum(one.size for one in objects)
    _LOG.info("fetching the model: %d files, %.1f MB", len(objects), total / 1e6)
    started = told = time.monotonic()
    done = 0

    def progress(count: int) -> None:
        nonlocal done, told
        done += count
        if time.monotonic() - told >= _SECONDS_BETWEEN_PROGRESS_LINES:
            told = time.monotonic()
            _LOG.info("fetching the model: %.1f of %.1f MB", done / 1e6, total / 1e6)

    for one in objects:
        target = folder / one.path
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, one.key, str(target), Callback=progress)
    _LOG.info("fetched the model: %.1f MB in %.1f s", total / 1e6, time.monotonic() - started)


def _check(folder: Path) -> None:
    """Refuse a package whose digest differs from the one in its model.json, before it is saved."""
    if PackageSettings.read(folder / "model.json").sha256 is not None:
        ModelPackage.load(folder)
