"""Decide which outputs of a model are its answer and what task that makes, and tell what is in doubt."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from functions.shared.inference.datatypes import export_instead
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, SERVED_DTYPES, OutputSpec, Shape, Signature, written
from functions.shared.inference.package_settings import PackageSettings, Task, shown, wrong

_INDEX_OPERATORS: Final = frozenset({"ArgMax", "ArgMin"})
# What computes the label of a class: a whole number from one of these is no count and no quantity.
_LABEL_OPERATORS: Final = _INDEX_OPERATORS | {
    "ArrayFeatureExtractor", "LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier", "LabelEncoder",
}  # fmt: skip
_REGRESSORS: Final = frozenset({"LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor"})
SHARES: Final = frozenset({"Softmax", "LogSoftmax"})
"""The operators that give each class its share."""
# One value of these may be the probability of the second of two classes, and several may be anything from 0 to 1.
_BETWEEN_0_AND_1: Final = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})
# A whole number for each target, out of probabilities: scikit-learn's classifiers of several targets.
_SEVERAL_LABELS: Final = frozenset({"Binarizer"})

_NAMES_OF_SCORES: Final = ("score", "prob", "confidence", "decision", "logit")
_TASKS_OF_NUMBERS: Final = "classification, embedding, multi-target, regression, detection or tensors"
_SEQUENCE: Final = "sequence("


@dataclass(frozen=True, slots=True)
class Finds:
    """The outputs of a detection.

    Attributes
    ----------
    boxes
        Four numbers for each find; or six where `scores` is None: the box, the score and the class.
    scores, labels
        One number for each find.
    count
        How many of the rows are finds. None if all of them are.
    """

    boxes: OutputSpec
    scores: OutputSpec | None
    labels: OutputSpec | None
    count: OutputSpec | None

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        """Those that there are."""
        return tuple(one for one in (self.boxes, self.scores, self.labels, self.count) if one is not None)


@dataclass(frozen=True, slots=True)
class Answer:
    """Which outputs of the graph are the answer.

    Attributes
    ----------
    scores
        Probabilities, logits, the vector of an embedding, or the values of a regression. None if the model returns only
        a label, or if `targets` or `finds` are the answer.
    label
        The output with the label of the chosen class; None if there is none.
    width
        Number of scores per input; None if the file does not fix it.
    classes
        The labels in the ONNX file, in the order of the scores.
    label_is_index
        Whether the label output is an index (from ArgMax, for example) and not a label of the training data.
    targets
        Of several targets: the outputs that hold them, in the graph's order.
    finds
        Of a detection: where its boxes, scores and labels are.
    further
        The other outputs, which are computed and stored by name.
    unmatched
        The outputs of which the file does not say that their first axis is that of the inputs. With one of them a run
        must have one input: whose its rows are could not be told.
    """

    scores: OutputSpec | None = None
    label: OutputSpec | None = None
    width: int | None = None
    classes: tuple[int | str, ...] | None = None
    label_is_index: bool = False
    targets: tuple[OutputSpec, ...] = ()
    finds: Finds | None = None
    further: tuple[OutputSpec, ...] = ()
    unmatched: frozenset[str] = frozenset()

    @property
    def headline(self) -> tuple[OutputSpec, ...]:
        """The outputs that are the answer."""
        single = tuple(one for one in (self.scores, self.label) if one is not None)
        return single + self.targets + (self.finds.outputs if self.finds else ())


@dataclass(slots=True)
class Doubts:
    """What can be read in two ways, each in words that name the output or input and the key that settles it."""

    found: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Note a doubt."""
        self.found.append(what)

    def refuse(self) -> None:
        """Raise the first doubt.

        Raises
        ------
        ModelPackageError
            There is one.
        """
        if self.found:
            raise ModelPackageError(f"model.onnx: {self.found[0]}")


def row_shape(shape: Shape | None, batch: int | None) -> Shape | None:
    """Return the shape of an output for one input; None if the file does not give the output's shape."""
    if shape is None or batch == 0 or not shape:
        return shape
    return shape[1:] if not isinstance(shape[0], int) or shape[0] in (batch, 1) else shape


