"""Read what a detection found: a box, a score and a label each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.answer_outputs import Finds
from functions.shared.inference.errors import ModelRunError
from functions.shared.inference.prediction import Output, Prediction


class FindsReader:
    """Turns the boxes, scores and labels of one input into a prediction.

    Parameters
    ----------
    finds
        Which outputs hold them.
    labels
        The names of the classes, by index; None if they have none.
    """

    def __init__(self, finds: Finds, labels: tuple[str, ...] | None) -> None:
        self._boxes = finds.boxes.name
        self._classes = (finds.labels or finds.boxes).name
        self._in_one = finds.scores is None
        self._counted = finds.count is not None
        self._labels = labels or ()

    def read(self, arrays: Sequence[NDArray[Any]]) -> Prediction | None:
        """Read the finds of one input.

        Parameters
        ----------
        arrays
            The input's part of each of `Finds.outputs`. Some have room for more finds than there are: rows beyond the
            count, and rows with a score of 0, are none.

        Returns
        -------
        Prediction or None
            None if a box, a score, a class or the count of the finds is not finite.

        Raises
        ------
        ModelRunError
            The outputs hold no finds, but what finds are made of: the raw head of a YOLO, for one.
        """
        each, columns = (6, "a box, a score and a class") if self._in_one else (4, "a box")
        if arrays[0].shape[-1:] != (each,) and arrays[0].size:
            raise self._no_finds(
                self._boxes, f"is {list(arrays[0].shape)} for one input, not rows of {each}, {columns}"
            )
        rows = arrays[0].reshape(-1, each)
        if self._in_one:
            boxes, scores, classes = rows[:, :4], rows[:, 4], rows[:, 5]
        else:
            boxes, scores, classes = rows, arrays[1].reshape(-1), arrays[2].reshape(-1)
        if not len(boxes) == len(scores) == len(classes):
            lengths = f"{len(boxes)} boxes, {len(scores)} scores and {len(classes)} classes"
            raise self._no_finds(self._boxes, f"and those beside it have {lengths} for one input")
        if self._counted:
            if not _is_finite(arrays[-1]):
                return None
            count = max(0, int(arrays[-1].reshape(-1)[0]))
            boxes, scores, classes = boxes[:count], scores[:count], classes[:count]
        if not all(map(_is_finite, (boxes, scores, classes))):
            return None
        found = scores > 0
        if classes.dtype.kind == "f" and (classes[found] % 1).any():
            raise self._no_finds(self._classes, "has a class that is no whole number")
        labels: Output = [self._label(one) for one in classes[found].tolist()]
        finds: Output = [
            {"box": box, "score": score, "label": label}
            for box, score, label in zip((boxes[found] + 0.0).tolist(), scores[found].tolist(), labels, strict=True)
        ]
        return Prediction(finds, None, None, None, labels)

    @staticmethod
    def _no_finds(name: str, what: str) -> ModelRunError:
        return ModelRunError(
            f"model.onnx: task is detection, but output {name!r} {what}: export the model with its non-maximum "
            "suppression, or say regression or tensors in model.json to have its numbers as they are"
        )

    def _label(self, one: float | str) -> str:
        if isinstance(one, str):
            return one
        index = int(one)
        return self._labels[index] if 0 <= index < len(self._labels) else str(index)


def _is_finite(array: NDArray[Any]) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
