"""Write baseline.json: what a model's inputs and answers look like, to compare those that it serves with.

The code that serves a package decodes the data and runs the model, so the counts are those of served predictions.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from functions.shared.evaluation.performance import summarize
from functions.shared.inference.errors import InputError
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.package import FeatureInput, ModelPackage
from functions.shared.inference.package_baseline import BASELINE, MAX_BYTES, PICTURE_COLUMNS
from functions.shared.inference.prediction import Prediction
from model_artifacts.counts import Categories, Classes, Confidences, Numbers, Residuals, rounded
from model_artifacts.errors import BaselineError
from model_artifacts.rows import Row, number_in, read_features, read_images
from model_artifacts.split import split

_AT_ONCE = 256
_SECONDS_BETWEEN_LINES = 2.0
_SCORED_CLASSES = 100  # of more, a baseline has only the averages
_MAX_FEATURES = 100  # of more, the ledger counts none
_MAX_TARGETS = 100


def write_baseline(folder: Path, data: Path, *, truths: Sequence[str] = (), held_out: int | None = None) -> None:
    """Make the baseline of a package and write it into its folder. Print the progress and the model's scores.

    Parameters
    ----------
    folder : Path
        The model package.
    data : Path
        As `read_features` or `read_images` takes it.
    truths : sequence of str
        The columns of a CSV file with the true value of each of the model's targets. Without any, it is not scored.
    held_out : int or None
        Take only the rows that `split` holds out, one in this many.

    Raises
    ------
    InferenceError
        The package cannot be served.
    ArtifactError
        The data cannot be read, or are not what the model takes.
    """
    package = ModelPackage.load(folder, with_baseline=False)
    rows = _read(package, data, truths)
    chosen: Sequence[int] = range(len(rows))
    if held_out is not None:
        chosen = split(len(rows), held_out)[1].tolist()
    if not chosen:
        raise BaselineError(f"{data}: has no rows to make a baseline of")
    counted = _count(Model.load(package), rows, chosen)
    document = counted.document(len(chosen))
    text = _text(document)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise BaselineError(
            f"{BASELINE}: would have {size} bytes, and at most {MAX_BYTES} are allowed: make it of fewer rows"
        )
    path = folder / BASELINE
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise BaselineError(f"{path}: cannot be written: {error.strerror}") from error
    ModelPackage.load(folder)  # what is written must be what is read
    print(f"Wrote {path} ({size} bytes): {len(chosen)} inputs, columns {', '.join(document['columns'])}.")
    for score, value in _scores(document["performance"]):
        print(f"  {score}  {value:.4f}")


def _read(package: ModelPackage, data: Path, truths: Sequence[str]) -> Sequence[Row]:
    if package.takes == "tensors":
        raise BaselineError(f"{package.name} takes tensors: a baseline is made of an image or features")
    if not data.exists():
        raise BaselineError(f"{data}: there is no such file or folder")
    if package.takes == "features":
        if data.is_dir():
            raise BaselineError(f"{data}: is a folder, but {package.name} takes features: name a CSV file")
        return read_features(data, package, truths)
    if not data.is_dir():
        raise BaselineError(f"{data}: is a file, but {package.name} takes an image: name a folder of IDX files")
    if truths:
        raise BaselineError("--truth: names a column of a CSV file, but an IDX folder has its labels in a file")
    return read_images(data, package)


def _count(model: Model, rows: Sequence[Row], chosen: Sequence[int]) -> "_Counted":
    counted = _Counted(model.package)
    progress = _Progress(len(chosen), sys.stdout)
    for start in range(0, len(chosen), _AT_ONCE):
        some = [rows[at] for at in chosen[start : start + _AT_ONCE]]
        instances = [_decode(model, row) for row in some]
        try:
            predictions = model.predict(instances)
        except InputError as error:
            first = error.problems[0]
            raise BaselineError(f"{some[first.instance].where}: {first.detail}") from error
        for row, instance, prediction in zip(some, instances, predictions, strict=True):
            counted.add(row, instance, prediction)
        progress.tell(start + len(some))
    return counted


def _decode(model: Model, row: Row) -> Instance:
    try:
        return model.decode_features(row.features) if row.image is None else model.decode_image(row.image)
    except InputError as error:
        raise BaselineError(f"{row.where}: {error}") from error


class _Counted:
    """Counts of the inputs, the answers and the scores of a model."""

    def __init__(self, package: ModelPackage) -> None:
        self._package = package
        self._labels: dict[str, Counter[str]] = {}
        self._confidences = Confidences()
        self._values: dict[str, Numbers] = {}
        self._features: list[tuple[str, Numbers | Categories]] = []
        self._pictures = {column: Numbers() for column in PICTURE_COLUMNS} if package.takes == "image" else {}
        self._classes: dict[str, Classes] = {}
        self._residuals: dict[str, Residuals] = {}
        self._judged = 0
        wanted = package.input
        if isinstance(wanted, FeatureInput) and len(wanted.columns or ()) <= _MAX_FEATURES:
            for position, column in enumerate(wanted.columns or ()):
                kind = Numbers if column.type in ("number", "integer") else Categories
                self._features.append((f"feature:{position if column.name is None else column.name}", kind()))

    def add(self, row: Row, instance: Instance, prediction: Prediction) -> None:
        """Count an input and its prediction.

        Raises
        ------
        BaselineError
            The true value is not one that the model can answer.
        """
        for (_, counts), value in zip(self._features, row.features or (), strict=False):
            _add(counts, value)
        if instance.picture is not None:
            for numbers, measured in zip(self._pictures.values(), instance.picture, strict=True):
                numbers.add(measured)
        if prediction.confidence is not None:
            self._confidences.add(prediction.confidence)
        targets = _targets(prediction, self._package.task)
        for target, value in targets.items():
            if isinstance(value, str):
                self._labels.setdefault(target, Counter())[value] += 1
            else:
                self._values.setdefault(target, Numbers()).add(value)
        if row.truths:
            self._judge(row, prediction, targets)

    def _judge(self, row: Row, prediction: Prediction, targets: Mapping[str, str | float]) -> None:
        if len(targets) != len(row.truths):
            raise BaselineError(f"{row.where}: has {len(row.truths)} true values, and the model answers {len(targets)}")
        self._judged += 1
        for (target, value), truth in zip(targets.items(), row.truths, strict=True):
            if isinstance(value, str):
                shares = self._shares(row, prediction, truth) if prediction.label is not None else {}
                self._classes.setdefault(target, Classes()).add(value, truth, prediction.confidence, shares)
            else:
                number = number_in(truth, f"{row.where}: the truth")
                self._residuals.setdefault(target, Residuals()).add(value, number)

    def _shares(self, row: Row, prediction: Prediction, truth: str) -> dict[str, float]:
        """Return the probability of each label; empty if they are not known."""
        labels, label, confidence = self._package.labels, prediction.label, prediction.confidence
        if labels is not None and truth not in labels:
            raise BaselineError(f"{row.where}: {truth!r} is no label of {self._package.name}: {', '.join(labels[:20])}")
        if labels is None or confidence is None:
            return {}
        output = prediction.output
        if len(output) == len(labels):
            return {one: share for one, share in zip(labels, output, strict=True) if isinstance(share, float | int)}
        if len(labels) == 2:  # one score says both
            return {one: confidence if one == label else 1 - confidence for one in labels}
        return {}

    def document(self, count: int) -> dict[str, Any]:
        """Return the baseline."""
        columns: dict[str, dict[str, object]] = {}
        for target, labels in self._labels.items():
            columns[f"label{target}"] = {label: labels[label] for label in self._in_order(labels)}
        if self._confidences.values:
            columns["confidence"] = self._confidences.counts()
        for target, values in self._values.items():
            columns[f"value{target}"] = values.counts()
        for name, counted in self._features:
            columns[name] = counted.counts()
        for name, numbers in self._pictures.items():
            columns[name] = numbers.counts()
        return {"count": count, "columns": columns, "performance": self._performance(count)}

    def _in_order(self, labels: Mapping[str, int]) -> list[str]:
        known = self._package.labels or ()
        return [label for label in known if label in labels] + sorted(labels.keys() - set(known))

    def _performance(self, count: int) -> dict[str, Any]:
        if not self._judged:
            return {}
        measures: dict[str, dict[str, object]] = {"judged": {"judged": self._judged}}
        for target, residuals in self._residuals.items():
            measures[f"residual{target}"] = residuals.counts()
        for target, classes in self._classes.items():
            measures |= {f"{measure}{target}": counts for measure, counts in classes.measures().items()}
        figures: dict[str, Any] = dict(summarize(measures, count, self._package.labels))
        del figures["coverage"]
        told: dict[str, Any] = _rounded(_short(figures))
        return told


def _targets(prediction: Prediction, task: str) -> dict[str, str | float]:
    """Return the answer for each target, by what follows `label` or `value` in the names of its measures.

    With several targets, a whole number, a text or a boolean is a class, which has labels. The ledger counts likewise.
    """
    if prediction.label is not None:
        return {"": prediction.label}
    value = prediction.predicted_value
    if task not in ("regression", "multi-target"):
        return {}
    if not isinstance(value, list):
        return {"": _target(value, task)}
    return {f":{at}": _target(one, task) for at, one in enumerate(value[:_MAX_TARGETS])}


def _target(value: object, task: str) -> str | float:
    if isinstance(value, float) or (task == "regression" and isinstance(value, int)):
        return value
    return value if isinstance(value, str) else json.dumps(value)


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    """Leave out the figures that are long and say little of the whole."""
    if "classification" in figures:
        figures["classification"].pop("confusion_matrix")
        if len(figures["classification"]["classes"]) > _SCORED_CLASSES:
            figures["classification"].pop("classes")
    figures.get("calibration", {}).pop("bins", None)
    for of_target in figures.get("targets", {}).values():
        _short(of_target)
    return figures


def _add(counts: Numbers | Categories, value: object) -> None:
    if isinstance(counts, Categories):
        counts.add(value if value is None or isinstance(value, str) else json.dumps(value))
    else:
        counts.add(value if isinstance(value, int | float) else None)


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any part of a JSON document
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return rounded(value) if isinstance(value, float) else value


def _text(document: Mapping[str, Any]) -> str:
    """Write one column per line, so that a diff of two versions can be read."""
    members = [f'  "count": {document["count"]}']
    for name in ("columns", "performance"):
        lines = [f"    {json.dumps(one)}: {json.dumps(value)}" for one, value in document[name].items()]
        members.append(f'  "{name}": {{' + ",".join(f"\n{line}" for line in lines) + "\n  }")
    return "{\n" + ",\n".join(members) + "\n}\n"


def _scores(performance: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the scores that are worth a line."""
    found = [("accuracy", performance.get("classification", {}).get("accuracy"))]
    found += [(name, performance.get(name)) for name in ("log_loss", "brier_score")]
    found += [(name, performance.get("regression", {}).get(name)) for name in ("r2", "mae", "rmse")]
    return [(name, value) for name, value in found if value is not None]


class _Progress:
    """Shows the progress: on one line of a terminal, or as a line every few seconds in a file."""

    def __init__(self, count: int, out: TextIO) -> None:
        self._count = count
        self._out = out
        self._told = time.monotonic()

    def tell(self, done: int) -> None:
        """Show that this many are done."""
        if done == self._count:
            if self._out.isatty():
                self._out.write("\r\033[K")
            return
        if self._out.isatty():
            self._out.write(f"\r{done} of {self._count} predicted")
        elif time.monotonic() - self._told < _SECONDS_BETWEEN_LINES:
            return
        else:
            self._out.write(f"{done} of {self._count} predicted\n")
        self._told = time.monotonic()
        self._out.flush()
