"""Decode inputs and run the model on all of them. Each input gets a prediction or an error."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from functions.shared.inference.errors import InputError, InputProblem, ModelRunError
from functions.shared.inference.model import Instance, Model
from functions.shared.inference.prediction import Prediction
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.limits import storable
from functions.shared.prediction.requests import Input

Answer: TypeAlias = Prediction | InputError | ModelRunError
"""The result for one instance: a prediction, an error of the input, or a failure of the runtime."""


def decode(model: Model, inputs: Sequence[Input]) -> list[Instance]:
    """Decode the inputs of one request.

    Raises
    ------
    RefusedInputsError
        If any input cannot be decoded. The error lists every bad input.
    """
    instances, errors = [], {}
    budget = model.decoding_budget()
    for position, one in enumerate(inputs):
        try:
            if one.features is not None:
                instances.append(model.decode_features(one.features.value))
            elif one.tensors is not None:
                instances.append(model.decode_tensors(one.tensors.value))
            else:
                instances.append(model.decode_image(one.content or b"", budget))
        except InputError as error:
            errors[position] = error
    if errors:
        raise RefusedInputsError(errors)
    return instances


def run(model: Model, instances: Sequence[Instance]) -> list[Answer]:
    """Run the model on the instances of any number of requests together.

    A bad instance does not affect the others: if the model fails on one, the rest runs again without it.
    """
    if not instances:
        return []
    try:
        return [storable(prediction) for prediction in model.predict(instances)]
    except InputError as error:
        answers: dict[int, Answer] = dict(_by_instance(error))
    except ModelRunError as error:
        if len(instances) == 1:
            return [error]
        return [answer for one in instances for answer in run(model, [one])]
    others = [position for position in range(len(instances)) if position not in answers]
    answers |= zip(others, run(model, [instances[position] for position in others]), strict=True)
    return [answers[position] for position in range(len(instances))]


def _by_instance(error: InputError) -> dict[int, InputError]:
    """Split an error about several instances into one error per instance."""
    problems: dict[int, list[InputProblem]] = {}
    for problem in error.problems:
        problems.setdefault(problem.instance, []).append(replace(problem, instance=0))
    return {position: type(error)(str(error), problems=tuple(own)) for position, own in problems.items()}
