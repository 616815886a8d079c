"""What windows are compared with: a package's baseline, the first predictions, a span of time, or another version."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple, NoReturn

from pydantic import TypeAdapter, ValidationError

from functions.shared.api.problems import Problem
from functions.shared.api.query_fields import Time
from functions.shared.prediction.watching import COLUMNS, FIRST
from functions.statistics.counts import Measures, merged
from functions.statistics.environment import Asking
from functions.statistics.span import EVER
from functions.statistics.versions import ModelVersion

_OTHER_VERSION: Final = "version:"
_FORMS: Final = (
    "baseline must be package, first, a span of time as in 2026-01-01/2026-02-01, or another version as in version:1"
)
_MICROSECOND: Final = timedelta(microseconds=1)


class Baseline(NamedTuple):
    """What windows are compared with.

    Attributes
    ----------
    says
        How the answer describes it.
    columns
        The counts of each column.
    """

    says: dict[str, Any]
    columns: Measures


def find(asking: Asking, one: ModelVersion, others: list[ModelVersion], given: str | None) -> Baseline:
    """Return the baseline that a request names, or the version's own.

    Parameters
    ----------
    asking
        Who asks. If the windows have only the caller's own predictions, so has the baseline.
    one, others
        The version, and all versions of the model.
    given
        The parameter of the request; None for the package's baseline, or for the first predictions if it has none.

    Raises
    ------
    Problem
        404 if it names a version that does not exist. 422 if its form is unknown, or if the package has no baseline.
    """
    if given == "first":
        return _first(asking, one)
    if given in (None, "package"):
        stored = asking.ledger.baseline(one.model_ids)
        if stored is not None:
            says = {"kind": "package", "count": stored.get("count", 0), "since": None, "until": None, "version": None}
            return Baseline(says, stored.get("columns", {}))
        if given is None:
            return _first(asking, one)
        _refuse("This version's package has no baseline.json: send baseline=first, or a span of time.")
    if given.startswith(_OTHER_VERSION):
        return _version(asking, others, given.removeprefix(_OTHER_VERSION))
    since, slash, until = given.partition("/")
    if not slash:
        _refuse(f"{_FORMS}.")
    return _span(asking, one, _time(since), _time(until))


def _first(asking: Asking, one: ModelVersion) -> Baseline:
    found = asking.ledger.first_predictions(one.model_ids, count=FIRST, user_id=asking.user_id)
    if found is None:
        return Baseline({"kind": "first", "count": 0, "since": None, "until": None, "version": None}, {})
    since, last, _ = found
    return _counted(asking, one, since, last + _MICROSECOND, kind="first")


def _version(asking: Asking, others: list[ModelVersion], version: str) -> Baseline:
    for other in others:
        if other.version == version:
            counted = _counted(asking, other, *EVER, kind="version")
            return counted._replace(says=counted.says | {"version": version, "since": None, "until": None})
    there = ", ".join(repr(other.version[:100]) for other in others[:20])
    raise Problem(HTTPStatus.NOT_FOUND, f"There is no version {version[:100]!r} of this model: it has {there}.")


def _span(asking: Asking, one: ModelVersion, since: datetime, until: datetime) -> Baseline:
    if since >= until:
        _refuse(f"{_FORMS}; in a span, the first time must be before the second.")
    return _counted(asking, one, max(since, EVER[0]), min(until, EVER[1]), kind="span")


def _counted(asking: Asking, one: ModelVersion, since: datetime, until: datetime, *, kind: str) -> Baseline:
    rows = asking.ledger.summary(
        model_ids=one.model_ids, since=since, until=until, measures=("status", *COLUMNS), user_id=asking.user_id
    )
    measures = merged(rows)
    count = measures.get("status", {}).get("succeeded", 0)
    columns = {name: counts for name, counts in measures.items() if name != "status"}
    return Baseline({"kind": kind, "count": count, "since": since, "until": until, "version": None}, columns)


def _time(text: str) -> datetime:
    try:
        moment: datetime | None = TypeAdapter(Time).validate_python(text)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]["msg"]
        _refuse(f"{_FORMS}: {text[:100]!r}: {fault[:1].lower()}{fault[1:]}.")
    if moment is None:
        _refuse(f"{_FORMS}.")
    return moment


def _refuse(detail: str) -> NoReturn:
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[("/baseline", "not a baseline of this version")])
