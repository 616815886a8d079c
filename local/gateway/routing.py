"""Selects the route of a request, by the rules of API Gateway's HTTP APIs.

A full match has priority over a path variable, a path variable over a greedy one (`{proxy+}`), and `$default` matches
the rest (AWS, "Create routes for HTTP APIs in API Gateway"). `ANY` matches the methods for which the path has no route.
As on AWS, a GET route does not answer HEAD, no response is 405, and a path with a trailing slash is another path.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from local.template import Route

Target = TypeVar("Target")


@dataclass(frozen=True, slots=True)
class Match(Generic[Target]):
    """The route that matches a request."""

    route_key: str
    target: Target
    path_parameters: dict[str, str]
    needs_token: bool


class Router(Generic[Target]):
    """The routes of an API, each with its target.

    Parameters
    ----------
    routes
        Pairs of a route and its target, such as the function behind it.
    """

    def __init__(self, routes: Iterable[tuple[Route, Target]]) -> None:
        by_path: dict[str, dict[str, Match[Target]]] = {}
        self._default: Match[Target] | None = None
        for route, target in routes:
            match = Match(route.key, target, {}, route.needs_token)
            if route.path is None:
                self._default = match
            else:
                by_path.setdefault(route.path, {})[route.method] = match
        self._exact = {path: methods for path, methods in by_path.items() if "{" not in path}
        self._patterns = [
            (_pattern(path), by_path[path]) for path in sorted(by_path, key=_specificity) if path not in self._exact
        ]

    def match(self, method: str, path: str) -> Match[Target] | None:
        """Return the route for a method and a decoded path, or None if no route matches."""
        methods = self._exact.get(path)
        if methods is not None and (match := methods.get(method) or methods.get("ANY")):
            return match
        for pattern, methods in self._patterns:
            if (found := pattern.fullmatch(path)) and (match := methods.get(method) or methods.get("ANY")):
                return Match(match.route_key, match.target, found.groupdict(), match.needs_token)
        return self._default


_VARIABLE = re.compile(r"\{([A-Za-z_]\w*)(\+?)\}")


def _pattern(path: str) -> re.Pattern[str]:
    # split() returns literal text, name, plus, literal text, name, plus, ...
    literal, *rest = _VARIABLE.split(path)
    pattern = re.escape(literal)
    for name, plus, text in zip(rest[0::3], rest[1::3], rest[2::3], strict=True):
        pattern += f"(?P<{name}>{'.+' if plus else '[^/]+'}){re.escape(text)}"
    return re.compile(pattern, re.DOTALL)


def _specificity(path: str) -> tuple[int, ...]:
    """Sort key, segment by segment: literal text, then a variable, then a greedy variable."""
    return tuple(2 if part.endswith("+}") else 1 if "{" in part else 0 for part in path.split("/"))
