"""Decide which outputs of a model that takes tensors are stored, and which one of them is the answer."""

from functions.shared.inference.answer_outputs import (
    SHARES,
    Answer,
    check_labels,
    check_scores,
    check_top_k,
    kept_outputs,
    row_width,
)
from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import FLOATS, SERVED_DTYPES, OutputSpec, Signature, written
from functions.shared.inference.package_settings import PackageSettings, wrong
from functions.shared.inference.tensor_input import TensorInput


def is_batched(spec: OutputSpec, wanted: TensorInput) -> bool | None:
    """Tell whether the first axis of an output is that of the examples. None if the file does not tell."""
    if wanted.unbatched or spec.shape == ():
        return False
    lead = spec.shape[0] if spec.shape else None
    if wanted.batch is not None:
        # An axis that is open although all inputs are fixed depends on their values.
        return lead == wanted.batch
    return True if spec.shape and lead in wanted.batch_axes else None


def choose_tensor_answer(signature: Signature, settings: PackageSettings, wanted: TensorInput) -> Answer:
    """Return which outputs are stored, as `further`, and which one is the answer, if model.json names one.

    Raises
    ------
    ModelPackageError
        An output cannot be stored, or has no entry for each of the examples that a run takes, or model.json contradicts
        the outputs.
    """
    kept = kept_outputs(signature, settings)
    for spec in kept:
        if spec.dtype not in SERVED_DTYPES or spec.key_dtype:
            kind = "a sequence of maps" if spec.key_dtype else spec.dtype
            raise ModelPackageError(
                f"model.onnx: output {spec.name!r} is {kind} and no tensor: name the others under keep in model.json"
            )
        if wanted.batch not in (None, 1) and not is_batched(spec, wanted):
            raise ModelPackageError(
                f"model.onnx: takes {wanted.batch} examples a run, and output {spec.name!r} is {written(spec.shape)}"
            )
    if settings.answer is None:
        for key in ("labels", "activation", "top_k"):
            if getattr(settings, key) not in (None, "none"):
                raise wrong(key, "is about one output: say which under answer")
        return Answer(further=tuple(kept))
    return _answer(next(spec for spec in kept if spec.name == settings.answer), kept, settings, wanted)


def _answer(spec: OutputSpec, kept: list[OutputSpec], settings: PackageSettings, wanted: TensorInput) -> Answer:
    row = spec.shape[1:] if spec.shape and is_batched(spec, wanted) is not False else spec.shape
    width = row_width(row)
    is_label = spec.dtype not in FLOATS
    answer = Answer(
        scores=None if is_label else spec,
        label=spec if is_label else None,
        width=width,
        classes=spec.classes,
        label_is_index=spec.dtype == "bool" or spec.produced_by in ("ArgMax", "ArgMin"),
        further=tuple(kept),
    )
    if is_label and width not in (1, None):
        raise wrong("answer", f"is {spec.name!r}, which is {written(row)} per example: a label is one value")
    is_class = classifies(answer, settings.labels, settings.activation)
    if not is_class and width != 1:
        raise wrong(
            "answer",
            f"is {spec.name!r}, which is {written(row)} per example, and nothing says what its values are: "
            "say labels or activation if they are scores of classes, else leave answer out",
        )
    check_scores(answer, row, "classification" if is_class else "regression", settings)
    check_top_k(settings.top_k, answer, "classification" if is_class else "regression")
    if settings.labels is not None:
        check_labels(settings.labels, answer, "classification")
    return answer


def classifies(answer: Answer, labels: tuple[str, ...] | None, activation: str) -> bool:
    """Return whether the answer of a model that takes tensors is a class, and not a number."""
    scores = answer.scores
    return scores is None or labels is not None or activation != "none" or scores.produced_by in SHARES
