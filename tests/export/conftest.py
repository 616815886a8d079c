"""Fixtures of the training and export tests."""

from pathlib import Path

import pytest

from tests.support.idx import made_up_digits, write_idx


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 240 made-up digits as MNIST's two files."""
    folder = tmp_path_factory.mktemp("idx")
    images, labels = made_up_digits(240)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    write_idx(folder / "train-labels-idx1-ubyte.gz", labels)
    return folder