def choose_answer(
    signature: Signature, settings: PackageSettings, batch: int | None, doubts: Doubts
) -> tuple[Answer, Task]:
    """Decide which outputs of a model are its answer, and what task that makes.

    model.json goes first: `keep` says which outputs count at all, `answer` which one is the answer, `task` what it
    means. What it leaves open is read from the file, as far as the file has evidence: a ZipMap, a label, a Softmax, an
    ONNX-ML regressor, a single number. Where it has none, the likeliest reading is returned and `doubts` gets a line.

    Parameters
    ----------
    signature
        Of the ONNX file.
    settings
        Of model.json.
    batch
        Rows of each run; None where that is open, 0 where the graph has no batch axis.
    doubts
        Where to note what can be read in two ways.

    Raises
    ------
    ModelPackageError
        No output can be the answer, or model.json contradicts the outputs.
    """
    outputs = _Outputs(signature, settings, batch, doubts)
    chosen: Answer
    task: Task
    if settings.task == "detection":
        chosen, task = Answer(finds=outputs.finds()), "detection"
    elif settings.task == "multi-target":
        chosen, task = Answer(targets=outputs.targets()), "multi-target"
    else:
        chosen, task = outputs.single()
    if settings.labels is not None:
        check_labels(settings.labels, chosen, task)
    check_top_k(settings.top_k, chosen, task)
    further = tuple(one for one in outputs.kept if one not in chosen.headline)
    return outputs.complete(chosen, further), task


def kept_outputs(signature: Signature, settings: PackageSettings) -> list[OutputSpec]:
    """Return the outputs that are computed and stored.

    Raises
    ------
    ModelPackageError
        One of them cannot be stored, or model.json names one that there is not.
    """
    outputs, keep = signature.outputs, settings.keep
    names = [one.name for one in outputs]
    for key, said in (("keep", keep or ()), ("answer", (settings.answer,) if settings.answer else ())):
        for name in said:
            if name not in names:
                raise wrong(key, f"the model has no output {shown(name)}: its outputs are {', '.join(names)}")
    for one in outputs:
        if one.name == settings.answer and one.dtype.startswith(_SEQUENCE):
            raise wrong("answer", f"is {shown(one.name)}, which is a {one.dtype}: only a tensor can be the answer")
    if keep is not None and settings.answer is not None and settings.answer not in keep:
        raise wrong("answer", f"is {shown(settings.answer)}, which is not one of those to keep")
    kept = [one for one in outputs if keep is None or one.name in keep]
    for one in kept:
        dtype = one.dtype.removeprefix(_SEQUENCE).removesuffix(")") if one.dtype.startswith(_SEQUENCE) else one.dtype
        if dtype not in SERVED_DTYPES:
            raise ModelPackageError(
                f"model.onnx: output {one.name!r} is of type {one.dtype}, which cannot be stored"
                + export_instead(dtype)
                + (", or name the others under keep in model.json" if len(outputs) > 1 else "")
            )
    return kept


