"""Functions, routes and queues, as `template.yaml` declares them.

Only what the local server needs is read: of each `AWS::Serverless::Function` its handler, limits, environment variables
and its `HttpApi`, `SQS` and `Schedule` events (AWS SAM specification, "AWS::Serverless::Function" and "Globals
section"), and of each `AWS::SQS::Queue` when its messages come again, and when no more.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local.errors import CannotServeError

_DEFAULT_TIMEOUT = 3.0  # seconds, Lambda's own default
_DEFAULT_MEMORY = 128  # MB, likewise
_DEFAULT_BATCH = 10  # messages, likewise
_DEFAULT_VISIBILITY = 30.0  # seconds, SQS's own default
_ANY = "ANY"
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class Route:
    """One route of the HTTP API. Without a path it is the `$default` route, which takes what no other takes."""

    method: str
    path: str | None

    needs_token: bool = field(default=False, kw_only=True)
    """Whether the API's authorizer stands before it."""

    @property
    def key(self) -> str:
        """The route as API Gateway writes it: `GET /prediction/{prediction_id}`."""
        return "$default" if self.path is None else f"{self.method} {self.path}"


@dataclass(frozen=True)
class QueueSource:
    """A queue whose messages a function is given: an event source mapping."""

    queue: str
    """The queue's name in the template."""

    batch_size: int = _DEFAULT_BATCH
    """Messages that one event has at most."""

    window: float = 0.0
    """Seconds to wait for so many."""

    reports_failures: bool = False
    """Whether the function says which messages it failed on; otherwise it fails on all of a batch or on none."""


@dataclass(frozen=True)
class Queue:
    """One SQS queue."""

    logical_id: str
    """Its name in the template."""

    visibility_timeout: float = _DEFAULT_VISIBILITY
    """Seconds after which a message that was received and not deleted can be received again."""

    dead_letters: str | None = None
    """The queue, by its name in the template, for messages that were received too often."""

    receives: int | None = None
    """How often is often enough."""


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

    source: QueueSource | None = None
    """The queue whose messages it is given."""

    period: float | None = None
    """Seconds from one run on its schedule to the next; None where it has no schedule."""


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
    document, parameters = _read(path)
    shared = document.get("Globals", {}).get("Function", {})
    closed = _closed_apis(document)
    functions = []
    for logical_id, resource in document["Resources"].items():
        if isinstance(resource, dict) and resource.get("Type") == "AWS::Serverless::Function":
            try:
                functions.append(_function(logical_id, shared, resource.get("Properties", {}), parameters, closed))
            except CannotServeError as error:
                raise CannotServeError(f"{path}: {logical_id}: {error}") from None
    return tuple(functions)


def read_queues(path: Path) -> tuple[Queue, ...]:
    """Read the queues of a SAM template. Raises `CannotServeError` as `read_template` does."""
    document, parameters = _read(path)
    return tuple(
        _queue(logical_id, resource.get("Properties", {}), parameters)
        for logical_id, resource in document["Resources"].items()
        if isinstance(resource, dict) and resource.get("Type") == "AWS::SQS::Queue"
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, object]]:
    """Return a template and the defaults of its parameters."""
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
    return document, parameters


def _closed_apis(document: Mapping[str, Any]) -> frozenset[str | None]:
    """Return the HTTP APIs with a default authorizer, by logical id; None is the one that SAM makes by itself."""
    apis: dict[str | None, Mapping[str, Any]] = {None: document.get("Globals", {}).get("HttpApi", {})}
    for logical_id, resource in document["Resources"].items():
        if isinstance(resource, dict) and resource.get("Type") == "AWS::Serverless::HttpApi":
            apis[logical_id] = {**apis[None], **resource.get("Properties", {})}
    return frozenset(name for name, properties in apis.items() if properties.get("Auth", {}).get("DefaultAuthorizer"))


def _function(
    logical_id: str,
    shared: Mapping[str, Any],
    own: Mapping[str, Any],
    parameters: Mapping[str, object],
    closed: Container[str | None],
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
        routes=tuple(_route(event, closed) for event in _events(properties, "HttpApi")),
        source=next((_source(event, parameters) for event in _events(properties, "SQS")), None),
        period=next((_period(event) for event in _events(properties, "Schedule") if event), None),
    )


def _events(properties: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    return (event.get("Properties", {}) for event in properties.get("Events", {}).values() if event.get("Type") == kind)


def _source(properties: Mapping[str, Any], parameters: Mapping[str, object]) -> QueueSource:
    return QueueSource(
        queue=_resource(properties.get("Queue")),
        batch_size=int(_number("BatchSize", _resolve(properties.get("BatchSize"), parameters), _DEFAULT_BATCH)),
        window=_number(
            "MaximumBatchingWindowInSeconds",
            _resolve(properties.get("MaximumBatchingWindowInSeconds"), parameters),
            QueueSource.window,
        ),
        reports_failures="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
    )


def _period(properties: Mapping[str, Any]) -> float:
    match = _RATE.fullmatch(str(properties.get("Schedule")))
    if match is None:
        raise CannotServeError("only a Schedule like rate(5 minutes) can be run here")
    return int(match[1]) * _SECONDS[match[2]]


def _queue(logical_id: str, properties: Mapping[str, Any], parameters: Mapping[str, object]) -> Queue:
    visibility = _resolve(properties.get("VisibilityTimeout"), parameters)
    redrive = properties.get("RedrivePolicy")
    return Queue(
        logical_id=logical_id,
        visibility_timeout=_number("VisibilityTimeout", visibility, _DEFAULT_VISIBILITY),
        dead_letters=_resource(redrive["deadLetterTargetArn"]) if redrive else None,
        receives=int(redrive["maxReceiveCount"]) if redrive else None,
    )


def _resource(value: object) -> str:
    """Return the name of the resource whose ARN is meant by `!GetAtt Name.Arn`."""
    attribute = value.get("Fn::GetAtt") if isinstance(value, dict) else None
    name, _, what = (".".join(attribute) if isinstance(attribute, list) else str(attribute)).partition(".")
    if what != "Arn":
        raise CannotServeError("a queue must be named by !GetAtt Name.Arn")
    return name


def _route(properties: Mapping[str, Any], closed: Container[str | None]) -> Route:
    path, method = properties.get("Path"), properties.get("Method")
    api, authorizer = properties.get("ApiId"), properties.get("Auth", {}).get("Authorizer")
    if isinstance(api, dict):
        api = api.get("Ref")
    needs_token = api in closed if authorizer is None else authorizer != "NONE"
    if path is None and method is None:
        return Route(_ANY, None, needs_token=needs_token)
    if not isinstance(path, str) or not path.startswith("/") or not isinstance(method, str):
        raise CannotServeError("an HttpApi event needs a Path that starts with / and a Method, or neither")
    return Route(_ANY if method == "*" else method.upper(), path, needs_token=needs_token)


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
