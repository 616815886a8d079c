"""Report everything wrong with a batch as one problem document that points at each bad input."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from functions.shared.api.problems import MAX_ERRORS, Problem, problem_of_input
from functions.shared.prediction.errors import RefusedInputsError


class BatchProblems:
    """Collects the problems of a batch's inputs. One bad input refuses the whole batch."""

    def __init__(self) -> None:
        self._statuses: set[HTTPStatus] = set()
        self._details: list[str] = []
        self._errors: list[tuple[str, list[tuple[str, str]]]] = []

    @contextmanager
    def at(self, pointer: str) -> Iterator[None]:
        """Collect a `Problem` raised for the input at a JSON pointer, so that the next input is checked too."""
        try:
            yield
        except Problem as problem:
            self.add(pointer, problem)

    def add(self, pointer: str, problem: Problem) -> None:
        """Record the problem of the input at a JSON pointer."""
        self._statuses.add(problem.status)
        self._details.append(problem.detail)
        self._errors.append((pointer, [*problem.errors] or [("", problem.detail)]))

    def raise_any(self) -> None:
        """Refuse the batch if any of its inputs has a problem.

        Raises
        ------
        Problem
            The status is the one that all bad inputs share, else 422; `errors` points at each bad input, and lists as
            many errors of each as fit into `MAX_ERRORS`.
        """
        if not self._details:
            return
        status = self._statuses.pop() if len(self._statuses) == 1 else HTTPStatus.UNPROCESSABLE_ENTITY
        detail = self._details[0]
        if len(self._details) > 1:
            detail = f"{len(self._details)} of the inputs cannot be predicted. The first: {detail}"
        share = max(1, MAX_ERRORS // len(self._errors) - 1)
        errors = []
        for pointer, own in self._errors:
            errors += [(pointer + inner, detail) for inner, detail in own[:share]]
            if len(own) > share:
                errors.append((pointer, "there are more errors: send this input alone to see them"))
        raise Problem(status, detail, errors=errors)


def raise_refused(error: RefusedInputsError, pointers: Sequence[str] | None) -> None:
    """Refuse a request because of its inputs.

    Parameters
    ----------
    error
        The problem of each bad input, by its position.
    pointers
        JSON pointers to the inputs in the body. If None, the request is a single input, whose problem is raised as is.

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
