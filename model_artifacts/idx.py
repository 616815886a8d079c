"""Read MNIST's IDX files.

The format (Yann LeCun, Corinna Cortes, Christopher Burges, "The MNIST database of handwritten digits"): two zero bytes,
one byte for the element type (8: unsigned byte), one for the number of dimensions, each dimension as a big-endian
32-bit number, then the elements in C order.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_artifacts.errors import IdxError

_UNSIGNED_BYTE = 8
_LARGEST_LABEL = 9


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one gzip-compressed IDX file of unsigned bytes.

    Parameters
    ----------
    path : Path
        The file, compressed with gzip as MNIST's files are.
    dimensions : int
        The number of dimensions that the array must have: 3 for images, 1 for labels.

    Returns
    -------
    numpy.ndarray
        uint8, in the shape that the header gives.

    Raises
    ------
    IdxError
        The file is missing, not gzip, truncated, or of another type, number of dimensions or length.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise IdxError(f"{path}: no such file") from error
    except EOFError as error:
        raise IdxError(f"{path}: truncated: the compressed stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise IdxError(f"{path}: not a valid gzip file: {error}") from error

    magic = content[:4]
    expected = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if magic != expected:
        raise IdxError(
            f"{path}: starts with 0x{magic.hex()}, not 0x{expected.hex()}: not an IDX file of {dimensions}-d bytes"
        )
    header = struct.Struct(f">4x{dimensions}I")
    if len(content) < header.size:
        raise IdxError(f"{path}: truncated: the header takes {header.size} bytes, the file has {len(content)}")
    shape = header.unpack_from(content)
    expected_size = header.size + math.prod(shape)
    if len(content) != expected_size:
        raise IdxError(f"{path}: shape {shape} takes {expected_size} bytes, the file has {len(content)}")
    return np.frombuffer(content, dtype=np.uint8, offset=header.size).reshape(shape)


def read_digits(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read MNIST's training images and labels from a folder.

    Parameters
    ----------
    folder : Path
        The folder with ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz``.

    Returns
    -------
    images : numpy.ndarray
        uint8, [N, 28, 28]; 0 is background, 255 is ink.
    labels : numpy.ndarray
        uint8, [N], each 0 to 9.

    Raises
    ------
    IdxError
        A file cannot be read, the images are not 28 x 28, the counts differ, or a label is not a digit.
    """
    images_path = folder / "train-images-idx3-ubyte.gz"
    labels_path = folder / "train-labels-idx1-ubyte.gz"
    images = read_idx(images_path, dimensions=3)
    labels = read_idx(labels_path, dimensions=1)
    if images.shape[1:] != (28, 28):
        raise IdxError(f"{images_path}: images are {images.shape[1]} x {images.shape[2]} pixels, not 28 x 28")
    if len(images) != len(labels):
        raise IdxError(f"{folder}: {len(images)} images but {len(labels)} labels")
    if labels.max(initial=0) > _LARGEST_LABEL:
        raise IdxError(f"{labels_path}: label {labels.max()} is not a digit")
    return images, labels
