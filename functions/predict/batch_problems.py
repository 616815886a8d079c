"""What is wrong with the inputs of a batch, as one problem document that points at each bad one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from functions.shared.api.problems import Problem, problem_of_input
from functions.shared.prediction.errors import RefusedInputsError


class BatchProblems:
    """Collects what is wrong with each input of a batch. One bad input refuses them all."""

    def __init__(self) -> None:
        self._statuses: set[HTTPStatus] = set()
        self._details: list[str] = []
        self._errors: list[tuple[str, str]] = []

    @contextmanager
    def at(self, pointer: str) -> Iterator[None]:
        """Collect the problem of the input at a JSON pointer into the body, and go on with the next input."""
        try:
            yield
        except Problem as problem:
            self.add(pointer, problem)

    def add(self, pointer: str, problem: Problem) -> None:
        """Collect the problem of the input at a JSON pointer."""
        self._statuses.add(problem.status)
        self._details.append(problem.detail)
        self._errors += [(pointer + inner, detail) for inner, detail in problem.errors] or [(pointer, problem.detail)]

    def raise_any(self) -> None:
        """Refuse the batch if anything is wrong with any of its inputs.

        Raises
        ------
        Problem
            With the status that all bad inputs share, else 422; its errors point at each of them.
        """
        if not self._details:
            return
        status = self._statuses.pop() if len(self._statuses) == 1 else HTTPStatus.UNPROCESSABLE_ENTITY
        detail = self._details[0]
        if len(self._details) > 1:
            detail = f"{len(self._details)} of the inputs cannot be predicted. The first: {detail}"
        raise Problem(status, detail, errors=self._errors)


def raise_refused(error: RefusedInputsError, pointers: Sequence[str] | None) -> None:
    """Refuse a request for what is wrong with its inputs.

    Parameters
    ----------
    error
        What is wrong, by the inputs' positions.
    pointers
        Where in the body each input stands; None for a request that is one input, whose problem is the request's.

    Raises
    ------
    Problem
        Always.
    """
    if pointers is None:
        raise problem_of_input(error.errors[0]) from error
    problems = BatchProblems()
    for position, one in error.errors.items():
        problems.add(pointers[position], problem_of_input(one))
    problems.raise_any()