class _Outputs:
    """The outputs of a graph that are kept, and what they look like."""

    def __init__(self, signature: Signature, settings: PackageSettings, batch: int | None, doubts: Doubts) -> None:
        self.settings = settings
        self.batch = batch
        self.doubts = doubts
        self.signature = signature
        self.kept = self._kept()
        self._require_rows()
        self.rows = {one.name: row_shape(one.shape, batch) for one in self.kept}
        self.numbers = [one for one in self.kept if one.key_dtype is None and one.dtype in FLOATS]
        self.maps = [one for one in self.kept if one.key_dtype]
        self.marks = [
            one
            for one in self.kept
            if one.key_dtype is None and one.dtype not in FLOATS and not one.dtype.startswith(_SEQUENCE)
        ]

    def _kept(self) -> list[OutputSpec]:
        return kept_outputs(self.signature, self.settings)

    def _require_rows(self) -> None:
        """Refuse an output of which a fixed batch leaves no part for each input."""
        if not self.batch or self.batch == 1:
            return
        odd = [one for one in self.kept if one.shape is not None and not self._has_rows(one.shape)]
        if odd and len(odd) == len(self.kept):
            shapes = ", ".join(written(one.shape) for one in odd)
            raise ModelPackageError(
                f"model.onnx: takes {self.batch} rows at a time, but its outputs are {shapes}: if that is no batch, "
                "say task: tensors in model.json"
            )
        if odd:
            raise ModelPackageError(
                f"model.onnx: takes {self.batch} rows at a time, but output {odd[0].name!r} {written(odd[0].shape)} "
                "has no part for each: name the others under keep in model.json"
            )

    def _has_rows(self, shape: Shape) -> bool:
        return shape != () and (shape[0] == self.batch or not isinstance(shape[0], int))

    def width(self, one: OutputSpec) -> int | None:
        """Tell the number of values per input; None if the file does not fix it."""
        if one.key_dtype:
            return None if one.classes is None else len(one.classes)
        return row_width(self.rows[one.name])

    def looks(self, one: OutputSpec) -> str:
        """Say in a message what an output is."""
        row = self.rows[one.name]
        if one.shape is None:
            return f"output {one.name!r} has no shape"
        several = row_width(row) != 1
        return f"output {one.name!r} is {written(row)} per input" if several else f"output {one.name!r} is one value"

    # --- one output, and the label beside it ---

    def single(self) -> tuple[Answer, Task]:
        """Choose scores and label of a classification, or the numbers of an embedding or a regression."""
        told = self.settings.task
        if told is None and (box := self._box()) is not None:
            self.doubts.add(
                f"output {box.name!r} is {written(self.rows[box.name])} per input and may be the boxes of a detection: "
                f"say task in model.json: detection, {_TASKS_OF_NUMBERS.replace(', detection', '')}"
            )
        label = self._label()
        scores = self._scores(label)
        if scores is None and label is None:
            scores = self.marks[0] if self.marks else None
        if scores is None and label is None:
            raise ModelPackageError(
                f"model.onnx: output {self.kept[0].name!r} is of type {self.kept[0].dtype}, which is no answer by "
                "itself: say task: multi-target or task: tensors in model.json"
            )
        if told in ("regression", "embedding") and scores is not None:
            label = None
        if label is scores:
            scores = None
        answer = Answer(
            scores=scores,
            label=label,
            width=None if scores is None else self.width(scores),
            classes=(label.classes if label else None) or (scores.classes if scores else None),
            label_is_index=label is not None and (label.produced_by in _INDEX_OPERATORS or label.dtype == "bool"),
        )
        task = told or self._likely_task(answer)
        row = None if scores is None else self.rows[scores.name]
        check_scores(answer, row, task, self.settings)
        return answer, task

    def _box(self) -> OutputSpec | None:
        """Find what looks like the boxes of a detection."""
        if self.settings.answer is not None or len(self.numbers) < 2:
            return None
        return next((one for one in self.numbers if "box" in one.name.lower() and (one.shape or (0,))[-1] == 4), None)

    def _is_label(self, one: OutputSpec) -> bool:
        """Tell whether the file itself shows that a value is the name of a class."""
        name = one.name.lower()
        return (
            one.dtype in ("string", "bool")
            or one.classes is not None
            or one.produced_by in _LABEL_OPERATORS
            or "label" in name
            or "class" in name
        )

    def _label(self) -> OutputSpec | None:
        """Choose the output that names the class: one text or whole number per input."""
        settings, marks = self.settings, self.marks
        named = next((one for one in self.kept if one.name == settings.answer), None)
        if settings.task in ("regression", "embedding"):
            if settings.task == "regression" and not self.numbers and not self.maps:
                texts = [one for one in marks if one.dtype == "string"]
                return texts[0] if len(texts) == len(marks) and texts else None
            return None
        if named is not None and named in marks:
            marks = [named]
        several = [one for one in marks if self.width(one) not in (1, None) or one.produced_by in _SEVERAL_LABELS]
        labels = [one for one in marks if one not in several and self._is_label(one)]
        others = [one for one in marks if one not in several and one not in labels]
        if several and named not in self.numbers and named not in self.maps:
            what = (
                f"output {several[0].name!r} is {written(several[0].shape)}, more than one {several[0].dtype} per input"
            )
            if settings.task == "classification":
                raise wrong("task", f"is classification, but {what}: say multi-target, or tensors")
            instead = ", or name the others under keep" if len(self.kept) > 1 else ""
            plane = several[0].dtype != "string" and not _is_vector(self.rows[several[0].name])
            task = "regression (numbers as they are)" if plane else "multi-target"
            self.doubts.add(f"{what}: say task in model.json: {task} or tensors{instead}")
        if named is not None and named not in marks and not self._has_classes(named, labels):
            return None
        if labels and settings.task is None and self.rows[labels[0].name] is not None and self.width(labels[0]) is None:
            self.doubts.add(
                f"output {labels[0].name!r} is {written(labels[0].shape)}, one label for each input or many: "
                "say task in model.json: classification, multi-target or tensors"
            )
        if len(labels) > 1 and named is not None and named not in marks:
            labels = [one for one in labels if one.classes and len(one.classes) == self.width(named)][:1]
        if len(labels) > 1:
            names = ", ".join(repr(one.name) for one in labels)
            self.doubts.add(
                f"outputs {names} may each be the label: say answer in model.json with the name of one, "
                "or task: multi-target"
            )
        if labels:
            return labels[0]
        if not others:
            return None
        alone = not self.numbers and not self.maps
        told = settings.task == "classification" or settings.labels is not None
        if named in others or (alone and len(others) == 1):
            if not told:
                self.doubts.add(
                    f"{self.looks(others[0])} of {others[0].dtype}, a class or a quantity: say task in model.json: "
                    "classification or regression"
                )
            return others[0] if told else None
        if named is None:
            self.doubts.add(
                f"output {others[0].name!r} of {others[0].dtype} may be the label of a class, or not: "
                "say answer in model.json with the name of the output that is the answer"
            )
            return others[0]
        return None

    def _has_classes(self, scores: OutputSpec, labels: Sequence[OutputSpec]) -> bool:
        """Tell whether an output that model.json names as the answer holds the scores of the label beside it."""
        known = {len(one.classes) for one in labels if one.classes}
        return bool(
            scores.key_dtype
            or self.settings.task == "classification"
            or self.settings.labels
            or scores.produced_by in SHARES
            or scores.classes
            or (known and self.width(scores) in known)
        )

    def _scores(self, label: OutputSpec | None) -> OutputSpec | None:
        """Choose the output with the numbers of the answer."""
        settings = self.settings
        numbers = self.maps or self.numbers
        if settings.answer is not None:
            return next((one for one in self.maps + self.numbers if one.name == settings.answer), None) or (
                next(one for one in self.kept if one.name == settings.answer) if label is None else None
            )
        if label is not None:
            numbers = [one for one in numbers if self._are_scores(one, label)]
        if settings.task in ("regression", "embedding"):
            numbers = self.numbers or [one for one in self.marks if one.dtype != "string"]
        likely = self._likely(numbers, label)
        if len(likely) > 1:
            names = ", ".join(repr(one.name) for one in likely)
            self.doubts.add(f"outputs {names} may each be the answer: say answer in model.json with the name of one")
        return likely[0] if likely else None

    def _are_scores(self, one: OutputSpec, label: OutputSpec) -> bool:
        """Tell whether numbers beside a label are the scores of its classes; anything else is stored by its name."""
        if one.key_dtype or any(word in one.name.lower() for word in _NAMES_OF_SCORES):
            return True
        if label.told_from not in (None, label.name):
            return one.told_from == label.told_from  # as many shares may be the weights of an attention
        classes = label.classes or self.settings.labels
        return classes is not None and len(classes) > 1 and self.width(one) == len(classes)

    def _likely(self, numbers: list[OutputSpec], label: OutputSpec | None) -> list[OutputSpec]:
        """Return the outputs that may be the answer: one, unless there is a doubt."""
        settings = self.settings
        if len(numbers) < 2:
            return numbers
        if settings.labels is not None:
            classes = len(settings.labels)
            fitting = [one for one in numbers if self.width(one) == classes]
            if fitting:
                return fitting
        if label is not None and label.classes is not None:
            fitting = [one for one in numbers if self.width(one) == len(label.classes or ())]
            if len(fitting) == 1:
                return fitting
        if settings.task == "embedding":
            vectors = [one for one in numbers if _is_vector(self.rows[one.name]) and self.width(one) != 1]
            return vectors or numbers
        if settings.task in (None, "classification"):
            # Beside single numbers, not beside other vectors: shares are also the weights of an attention.
            vectors = [one for one in numbers if self.width(one) != 1]
            if len(vectors) == 1 and vectors[0].produced_by in SHARES:
                return vectors
        return numbers

    def _likely_task(self, answer: Answer) -> Task:
        scores, settings = answer.scores, self.settings
        if answer.label is not None or scores is None or scores.key_dtype:
            return "classification"
        if settings.labels is not None or settings.activation != "none":
            return "classification"
        row, width = self.rows[scores.name], answer.width
        if scores.produced_by in SHARES and width != 1 and _is_vector(row):
            return "classification"
        if scores.dtype not in FLOATS:
            return "regression"  # a doubt already, or several whole numbers, which _label has seen
        if width == 1 and scores.produced_by in _BETWEEN_0_AND_1:
            self.doubts.add(
                f"output {scores.name!r} is one value out of a {scores.produced_by}, a quantity or the probability of "
                "the second of two classes: say task in model.json: classification or regression"
            )
        elif width != 1 and (width is not None or scores.produced_by not in _REGRESSORS):
            self.doubts.add(
                f"{self.looks(scores)} and nothing says what its values are: say task in model.json: "
                f"{_TASKS_OF_NUMBERS}"
            )
        # In doubt, as ever: more than one axis of values is an image or a series, not scores of classes.
        return "classification" if width is not None and width > 1 and _is_vector(row) else "regression"

    # --- several targets, several finds ---

    def targets(self) -> tuple[OutputSpec, ...]:
        """Choose the outputs of several targets.

        Whole numbers, texts and booleans are the classes of a classification; without any, outputs of a Softmax hold a
        class each, by the largest; else floats are the numbers of a regression.
        """
        settings = self.settings
        if settings.labels is not None:
            raise wrong(
                "labels", f"{len(settings.labels)} given, but task is multi-target, whose targets have their own"
            )
        if settings.activation != "none":
            raise wrong("activation", f"is {settings.activation}, but task is multi-target, whose outputs are answered")
        named = [one for one in self.kept if one.name == settings.answer]
        chosen = named or self.marks
        if not chosen:
            shares = [one for one in self.numbers if one.produced_by in SHARES]
            chosen = shares if len(shares) == len(self.numbers) else self.numbers
        chosen = [one for one in chosen if one in self.marks or one in self.numbers]
        if not chosen:
            raise wrong("task", "is multi-target, but the model has no output of numbers or labels for each target")
        for one in chosen:
            if not _is_vector(self.rows[one.name]):
                raise wrong("task", f"is multi-target, but {self.looks(one)}, not a list: say answer, or task: tensors")
        return tuple(chosen)

    def finds(self) -> Finds:
        """Choose the outputs of a detection by their names and shapes."""
        settings = self.settings
        if settings.activation != "none":
            raise wrong("activation", f"is {settings.activation}, but task is detection, whose scores are answered")
        named = [one for one in self.kept if one.name == settings.answer]
        if len(named or self.numbers) == 1 and not self.marks:
            (only,) = named or self.numbers
            if self._may_end_in(only, 6):
                return Finds(only, None, None, None)
            raise wrong(
                "task",
                f"is detection, but {self.looks(only)}, not rows of a box, a score and a class, which are 6 numbers: "
                "export the model with its non-maximum suppression (Ultralytics: nms=True), or say regression or "
                "tensors to have its numbers as they are",
            )
        boxes = named or self._called(self.numbers, "box")
        scores = self._called(self.numbers, "score") or self._called(self.numbers, "conf")
        labels = self._called([*self.marks, *self.numbers], "label") or self._called(
            [*self.marks, *self.numbers], "class"
        )
        count = [one for one in self._called([*self.marks, *self.numbers], "num") if one not in labels]
        for what, found in (("boxes", boxes), ("scores", scores), ("labels or classes", labels)):
            if len(found) == 1:
                continue
            names = ", ".join(one.name for one in self.kept)
            if found:
                settled = "name one of boxes, one of scores and one of labels under keep"
            else:
                settled = "export it with outputs of these names, or say tensors"
            raise wrong(
                "task",
                f"is detection, but {'more than one' if found else 'no'} output is called {what} (there are {names}): "
                + settled,
            )
        if not self._may_end_in(boxes[0], 4):
            raise wrong("task", f"is detection, but {self.looks(boxes[0])}, not 4 numbers a box: say tensors")
        room = self._room(boxes[0], 4)
        for one in (scores[0], labels[0]):
            own = self._room(one, 1)
            if room is not None and own is not None and own != room:
                raise wrong(
                    "task",
                    f"is detection, but {self.looks(boxes[0])} and {self.looks(one)}, not one value for each box: "
                    "export the model with its non-maximum suppression, or say tensors",
                )
        return Finds(boxes[0], scores[0], labels[0], count[0] if len(count) == 1 else None)

    def _may_end_in(self, one: OutputSpec, length: int) -> bool:
        """Tell whether the last axis of an output may have this length. Where it is open, the first run tells."""
        last = (one.shape or (None,))[-1]
        return not isinstance(last, int) or last == length

    def _room(self, one: OutputSpec, each: int) -> int | None:
        """Tell for how many finds, of so many values each, an output has room; None if the file leaves that open."""
        has_batch_axis = len(one.shape or ()) > (1 if each == 1 else 2)
        width = self.width(one)
        return width // each if has_batch_axis and width is not None else None

    @staticmethod
    def _called(outputs: Sequence[OutputSpec], word: str) -> list[OutputSpec]:
        exact = [one for one in outputs if one.name.lower() in (word, f"{word}s", f"{word}es")]
        return exact or [one for one in outputs if word in one.name.lower()]

    # --- the rest ---

    def complete(self, answer: Answer, further: tuple[OutputSpec, ...]) -> Answer:
        """Return an answer with its further outputs, and whether its runs must take one input each."""
        for one in further:
            if one.key_dtype:
                raise ModelPackageError(
                    f"model.onnx: output {one.name!r} is a map per row, which is stored as the answer only: "
                    "name the others under keep in model.json"
                )
        outputs = (*answer.headline, *further)
        unmatched = frozenset(one.name for one in outputs if self._may_merge(one, answer))
        if unmatched and self.batch and self.batch > 1:
            one = next(one for one in outputs if one.name in unmatched)
            raise ModelPackageError(
                f"model.onnx: takes {self.batch} rows at a time, and output {one.name!r} is {written(one.shape)}, "
                "which does not say that its first axis is that of the rows: export it with a batch of one, or with "
                f"{self.batch} there"
            )
        return replace(answer, further=further, unmatched=unmatched)

    def _may_merge(self, one: OutputSpec, answer: Answer) -> bool:
        """Tell whether the file leaves open that an output's first axis is that of the inputs."""
        if one.key_dtype:
            return False
        if self.batch == 0 or one.shape is None:
            return True
        if one.dtype.startswith(_SEQUENCE):
            return True
        if not one.shape:
            return False  # what answers one value to two inputs is noticed, and run again
        if answer.finds is not None and one in answer.finds.outputs:
            # [N, 100, 4], [N, 100] and [N] have a batch axis, [n, 4] and [n] have none
            rank = {answer.finds.boxes: 3, answer.finds.count: 1}.get(one, 2)
            if len(one.shape) < rank:
                return True
        first = one.shape[0]
        if isinstance(first, int):
            return first not in (1, self.batch)
        # An axis of another name, or of a name beside none, may be that of anything: of what was found, for one.
        return first not in {spec.axes[0] for spec in self.signature.inputs if spec.axes}


