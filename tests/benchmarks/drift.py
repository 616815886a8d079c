"""Measure how often the default decision of drift errs, and how long it takes.

    python -m tests.benchmarks.drift [FOLDER OF IDX FILES] [--windows 2000]

It draws windows from what the baseline was drawn from, and counts those with a false alarm in any of their columns.
Then it changes one column, or the digits, and counts the windows in which that is told. `docs/decisions/drift.md` has
the result.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from functions.shared.evaluation import bins, drift
from model_artifacts.idx import read_digits
from tests.benchmarks.measure import ROOT

Values = NDArray[Any]
Draw = Callable[[np.random.Generator, int], Values]

KINDS: tuple[Draw, ...] = (
    lambda random, count: random.normal(0, 0.05, count),
    lambda random, count: random.lognormal(0, 1.5, count),
    lambda random, count: random.poisson(2, count).astype(float),
    lambda random, count: np.where(random.random(count) < 0.9, 0.0, random.exponential(5, count)),
    lambda random, count: random.normal(290, 5, count),
    lambda random, count: random.standard_cauchy(count),
    lambda random, count: random.integers(0, 2, count).astype(float),
    lambda random, count: np.minimum(random.zipf(1.5, count), 500).astype(str),
    lambda random, count: random.choice(["a", "b", "c"], count, p=[0.9, 0.09, 0.01]),
    lambda random, count: np.where(random.random(count) < 0.03, np.nan, random.gamma(2, 3, count)),
)
"""Columns: both signs, skewed, whole numbers, mostly 0, far from 0, without a mean, two values, rare words, few words,
and sometimes missing."""

CHANGES: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "inverted": lambda images: 255 - images,
    "blurred": lambda images: np.stack(
        [np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2))) for image in images]
    ),
    "rotated by 90 degrees": lambda images: np.rot90(images, axes=(1, 2)),
    "rotated by 30 degrees": lambda images: np.stack(
        [np.asarray(Image.fromarray(image).rotate(30, Image.Resampling.BICUBIC)) for image in images]
    ),
}


def count(values: Values) -> dict[str, Any]:
    """Count a column as the rollups do."""
    if values.dtype.kind == "U":
        found, sizes = np.unique(values, return_counts=True)
        return {"missing": 0, "categories": dict(zip(found.tolist(), sizes.tolist(), strict=True))}
    kept = values[np.isfinite(values)]
    size = np.maximum(np.abs(kept), 1e-300)
    numbers = np.minimum(np.floor(np.log(size) / bins.LOG_GROWTH).astype(int) + bins.OFFSET, bins.LAST)
    numbers = np.where(size < bins.SMALLEST, 0, numbers * np.sign(kept).astype(int))
    found, sizes = np.unique(numbers, return_counts=True)
    histogram = {str(number): each for number, each in zip(found.tolist(), sizes.tolist(), strict=True)}
    sums = {"sum": float(kept.sum()), "squares": float((kept * kept).sum())}
    return {"missing": len(values) - len(kept), **sums, "bins": histogram}


def told(columns: Mapping[str, drift.Column], window: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the columns that are told of a window."""
    decisions = drift.decide({name: column.compare(window[name]) for name, column in columns.items()})
    return {name for name, decision in decisions.items() if decision["drift"]}


def columns_drawn(random: np.random.Generator, width: int, baseline: int) -> dict[str, tuple[Draw, drift.Column]]:
    """Return so many columns with a baseline of so many rows."""
    drawn = {}
    for place in range(width):
        draw = KINDS[place % len(KINDS)]
        drawn[str(place)] = draw, drift.Column.of("feature:x", count(draw(random, baseline)))
    return drawn


def false_alarms(width: int, baseline: int, rows: int, windows: int) -> float:
    """Return the share of unchanged windows in which any column is told. Each 50 windows have their own baseline."""
    random = np.random.default_rng([width, baseline, rows])
    alarms = 0
    for turn in range(windows):
        if turn % 50 == 0:
            drawn = columns_drawn(random, width, baseline)
            columns = {name: column for name, (_, column) in drawn.items()}
        alarms += bool(told(columns, {name: count(draw(random, rows)) for name, (draw, _) in drawn.items()}))
    return alarms / windows


def shifts_told(deviations: float, baseline: int, rows: int, windows: int) -> tuple[float, float]:
    """Return the share of windows in which the shifted one of ten columns is told, and that in which another is."""
    random = np.random.default_rng([baseline, rows])
    right = wrong = 0
    for _ in range(windows):
        columns = {str(place): drift.Column("number", count(random.normal(0, 0.05, baseline))) for place in range(10)}
        window = {name: count(random.normal(0.05 * deviations * (name == "3"), 0.05, rows)) for name in columns}
        found = told(columns, window)
        right += "3" in found
        wrong += bool(found - {"3"})
    return right / windows, wrong / windows


