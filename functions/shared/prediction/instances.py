"""Decode inputs and run the model on all of them. Each input gets a prediction or an error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

from functions.shared.inference.errors import InputError, InputProblem, ModelRunError, OutOfMemoryError
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.prediction import Prediction
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.limits import storable
from functions.shared.prediction.requests import Input

Failed: TypeAlias = InputError | ModelRunError
"""Why there is no prediction for an instance: an error of the input, or a failure of the runtime."""

Answer: TypeAlias = Prediction | Failed
"""The result for one instance."""

Made = TypeVar("Made")


class WithOutputs(NamedTuple):
    """A prediction, and the outputs of the model that it was made from, by name."""

    prediction: Prediction
    outputs: Mapping[str, Any]


def decode(model: Model, inputs: Sequence[Input]) -> list[Instance]:
    """Decode the inputs of one request.

    Raises
    ------
    RefusedInputsError
        If any input cannot be decoded. The error lists every bad input.
    OutOfMemoryError
        If this process has not enough memory for one.
    """
    instances, errors = [], {}
    budget = model.decoding_budget()
    for position, one in enumerate(inputs):
        try:
            if one.instance is not None:
                instances.append(one.instance)
            elif one.features is not None:
                instances.append(model.decode_features(one.features.value))
            elif one.tensors is not None:
                instances.append(model.decode_tensors(one.tensors.value))
            else:
                instances.append(model.decode_image(one.content or b"", budget))
        except InputError as error:
            errors[position] = error
        except MemoryError as error:
            raise OutOfMemoryError("there is not enough memory to decode an input") from error
    if errors:
        raise RefusedInputsError(errors)
    return instances


def run(model: Model, instances: Sequence[Instance]) -> list[Answer]:
    """Run the model on the instances of any number of requests together.

    A bad instance does not affect the others: if the model fails on one, the rest runs again without it. If the model
    does not say which one it is, they run again in halves.

    Raises
    ------
    ModelTimeoutError
        If the time of `run_deadline.limited` is over.
    OutOfMemoryError
        If this process has not enough memory.
    """
    return _run(lambda some: [storable(prediction) for prediction in model.predict(some)], instances)


def run_with_outputs(model: Model, instances: Sequence[Instance]) -> list["WithOutputs | Failed"]:
    """Do the same, and keep the outputs that each prediction was made from."""

    def predict(some: Sequence[Instance]) -> list[WithOutputs | Failed]:
        made = [(storable(prediction), outputs) for prediction, outputs in model.predict_tensors(some)]
        return [WithOutputs(one, outputs) if isinstance(one, Prediction) else one for one, outputs in made]

    return _run(predict, instances)


def _run(
    predict: Callable[[Sequence[Instance]], Sequence["Made | Failed"]], instances: Sequence[Instance]
) -> list["Made | Failed"]:
    if not instances:
        return []
    try:
        return list(predict(instances))
    except InputError as error:
        answers: dict[int, Made | Failed] = dict(_by_instance(error))
    except ModelRunError as error:
        if len(instances) == 1:
            return [error]
        middle = len(instances) // 2
        return [answer for half in (instances[:middle], instances[middle:]) for answer in _run(predict, half)]
    except MemoryError as error:
        raise OutOfMemoryError("there is not enough memory to predict") from error
    others = [position for position in range(len(instances)) if position not in answers]
    answers |= zip(others, _run(predict, [instances[position] for position in others]), strict=True)
    return [answers[position] for position in range(len(instances))]


def _by_instance(error: InputError) -> dict[int, InputError]:
    """Split an error about several instances into one error per instance."""
    problems: dict[int, list[InputProblem]] = {}
    for problem in error.problems:
        problems.setdefault(problem.instance, []).append(replace(problem, instance=0))
    return {position: type(error)(str(error), problems=tuple(own)) for position, own in problems.items()}
