"""baseline.json: what a model's inputs and answers looked like when it was made, as counts to compare with.

``python -m model_artifacts baseline`` writes it. It is no part of the model: a package has the same digest with it and
without. It is checked when the package is loaded, because what compares with it trusts it.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.package_settings import read_object, shown

BASELINE: Final = "baseline.json"
"""The name of the file."""

MAX_BYTES: Final = 1_000_000
"""The most bytes that the file may have: every start of a function reads it, and writes it to the database."""

LAST_BIN: Final = 2443
"""The outermost bins of a histogram are this and its negative: `LAST` in functions/shared/evaluation/bins.py."""

CONFIDENCE_BINS: Final = 50
"""Confidences have bins of equal width, numbered from 0."""

PICTURE_COLUMNS: Final = tuple(
    f"picture:{measured}" for measured in ("width", "height", "bytes", "brightness", "contrast")
)
"""The columns of a model that takes images."""

_MEMBERS: Final = ("count", "columns", "performance")
_NUMBERS: Final = frozenset({"n", "sum", "squares", "missing", "bins"})
_CATEGORIES: Final = frozenset({"n", "missing", "categories"})
_CONFIDENCE: Final = frozenset({"n", "sum", "bins"})
_LARGEST_COUNT: Final = 2**53

_Problem: TypeAlias = ModelPackageError


class Described(NamedTuple):
    """What a baseline must agree with.

    Attributes
    ----------
    takes_images
        Whether the model takes images, whose measures are columns.
    features
        The names that its features have in columns. None if it takes no features, or any.
    labels
        The names of its classes. None if they are not known.
    """

    takes_images: bool
    features: Collection[str] | None
    labels: Collection[str] | None


def read_baseline(folder: Path, described: Described) -> str | None:
    """Return the baseline of a package as JSON text.

    Returns
    -------
    str or None
        Equal baselines give equal text. None if the package has none.

    Raises
    ------
    ModelPackageError
        The file cannot be read, is no baseline, or is that of another model.
    """
    path = folder / BASELINE
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelPackageError(f"{BASELINE}: cannot be read: {error.strerror}") from error
    if size > MAX_BYTES:
        raise ModelPackageError(f"{BASELINE}: has {size} bytes: at most {MAX_BYTES} are taken")
    document = read_object(path)
    _check(document, described)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _wrong(key: str, what: str) -> _Problem:
    return ModelPackageError(f"{BASELINE}: {key}: {what}")


def _check(document: Mapping[str, object], described: Described) -> None:
    for key in _MEMBERS:
        if key not in document:
            raise _wrong(key, "is missing: make the file by python -m model_artifacts baseline")
    for key in document:
        if key not in _MEMBERS:
            raise _wrong(shown(key), f"is no key of it: the keys are {', '.join(_MEMBERS)}")
    count = _count("count", document["count"])
    if count == 0:
        raise _wrong("count", "must be at least 1, not 0")
    columns = _object("columns", document["columns"])
    for name, counts in columns.items():
        key = f"columns: {name if name.isprintable() else shown(name)}"
        total = _check_column(key, name, _object(key, counts), described)
        if total > count:
            raise _wrong(key, f"counts {total} inputs, but the baseline has {count}")
    _check_plain("performance", _object("performance", document["performance"]))


def _check_column(key: str, name: str, counts: dict[str, object], described: Described) -> int:
    """Check the counts of a column, and return how many inputs they count."""
    if _is_of_target(name, "label"):
        return _labels(key, counts, described.labels if name == "label" else None)
    if name == "confidence":
        return _histogram(key, counts, _CONFIDENCE, range(CONFIDENCE_BINS))
    if _is_of_target(name, "value") or (described.takes_images and name in PICTURE_COLUMNS):
        return _histogram(key, counts, _NUMBERS)
    if name.startswith("feature:"):
        if described.features is None or name.removeprefix("feature:") not in described.features:
            raise _wrong(key, "is no feature of the model")
        return _categories(key, counts) if "categories" in counts else _histogram(key, counts, _NUMBERS)
    known = ["label", "confidence", "value"]
    known += PICTURE_COLUMNS if described.takes_images else ["feature: and a feature's name"]
    raise _wrong(key, f"is no column of it: the columns are {', '.join(known)}")


def _is_of_target(name: str, kind: str) -> bool:
    """Whether a column is of a kind: of the only target, or of one of several, by its number."""
    own, _, target = name.partition(":")
    return own == kind and (name == own or (target.isascii() and target.isdecimal()))


def _histogram(key: str, counts: Mapping[str, object], members: frozenset[str], bins: range | None = None) -> int:
    _require(key, counts, members)
    _number(f"{key}: sum", counts["sum"])
    if "squares" in members and _number(f"{key}: squares", counts["squares"]) < 0:
        raise _wrong(f"{key}: squares", "must not be negative")
    found = _object(f"{key}: bins", counts["bins"])
    allowed = range(-LAST_BIN, LAST_BIN + 1) if bins is None else bins
    for number in found:
        try:
            is_bin = int(number) in allowed and str(int(number)) == number
        except ValueError:
            is_bin = False
        if not is_bin:
            raise _wrong(f"{key}: bins", f"{shown(number)} is no bin: they are {allowed[0]} to {allowed[-1]}")
    total = _sum(f"{key}: bins", found)
    return _total(key, counts, total)


def _categories(key: str, counts: Mapping[str, object]) -> int:
    _require(key, counts, _CATEGORIES)
    categories = _object(f"{key}: categories", counts["categories"])
    for category in categories:
        _text(key, category)
    return _total(key, counts, _sum(f"{key}: categories", categories))


def _labels(key: str, counts: Mapping[str, object], labels: Collection[str] | None) -> int:
    for label in counts:
        _text(key, label)
        if labels is not None and label not in labels:
            raise _wrong(key, f"{shown(label)} is no label of the model")
    return _sum(key, counts)


def _sum(key: str, counts: Mapping[str, object]) -> int:
    total = 0
    for name, count in counts.items():
        if type(count) is int and 0 <= count <= _LARGEST_COUNT:  # as nearly all are: their messages take longest
            total += count
        else:
            _count(f"{key}: {shown(name)}", count)
    return total


def _total(key: str, counts: Mapping[str, object], total: int) -> int:
    """Return how many inputs are counted, those without a value among them."""
    present = _count(f"{key}: n", counts["n"])
    if present != total:
        raise _wrong(f"{key}: n", f"is {present}, but the counts make {total}")
    return present + (_count(f"{key}: missing", counts["missing"]) if "missing" in counts else 0)


def _require(key: str, counts: Mapping[str, object], members: Iterable[str]) -> None:
    if counts.keys() != set(members):
        raise _wrong(key, f"must have {', '.join(sorted(members))}, not {', '.join(map(shown, sorted(counts)))}")


def _object(key: str, value: object) -> dict[str, object]:
    if isinstance(value, dict):
        return value
    raise _wrong(key, f"must be an object, not {shown(value)}")


def _count(key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT:
        return value
    raise _wrong(key, f"must be a whole number of at least 0, not {shown(value)}")


def _number(key: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300:
        return value
    raise _wrong(key, f"must be a number, not {shown(value)}")


def _text(key: str, value: str) -> None:
    """Refuse a text that neither the database nor JSON can represent."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise _wrong(key, f"{shown(value)} is no text that can be stored: it has U+0000 or half of a character")


def _check_plain(key: str, value: object) -> None:
    """Refuse what the database cannot keep."""
    if isinstance(value, dict):
        for name, one in value.items():
            _text(key, name)
            _check_plain(f"{key}: {name}", one)
    elif isinstance(value, list):
        for one in value:
            _check_plain(key, one)
    elif isinstance(value, str):
        _text(key, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _wrong(key, f"must be a number, not {shown(value)}")