def row_width(row: Shape | None) -> int | None:
    """Return the number of values of a shape; None if it is not fixed."""
    if row is None or not all(isinstance(axis, int) for axis in row):
        return None
    return math.prod(axis for axis in row if isinstance(axis, int))


def _is_vector(row: Shape | None) -> bool:
    return row is None or sum(axis != 1 for axis in row) <= 1


def check_scores(answer: Answer, row: Shape | None, task: Task, settings: PackageSettings) -> None:
    """Refuse scores that a task or an activation contradicts.

    Raises
    ------
    ModelPackageError
        They are not what `task` answers, or `activation` cannot be applied to them.
    """
    scores, activation = answer.scores, settings.activation
    if scores is None:
        if activation != "none":
            raise wrong("activation", f"is {activation}, but the model answers a label and no scores")
        if task in ("regression", "embedding"):
            raise wrong("task", f"is {task}, but the model answers a label and no number")
        return
    if task == "embedding" and (scores.dtype not in FLOATS or answer.width == 1):
        raise wrong(
            "task", f"is embedding, but output {scores.name!r} is {_what(scores, answer)}, not a vector of floats"
        )
    if task in ("classification", "embedding") and not _is_vector(row):
        raise wrong("task", f"is {task}, but output {scores.name!r} is {written(row)} per input, not a list")
    if activation == "none":
        is_one = answer.width == 1 and answer.label is None and task == "classification"
        if is_one and "activation" not in settings.said and scores.produced_by not in _BETWEEN_0_AND_1:
            raise wrong(
                "activation",
                f"is missing: output {scores.name!r} is one value, a logit (say sigmoid) or the probability of the "
                "second of two classes (say none)",
            )
        return
    if task == "embedding":
        raise wrong("activation", f"is {activation}, but an embedding has none")
    if scores.produced_by == activation.capitalize():
        raise wrong("activation", f"is {activation}, but output {scores.name!r} already is what a {activation} makes")
    if activation == "softmax" and answer.width == 1:
        raise wrong("activation", f"is softmax, but output {scores.name!r} has 1 value, which would always become 1")
    if scores.dtype not in FLOATS:
        raise wrong("activation", f"is {activation}, but output {scores.name!r} is of {scores.dtype}")


