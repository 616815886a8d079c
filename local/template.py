"""Reads functions, routes and queues from `template.yaml`.

The local server needs a part of it. For each `AWS::Serverless::Function` that is the handler, the limits, the
environment variables and the events `HttpApi`, `SQS` and `Schedule` (AWS SAM specification, "AWS::Serverless::Function"
and "Globals section"). For each `AWS::SQS::Queue` it is the visibility timeout and the redrive policy.
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from local.errors import CannotServeError

try:  # libyaml, which most packages of PyYAML have, reads the template in a tenth of the time
    from yaml import CSafeLoader as _SafeLoader
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

_DEFAULT_TIMEOUT = 3.0  # seconds, Lambda's default
_DEFAULT_MEMORY = 128  # MB, Lambda's default
_DEFAULT_BATCH = 10  # messages, Lambda's default
_DEFAULT_VISIBILITY = 30.0  # seconds, SQS's default
_ANY = "ANY"
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class Route:
    """A route of the HTTP API. Without a path it is the `$default` route, which matches what no other route matches."""

    method: str
    path: str | None

    needs_token: bool = field(default=False, kw_only=True)
    """Whether the API's authorizer protects it."""

    @property
    def key(self) -> str:
        """The route key in API Gateway's form: `GET /prediction/{prediction_id}`."""
        return "$default" if self.path is None else f"{self.method} {self.path}"


@dataclass(frozen=True)
class QueueSource:
    """An event source mapping from a queue to a function."""

    queue: str
    """The queue's name in the template."""

    batch_size: int = _DEFAULT_BATCH
    """The largest number of messages in one event."""

    window: float = 0.0
    """Seconds to wait for a full batch."""

    reports_failures: bool = False
    """Whether the function reports the messages that failed. If not, a batch fails or succeeds as a whole."""


@dataclass(frozen=True)
class Queue:
    """An SQS queue."""

    logical_id: str
    """Its name in the template."""

    visibility_timeout: float = _DEFAULT_VISIBILITY
    """Seconds after which SQS delivers a message again that was received and not deleted."""

    dead_letters: str | None = None
    """The name in the template of the dead-letter queue, for messages that were received too often."""

    max_receives: int | None = None
    """The number of receives after which a message goes to the dead-letter queue."""


@dataclass(frozen=True)
class Function:
    """A Lambda function."""

    logical_id: str
    """Its name in the template."""

    name: str
    """Its name on Lambda: `FunctionName`, or else the logical id."""

    handler: str
    """`package.module.function`."""

    timeout: float = _DEFAULT_TIMEOUT
    """Its timeout for one invocation, in seconds."""

    memory: int = _DEFAULT_MEMORY
    """Memory in MB. The function sees the number; nothing enforces it."""

    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Environment variables; None if only a deployment knows the value."""

    routes: tuple[Route, ...] = ()
    """The routes that it answers."""

    source: QueueSource | None = None
    """The event source mapping that invokes it, if there is one."""

    period: float | None = None
    """Seconds from one scheduled run to the next; None if it has no schedule."""


class _Loader(_SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref X` becomes `{"Ref": "X"}`, `!Sub x` becomes `{"Fn::Sub": "x"}`."""


def _intrinsic(loader: _SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: object
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]  # there is no other kind of node
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _intrinsic)


def read_template(path: Path) -> tuple[Function, ...]:
    """Read the functions of a SAM template.

    Raises
    ------
    CannotServeError
        If the file is missing or not YAML, or SAM does not allow what it says of a function.
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
    """Return a template, and the defaults of its parameters."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - _Loader is a SafeLoader
    except OSError as error:
        raise CannotServeError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CannotServeError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise CannotServeError(f"{path}: it is not a SAM template: it has no Resources")
    parameters = {
        name: parameter["Default"]
        for name, parameter in document.get("Parameters", {}).items()
        if isinstance(parameter, dict) and "Default" in parameter
    }
    return document, parameters


def _closed_apis(document: Mapping[str, Any]) -> frozenset[str | None]:
    """Return the logical ids of HTTP APIs with a default authorizer. None stands for the API that SAM adds itself."""
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
        raise CannotServeError("the local server runs only a Schedule like rate(5 minutes)")
    return int(match[1]) * _SECONDS[match[2]]


def _queue(logical_id: str, properties: Mapping[str, Any], parameters: Mapping[str, object]) -> Queue:
    visibility = _resolve(properties.get("VisibilityTimeout"), parameters)
    redrive = properties.get("RedrivePolicy")
    return Queue(
        logical_id=logical_id,
        visibility_timeout=_number("VisibilityTimeout", visibility, _DEFAULT_VISIBILITY),
        dead_letters=_resource(redrive["deadLetterTargetArn"]) if redrive else None,
        max_receives=int(redrive["maxReceiveCount"]) if redrive else None,
    )


def _resource(value: object) -> str:
    """Return `Name` of `!GetAtt Name.Arn`."""
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
        raise CannotServeError("an HttpApi event needs both a Path that starts with / and a Method, or neither")
    return Route(_ANY if method == "*" else method.upper(), path, needs_token=needs_token)


def _resolve(value: object, parameters: Mapping[str, object]) -> object:
    """Return a plain value unchanged, a parameter's default for a reference to it, and None for anything else."""
    if not isinstance(value, dict):
        return value
    return parameters.get(value["Ref"]) if set(value) == {"Ref"} else None


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"  # as CloudFormation passes booleans on
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
