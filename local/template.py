"""Functions and routes, as `template.yaml` declares them.

Only what the local server needs is read: of each `AWS::Serverless::Function` its handler, limits, environment variables
and `HttpApi` events (AWS SAM specification, "AWS::Serverless::Function" and "Globals section").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local.errors import CannotServeError

_DEFAULT_TIMEOUT = 3.0  # seconds, Lambda's own default
_DEFAULT_MEMORY = 128  # MB, likewise
_ANY = "ANY"


@dataclass(frozen=True)
class Route:
    """One route of the HTTP API. Without a path it is the `$default` route, which takes what no other takes."""

    method: str
    path: str | None

    @property
    def key(self) -> str:
        """The route as API Gateway writes it: `GET /prediction/{prediction_id}`."""
        return "$default" if self.path is None else f"{self.method} {self.path}"


@dataclass(frozen=True)
class Function:
    """One Lambda function."""

    logical_id: str
    """Its name in the template."""

    name: str
    """Its name on Lambda: `FunctionName`, or the logical id."""

    handler: str
    """`package.module.function`."""

    timeout: float = _DEFAULT_TIMEOUT
    """Seconds that one invocation may take."""

    memory: int = _DEFAULT_MEMORY
    """Memory in MB. Told to the function, not enforced."""

    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Environment variables; None where only a deployment knows the value."""

    routes: tuple[Route, ...] = ()
    """What of the API it answers."""


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref X` becomes `{"Ref": "X"}`, `!Sub x` becomes `{"Fn::Sub": "x"}`."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: object
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]  # a node of the third and last kind
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


def read_template(path: Path) -> tuple[Function, ...]:
    """Read the functions of a SAM template.

    Raises
    ------
    CannotServeError
        If there is no such file, it is no YAML, or what it says of a function is not what SAM allows.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except OSError as error:
        raise CannotServeError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CannotServeError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise CannotServeError(f"{path}: it is no SAM template, it has no Resources")
    parameters = {
        name: parameter["Default"]
        for name, parameter in document.get("Parameters", {}).items()
        if isinstance(parameter, dict) and "Default" in parameter
    }
    shared = document.get("Globals", {}).get("Function", {})
    functions = []
    for logical_id, resource in document["Resources"].items():
        if isinstance(resource, dict) and resource.get("Type") == "AWS::Serverless::Function":
            try:
                functions.append(_function(logical_id, shared, resource.get("Properties", {}), parameters))
            except CannotServeError as error:
                raise CannotServeError(f"{path}: {logical_id}: {error}") from None
    return tuple(functions)


def _function(
    logical_id: str, shared: Mapping[str, Any], own: Mapping[str, Any], parameters: Mapping[str, object]
) -> Function:
    properties = {**shared, **own}
    handler = properties.get("Handler")
    if not isinstance(handler, str) or "." not in handler:
        raise CannotServeError("Handler must be package.module.function")
    variables = {
        **shared.get("Environment", {}).get("Variables", {}),
        **own.get("Environment", {}).get("Variables", {}),
    }
    name = _resolve(properties.get("FunctionName"), parameters)
    return Function(
        logical_id=logical_id,
        name=name if isinstance(name, str) else logical_id,
        handler=handler,
        timeout=_number("Timeout", _resolve(properties.get("Timeout"), parameters), _DEFAULT_TIMEOUT),
        memory=int(_number("MemorySize", _resolve(properties.get("MemorySize"), parameters), _DEFAULT_MEMORY)),
        environment={variable: _text(_resolve(value, parameters)) for variable, value in variables.items()},
        routes=tuple(
            _route(event.get("Properties", {}))
            for event in properties.get("Events", {}).values()
            if event.get("Type") == "HttpApi"
        ),
    )


def _route(properties: Mapping[str, Any]) -> Route:
    path, method = properties.get("Path"), properties.get("Method")
    if path is None and method is None:
        return Route(_ANY, None)
    if not isinstance(path, str) or not path.startswith("/") or not isinstance(method, str):
        raise CannotServeError("an HttpApi event needs a Path that starts with / and a Method, or neither")
    return Route(_ANY if method == "*" else method.upper(), path)


def _resolve(value: object, parameters: Mapping[str, object]) -> object:
    """Return a plain value as it is, a reference as its parameter's default, None for all else."""
    if not isinstance(value, dict):
        return value
    return parameters.get(value["Ref"]) if set(value) == {"Ref"} else None


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"  # as YAML writes them, and so as CloudFormation passes them on
    return str(value) if isinstance(value, str | int | float) else None


def _number(name: str, value: object, default: float) -> float:
    if value is None:
        return default
    try:
        number = float(str(value))
    except ValueError:
        number = 0
    if not number > 0:
        raise CannotServeError(f"{name} must be a number above 0")
    return number