def check_top_k(top_k: int | None, answer: Answer, task: Task) -> None:
    """Refuse to keep the largest scores of what has none, or fewer.

    Raises
    ------
    ModelPackageError
        There are no scores of classes, or fewer than `top_k`.
    """
    if top_k is None:
        return
    if task != "classification":
        raise wrong("top_k", f"is about the scores of a classification, but the answer is a {task}")
    if answer.scores is None:
        raise wrong("top_k", f"is {top_k}, but the model answers a label and no scores")
    if answer.width is not None and top_k > answer.width:
        values = "1 value" if answer.width == 1 else f"{answer.width} values"
        raise wrong("top_k", f"is {top_k}, but output {answer.scores.name!r} has {values}")


def _what(scores: OutputSpec, answer: Answer) -> str:
    return "one value" if answer.width == 1 else f"of {scores.dtype}"


def check_labels(labels: tuple[str, ...], answer: Answer, task: Task) -> None:
    """Refuse labels that are not as many as the scores, or not those of the file.

    Raises
    ------
    ModelPackageError
        They are not.
    """
    if task in ("regression", "embedding"):
        raise wrong(
            "labels", f"{len(labels)} given, but {'a regression' if task == 'regression' else 'an embedding'} has none"
        )
    if answer.classes is not None:
        own = [str(label) for label in answer.classes]
        if len(labels) != len(own):
            raise wrong("labels", f"{len(labels)} given, but the model has {len(own)} classes")
        # Different names rename the classes. The same names in another order are a mistake.
        if set(labels) == set(own) and list(labels) != own:
            at = next(at for at, label in enumerate(labels) if label != own[at])
            raise wrong("labels", f"{shown(labels[at])} stands at {at}, where the model has {shown(own[at])}")
    elif answer.scores is not None and answer.width is not None:
        if answer.width == 1 and answer.label is None and len(labels) != 2:
            raise wrong("labels", f"{len(labels)} given, but output {answer.scores.name!r} has 1 value, for 2 classes")
        if answer.width > 1 and len(labels) != answer.width:
            raise wrong("labels", f"{len(labels)} given, but output {answer.scores.name!r} has {answer.width} values")
