"""Read many ground truths: JSON, one JSON object a line, or CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from functions.ground_truth.truth import OF_MANY, read_named_truth, refuse
from functions.shared.api.fields import refuse_unknown
from functions.shared.api.json_source import decode, parse_members
from functions.shared.api.negotiation import essence
from functions.shared.api.problems import Problem
from functions.shared.ledger.ground_truths import GroundTruth

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
CSV: Final = "text/csv"

_OTHER_NAMES: Final = {"application/ndjson": LINES, "application/jsonl": LINES, "application/jsonlines": LINES}

MOST: Final = 10_000
"""The most ground truths in one request."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ground truth is in a request.

    Attributes
    ----------
    pointer
        A JSON pointer to it; empty if it has a line of its own.
    line
        The number of its line, from 1; None in JSON.
    """

    pointer: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """The items of a request and their places. An item is a ground truth, or the problem that says why it is none."""

    items: list[tuple[Place, GroundTruth | Problem]]

    def truths(self) -> list[GroundTruth]:
        """Return the ground truths."""
        return [item for _, item in self.items if isinstance(item, GroundTruth)]

    def require_all(self) -> None:
        """Refuse the request if any of its items is no ground truth. Raises `Problem`, which points at each."""
        malformed = [(place, item) for place, item in self.items if isinstance(item, Problem)]
        if malformed:
            problems = Problems()
            for place, problem in malformed:
                problems.add(place, problem)
            raise problems.problem(count=len(malformed))


class Problems:
    """Collects what is wrong with the ground truths of a request."""

    def __init__(self) -> None:
        self._errors: list[tuple[str, str]] = []
        self._lines: list[int | None] = []
        self._statuses: set[HTTPStatus] = set()

    def add(self, place: Place, problem: Problem) -> None:
        """Record the problem of one ground truth."""
        self._statuses.add(problem.status)
        for pointer, detail in problem.errors or [("", problem.detail)]:
            self._errors.append((place.pointer + pointer, detail))
            self._lines.append(place.line)

    def problem(self, *, count: int) -> Problem:
        """Return the problem of the request: 400 if a ground truth is malformed, else 412 if one is late, else 422.

        Parameters
        ----------
        count
            How many ground truths have a problem. It may be more than were recorded.
        """
        status = min(self._statuses)
        first = self._errors[0][1]
        what = "1 ground truth is wrong" if count == 1 else f"{count} ground truths are wrong"
        detail = f"{what}, and none was kept. The first: {first}{'' if first.endswith('.') else '.'}"
        return Problem(status, detail, errors=self._errors, lines=self._lines)


def receive_many(contenttype: str, body: bytes) -> Received:
    """Read the ground truths of a request. An item that is none does not stop the others from being read.

    Parameters
    ----------
    contenttype
        The header Content-Type.
    body
        The body, without its Content-Encoding.

    Raises
    ------
    Problem
        400 or 422 if the body as a whole is no list of ground truths, 413 if it has too many, 415 if it is of another
        type.
    """
    kind = essence(contenttype)
    kind = _OTHER_NAMES.get(kind, kind)
    if kind.startswith("application/") and kind.endswith("+json"):
        kind = JSON
    read = _READERS.get(kind)
    if read is None:
        given = f"This route does not take {kind[:100]!r}" if kind else "The body has no content type"
        detail = f"{given}: send one of {', '.join(_READERS)}."
        headers = {"Accept-Post": ", ".join(_READERS)}
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)
    items: list[tuple[Place, GroundTruth | Problem]] = []
    for place, members in read(decode(body)):
        if len(items) == MOST:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The request has more than {MOST} ground truths: send fewer at once.",
            )
        items.append((place, _read(members)))
    if not items:
        raise refuse("/items" if kind == JSON else "", "the request has no ground truth: send at least one")
    return Received(items)


def _read(members: Mapping[str, Any] | Problem) -> GroundTruth | Problem:
    if isinstance(members, Problem):
        return members
    try:
        return read_named_truth(members)
    except Problem as problem:
        return problem


_Items = Iterator[tuple[Place, Mapping[str, Any] | Problem]]


def _from_json(text: str) -> _Items:
    members = parse_members(text)
    refuse_unknown(members, ("items",))
    items = members["items"].value if "items" in members else None
    if not isinstance(items, list):
        raise refuse("/items", "items must be a list of objects")
    for number, item in enumerate(items):
        yield Place(f"/items/{number}"), item if isinstance(item, dict) else refuse("", "must be an object")


def _from_lines(text: str) -> _Items:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield Place("", number), {name: source.value for name, source in parse_members(line, line=number).items()}
        except Problem as problem:
            yield Place("", number), problem


def _from_csv(text: str) -> _Items:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    line = 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Place("", line), Problem(HTTPStatus.BAD_REQUEST, f"This is no CSV: {error}.")
            return
        if row is None:
            return
        place, line = Place("", line), rows.line_num + 1
        if not any(row):
            continue
        if names is None:
            names = _header(row)
        elif len(row) != len(names):
            detail = f"this row has {len(row)} values, and the first row names {len(names)}"
            yield place, Problem(HTTPStatus.BAD_REQUEST, f"{detail}.")
        else:
            yield place, _from_row(names, row)


def _header(row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    unknown = next((name for name in names if name not in OF_MANY), None)
    if unknown is not None:
        known = f"{', '.join(OF_MANY)}, with commas between them"
        detail = f"the first row must name the columns, and {unknown[:100]!r} is none: use {known}"
    elif len({*names}) < len(names):
        detail = "the first row names a column twice"
    elif not {"prediction_id", "inference_id"} & {*names} or not {"label", "value"} & {*names}:
        detail = "the first row must name prediction_id or inference_id, and label or value"
    else:
        return names
    problem = refuse("", detail)
    raise Problem(problem.status, problem.detail, errors=problem.errors, lines=[1])


def _from_row(names: list[str], row: list[str]) -> Mapping[str, Any] | Problem:
    """Return the members of a row. An empty cell is left out."""
    members: dict[str, Any] = {name: cell for name, cell in zip(names, row, strict=True) if cell}
    if "value" in members:
        try:
            members["value"] = json.loads(members["value"])
        except (ValueError, RecursionError):
            return refuse("/value", "value must be JSON: a number such as 3.2, or a list such as [1, 2]")
    return members


_READERS: Final[dict[str, Callable[[str], _Items]]] = {JSON: _from_json, LINES: _from_lines, CSV: _from_csv}