def predict(images: NDArray[np.uint8]) -> tuple[Values, Values]:
    """Return the labels and the confidences of the shipped model."""
    session = onnxruntime.InferenceSession(str(ROOT / "model_artifacts" / "mnist" / "model.onnx"))
    name = session.get_inputs()[0].name
    inputs = (images.astype(np.float32) / 255)[..., np.newaxis]
    outputs = np.concatenate(
        [session.run(None, {name: inputs[start : start + 500]})[0] for start in range(0, len(inputs), 500)]
    )
    return outputs.argmax(axis=1).astype(str), outputs.max(axis=1)


def of_digits(images: NDArray[np.uint8]) -> dict[str, Values]:
    """Return the columns of digits, a value a digit."""
    labels, confidences = predict(images)
    shares = images.reshape(len(images), -1) / 255
    return {"label": labels, "confidence": confidences, "brightness": shares.mean(1), "contrast": shares.std(1)}


def counted(columns: Mapping[str, Values], chosen: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    """Count the columns of the chosen digits."""
    found = {name: count(values[chosen]) for name, values in columns.items()}
    found["label"] = found["label"]["categories"]
    places = np.minimum(np.floor(columns["confidence"][chosen] * bins.CONFIDENCE_BINS), bins.CONFIDENCE_BINS - 1)
    numbers, sizes = np.unique(places.astype(int), return_counts=True)
    histogram = {str(number): each for number, each in zip(numbers.tolist(), sizes.tolist(), strict=True)}
    found["confidence"] = {"sum": float(columns["confidence"][chosen].sum()), "bins": histogram}
    return found


def digits(folder: Path, windows: int) -> None:
    """Print how often unchanged and changed digits are told, in windows of 100 and 166 digits."""
    images = read_digits(folder)[0][-5000:]
    original = of_digits(images)
    changed = {name: of_digits(change(images)) for name, change in CHANGES.items()}
    random = np.random.default_rng(1)
    for baseline in (1000, 5000):
        chosen = random.choice(len(images), baseline, replace=False)
        columns = {name: drift.Column.of(name, counts) for name, counts in counted(original, chosen).items()}
        for rows in (100, 166):
            draws = [random.choice(len(images), rows, replace=False) for _ in range(windows)]
            alarms = sum(1 for draw in draws if told(columns, counted(original, draw))) / windows
            print(f"digits, baseline {baseline}, windows of {rows}: false alarms {alarms:.4f}")
            for name, distorted in changed.items():
                found = [told(columns, counted(distorted, draw)) for draw in draws[:100]]
                by = {column: sum(1 for each in found if column in each) for column in columns}
                print(f"    {name}: told {len(list(filter(None, found)))} of {len(found)}, {json.dumps(by)}")


def speed(windows: int = 30, width: int = 25, repeats: int = 15) -> None:
    """Print how long it takes to compare 30 windows of 25 columns, by how many values a window has."""
    for rows in (30, 166, 1000):
        random = np.random.default_rng(rows)
        drawn = columns_drawn(random, width, 1000)
        baselines = {name: count(draw(random, 1000)) for name, (draw, _) in drawn.items()}
        days = [{name: count(draw(random, rows)) for name, (draw, _) in drawn.items()} for _ in range(windows)]
        took = []
        for _ in range(repeats):
            begun = time.perf_counter()
            columns = {name: drift.Column.of("feature:x", counts) for name, counts in baselines.items()}
            for day in days:
                told(columns, day)
            took.append(time.perf_counter() - begun)
        filled = sum(len(counts.get("bins") or counts["categories"]) for counts in days[0].values()) / width
        print(f"{windows} windows of {rows} rows, {width} columns, {filled:.0f} bins each: {min(took) * 1000:.1f} ms")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="IDX files of digits")
    parser.add_argument("--windows", type=int, default=2000, help="unchanged windows of each row (2000)")
    parser.add_argument("--speed", action="store_true", help="measure the time alone")
    options = parser.parse_args()
    speed()
    if options.speed:
        return
    for width, baseline, rows in (
        (1, 1000, 100),
        (10, 1000, 30),
        (10, 1000, 100),
        (10, 442, 442),
        (10, 10_000, 1000),
        (30, 1000, 100),
        (100, 1000, 100),
    ):
        share = false_alarms(width, baseline, rows, options.windows if width < 100 else options.windows // 4)
        print(f"{width} columns, baseline {baseline}, windows of {rows}: false alarms {share:.4f}", flush=True)
    for deviations in (0.5, 0.75, 1.0):
        for baseline, rows in ((1000, 30), (442, 100), (1000, 100), (1000, 1000)):
            right, wrong = shifts_told(deviations, baseline, rows, 200)
            print(
                f"shift {deviations} sd, baseline {baseline}, windows of {rows}: told {right:.3f}, others {wrong:.3f}"
            )
    if options.folder:
        digits(options.folder, options.windows)


if __name__ == "__main__":
    main()
