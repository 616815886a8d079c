"""Made-up digits, and MNIST's file format IDX."""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write an array in MNIST's format: magic number, dimensions and bytes, compressed by gzip."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def made_up_digits(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make images in which the height of a bar is the label, which is enough to train on."""
    generator = np.random.default_rng(7)
    labels = generator.integers(0, 10, count, dtype=np.uint8)
    images = generator.integers(0, 40, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 2 * label : 6 + 2 * label, 4:24] = 255
    return images, labels
