"""The models and versions that were served, and the one that a request names."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from functions.shared.api.problems import Problem
from functions.shared.ledger.statistics import ServedModel

_MOST_NAMED: Final = 20
"""The most models, and versions of each, that a refusal names."""


class ModelVersion(NamedTuple):
    """A version of a model. It may have been served from several files, or with several settings.

    Attributes
    ----------
    name, version
        Its name and version.
    served
        The models that were served under them, the oldest registration first.
    """

    name: str
    version: str
    served: Sequence[ServedModel]

    @property
    def model_ids(self) -> list[int]:
        """The ids of the models that were served."""
        return [one.model_id for one in self.served]

    @property
    def newest(self) -> ServedModel:
        """The model that was registered last: its task and labels stand for the version."""
        return self.served[-1]


def versions(served: Sequence[ServedModel]) -> list[ModelVersion]:
    """Return all versions, by name and version."""
    found: dict[tuple[str, str], list[ServedModel]] = {}
    for one in served:
        found.setdefault((one.name, one.version), []).append(one)
    return [ModelVersion(name, version, models) for (name, version), models in found.items()]


def selected(served: Sequence[ServedModel], name: str | None, version: str | None) -> list[ModelVersion]:
    """Return the versions with a name and a version, of which None matches any.

    Raises
    ------
    Problem
        404 if there is none. It names those that exist.
    """
    every = versions(served)
    found = [one for one in every if name in (None, one.name) and version in (None, one.version)]
    if not found:
        raise Problem(HTTPStatus.NOT_FOUND, _there_is(every, name, version))
    return found


def _there_is(every: Sequence[ModelVersion], name: str | None, version: str | None) -> str:
    models: dict[str, list[str]] = {}
    for one in every:
        models.setdefault(one.name, []).append(one.version)
    if not models:
        return "No model was served yet: a model is known once it has made a prediction."
    if name in models:
        return f"{_short(name)} has no version {_short(version)}: it has {_listed(models[name])}."
    wanted = f"no version {_short(version)} of any model" if name is None else f"no model {_short(name)}"
    there = [f"{_short(one)} ({_listed(those)})" for one, those in models.items()]
    more = f" and {len(there) - _MOST_NAMED} more" if len(there) > _MOST_NAMED else ""
    return f"There is {wanted}: there is {', '.join(there[:_MOST_NAMED])}{more}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"version{'s' if len(names) > 1 else ''} {', '.join(map(_short, names[:_MOST_NAMED]))}{more}"


def _short(name: str | None) -> str:
    return repr((name or "")[:100])
