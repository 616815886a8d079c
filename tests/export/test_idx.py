"""Reading of MNIST's IDX files."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from model_artifacts.errors import IdxError
from model_artifacts.idx import read_digits, read_idx
from tests.support.idx import made_up_digits, write_idx


def test_images_and_labels_come_back_as_they_were_written(idx_folder: Path) -> None:
    images, labels = read_digits(idx_folder)
    expected_images, expected_labels = made_up_digits(240)
    np.testing.assert_array_equal(images, expected_images)
    np.testing.assert_array_equal(labels, expected_labels)


def test_labels_given_as_images_are_refused_by_their_magic_number(idx_folder: Path) -> None:
    with pytest.raises(IdxError, match=r"0x00000801, not 0x00000803"):
        read_idx(idx_folder / "train-labels-idx1-ubyte.gz", dimensions=3)


def test_a_download_that_stopped_halfway_is_refused_as_truncated(idx_folder: Path, tmp_path: Path) -> None:
    whole = (idx_folder / "train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "half.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IdxError, match=r"half\.gz: truncated"):
        read_idx(tmp_path / "half.gz", dimensions=3)


@pytest.mark.parametrize("kept", [6, 16, 16 + 28 * 28 - 1])
def test_fewer_bytes_than_the_header_promises_are_refused(kept: int, tmp_path: Path) -> None:
    write_idx(tmp_path / "one.gz", np.zeros((1, 28, 28), np.uint8))
    content = gzip.decompress((tmp_path / "one.gz").read_bytes())
    (tmp_path / "short.gz").write_bytes(gzip.compress(content[:kept]))
    with pytest.raises(IdxError, match=rf"the file has {kept}$"):
        read_idx(tmp_path / "short.gz", dimensions=3)


def test_more_bytes_than_the_header_promises_are_refused(tmp_path: Path) -> None:
    (tmp_path / "long.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x02abc"))
    with pytest.raises(IdxError, match="takes 10 bytes, the file has 11"):
        read_idx(tmp_path / "long.gz", dimensions=1)


@pytest.mark.parametrize("content", [b"", b"not gzip at all", gzip.compress(b"x" * 99)[:10] + b"\xff" * 20])
def test_a_file_that_is_not_sound_gzip_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.gz").write_bytes(content)
    with pytest.raises(IdxError, match=r"odd\.gz"):
        read_idx(tmp_path / "odd.gz", dimensions=1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdxError, match=r"train-images-idx3-ubyte\.gz: no such file"):
        read_digits(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (np.zeros((3, 28, 28), np.uint8), np.zeros(2, np.uint8), "3 images but 2 labels"),
        (np.zeros((1, 32, 30), np.uint8), np.zeros(1, np.uint8), "32 x 30"),
        (np.zeros((1, 28, 28), np.uint8), np.full(1, 10, np.uint8), "label 10 is not a digit"),
    ],
)
def test_files_that_are_not_digits_are_refused(
    images: np.ndarray, labels: np.ndarray, problem: str, tmp_path: Path
) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    with pytest.raises(IdxError, match=problem):
        read_digits(tmp_path)
