"""Read the data that a baseline is made from: rows of a CSV file, or images of an IDX folder.

A row has what the API would get for it, so that the model answers what it would answer there.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from functions.shared.inference.feature_input import FeatureColumn, FeatureInput
from functions.shared.inference.package import ModelPackage
from model_artifacts.errors import BaselineError
from model_artifacts.idx import read_digits

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_SHOWN_COLUMNS = 10


class Row(NamedTuple):
    """One input, and what is true of it.

    Attributes
    ----------
    where
        How messages call it.
    image
        The bytes of an image file; None for features.
    features
        In the model's order; None for an image.
    truths
        What is true of each of the model's targets, as texts; empty if it is not known.
    """

    where: str
    image: bytes | None
    features: list[object] | None
    truths: tuple[str, ...]


def read_images(folder: Path, package: ModelPackage) -> Sequence[Row]:
    """Return the images of an IDX folder as PNG files, with their labels if the model classifies.

    Parameters
    ----------
    folder : Path
        As `read_digits` takes it.
    package : ModelPackage
        A model that takes images.

    Raises
    ------
    IdxError
        As `read_digits` does.
    """
    images, digits = read_digits(folder)
    labels = package.labels or ()
    names = [labels[digit] if digit < len(labels) else str(digit) for digit in range(256)]
    judged = package.task == "classification"
    return _Images(images, [(names[digit],) if judged else () for digit in digits.tolist()])


class _Images(Sequence[Row]):
    """Images that become files when they are asked for: all of them at once would take ten times the memory."""

    def __init__(self, images: NDArray[np.uint8], truths: list[tuple[str, ...]]) -> None:
        self._images = images
        self._truths = truths

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, at: int) -> Row:  # type: ignore[override]  # nobody asks for slices
        with io.BytesIO() as file:
            Image.fromarray(self._images[at]).save(file, format="PNG")
            return Row(f"image {at}", file.getvalue(), None, self._truths[at])


def read_features(path: Path, package: ModelPackage, truths: Sequence[str]) -> Sequence[Row]:
    """Read the rows of a CSV file in UTF-8 whose first line names its columns.

    Parameters
    ----------
    path : Path
        The file. It has a column for each feature of the model, by its name, in any order; other columns are left out.
        If the model does not name its features, its columns are the features, in the model's order.
    package : ModelPackage
        A model that takes features.
    truths : sequence of str
        The columns with what is true of each of the model's targets.

    Raises
    ------
    BaselineError
        The file cannot be read, it lacks a column, or a cell has no value of its column's type.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(_rows(path.name, csv.reader(file, strict=True), package, truths))
    except UnicodeDecodeError as error:
        raise BaselineError(f"{path}: is not UTF-8 at byte {error.start}") from error
    except csv.Error as error:
        raise BaselineError(f"{path}: is no CSV file: {error}") from error
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}") from error


def _rows(name: str, lines: Iterator[list[str]], package: ModelPackage, truths: Sequence[str]) -> Iterator[Row]:
    header = next(lines, None)
    if not header:
        raise BaselineError(f"{name}: is empty: its first line must name its columns")
    repeated = next((column for at, column in enumerate(header) if column in header[:at]), None)
    if repeated is not None:
        raise BaselineError(f"{name}: the column {repeated!r} is there twice")
    for truth in truths:
        if truth not in header:
            raise BaselineError(f"{name}: has no column {truth!r}: its columns are {_listed(header)}")
    places, columns = _features(name, header, package, truths)
    targets = [header.index(truth) for truth in truths]
    for number, cells in enumerate(lines, start=2):
        if not cells:
            continue  # an empty line
        where = f"{name}: row {number}"
        if len(cells) != len(header):
            raise BaselineError(f"{where}: has {len(cells)} cells, but the first row {len(header)}")
        values = [
            _value(cells[place], column, f"{where}: {header[place]}")
            for place, column in zip(places, columns, strict=True)
        ]
        yield Row(where, None, values, tuple(cells[target] for target in targets))


def _features(
    name: str, header: Sequence[str], package: ModelPackage, truths: Sequence[str]
) -> tuple[list[int], Sequence[FeatureColumn]]:
    """Return where each feature is, and what it is."""
    wanted = package.input
    if not isinstance(wanted, FeatureInput):
        raise TypeError(f"{package.name} takes {package.takes}, not features")
    others = [place for place, column in enumerate(header) if column not in truths]
    if wanted.columns is None:
        return others, [FeatureColumn(None, wanted.tensors[0].dtype)] * len(others)
    if wanted.names is None:
        if len(others) != len(wanted.columns):
            count = f"{len(others)} columns" + (f" beside {_listed(truths)}" if truths else "")
            raise BaselineError(f"{name}: has {count}, but the model takes {len(wanted.columns)} features")
        return others, wanted.columns
    missing = [feature for feature in wanted.names if feature not in header]
    if missing:
        raise BaselineError(f"{name}: has no column {_listed(missing)}: its columns are {_listed(header)}")
    return [header.index(feature) for feature in wanted.names], wanted.columns


def _value(cell: str, column: FeatureColumn, where: str) -> object:
    """Return the value of a cell as JSON would have it. An empty cell, and NaN, is null: a missing value."""
    if column.type == "string":
        return cell
    text = cell.strip()
    if not text:
        return None
    if column.type == "boolean":
        if text.lower() not in _BOOLEANS:
            raise BaselineError(f"{where}: {cell!r} is not true or false")
        return _BOOLEANS[text.lower()]
    number = number_in(cell, where)
    if math.isnan(number):
        return None
    return int(number) if column.type == "integer" and number.is_integer() else number


def number_in(cell: str, where: str) -> float:
    """Return the number that a cell has.

    Raises
    ------
    BaselineError
        It has none.
    """
    try:
        return float(cell)
    except ValueError:
        raise BaselineError(f"{where}: {cell!r} is not a number") from None


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
    return ", ".join(names[:_SHOWN_COLUMNS]) + more
