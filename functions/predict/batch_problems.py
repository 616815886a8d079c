"""Several inputs, and everything that is wrong with any of them, as one problem."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus

from functions.shared.api.problems import Problem, problem_of_input
from functions.shared.inference.errors import InputError

_RAISED_AS_IT_IS = nullcontext()


class ProblemsOfMany:
    """Collects what is wrong with each of several inputs. One bad input refuses them all."""

    def __init__(self) -> None:
        self._statuses: set[HTTPStatus] = set()
        self._details: list[str] = []
        self._errors: list[tuple[str, str]] = []

    def at(self, pointer: str) -> AbstractContextManager[None]:
        """Collect what is wrong with the input at `pointer`, and go on.

        Parameters
        ----------
        pointer
            Where the input stands in the body; empty for the one input of a request, whose problem is raised as it is.
        """
        return self._collect(pointer) if pointer else _RAISED_AS_IT_IS

    @contextmanager
    def _collect(self, pointer: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self._add(pointer, problem_of_input(error))
        except Problem as problem:
            self._add(pointer, problem)

    def _add(self, pointer: str, problem: Problem) -> None:
        self._statuses.add(problem.status)
        self._details.append(problem.detail)
        self._errors += [(pointer + inner, detail) for inner, detail in problem.errors] or [(pointer, problem.detail)]

    @property
    def found(self) -> bool:
        """Whether anything is wrong so far."""
        return bool(self._details)

    def raise_any(self) -> None:
        """Refuse the request if anything is wrong with any of its inputs.

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
