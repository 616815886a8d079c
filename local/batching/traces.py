"""Traces of requests and batches, through OpenTelemetry and its own variables, `OTEL_*`.

They are off, and nothing of OpenTelemetry is imported, unless `OTEL_TRACES_EXPORTER` or an endpoint to export to is set
(OpenTelemetry, "SDK environment variables" and "OTLP exporter configuration").

A request has a span, the child of the caller's if that sends a `traceparent` (W3C, "Trace Context"). A batch has a span
of its own, with a link to each of its requests, as OpenTelemetry has it for work that many traces cause ("Links between
spans"), and below it one for each stage.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from local.errors import CannotServeError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

_NAME: Final = "onnx-ledger"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVER_ERROR = 500
_SPAN: Final = "onnx_ledger.span"
"""Where an ASGI scope has the span of its request."""


class Batch:
    """The span of a batch. This class records nothing: it is the one where traces are off."""

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the span."""

    def stages(self, *stages: tuple[str, float]) -> None:
        """Record stages that have just ended, one after the other: each one's name, and how many seconds it took."""


class Traces:
    """Makes spans. This class makes none that record anything: it is the one where traces are off."""

    record = False
    """Whether it does make some."""

    def begin(self, scope: dict[str, Any]) -> None:
        """Begin the span of a request, below the caller's if the headers of the ASGI scope name it."""

    def end(self, scope: dict[str, Any], route: str, status: int) -> None:
        """End it with the route, as `POST /prediction`, and the status that was answered."""

    def batch(self, scopes: Iterable[dict[str, Any]], inputs: int) -> Batch:  # noqa: ARG002 - as above
        """Begin the span of a batch of so many inputs, with links to its requests. Any thread may use it."""
        return _NO_BATCH

    def shut_down(self) -> None:
        """Export what is left. Call it at the end of the process."""


_NO_BATCH: Final = Batch()


def of_this_process(environment: Mapping[str, str] = os.environ) -> Traces:
    """Return what a worker process traces with. Call it once in each process, after it was started.

    Raises
    ------
    CannotServeError
        As in `exporters`.
    """
    found = exporters(environment)
    return _exporting([make() for make in found]) if found else Traces()


def exporters(environment: Mapping[str, str] = os.environ) -> list[Callable[[], "SpanExporter"]]:
    """Return what makes the exporters that the variables ask for; nothing if traces are off.

    Raises
    ------
    CannotServeError
        If one is not installed.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    asked = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(environment.get, _ENDPOINTS)) else "none")
    names = [name for text in asked.split(",") if (name := text.strip()) and name != "none"]
    return [_exporter(name, environment) for name in names]


def _exporter(name: str, environment: Mapping[str, str]) -> Callable[[], "SpanExporter"]:
    """Return an exporter by the name that it has in `OTEL_TRACES_EXPORTER`, as a package announces it."""
    from importlib.metadata import entry_points

    if name == "otlp":
        protocol = (
            environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
            or "http/protobuf"
        )
        name = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}.get(protocol, f"otlp with {protocol}")
    found = {point.name: point for point in entry_points(group="opentelemetry_traces_exporter")}
    if name not in found:
        raise CannotServeError(
            f"OTEL_TRACES_EXPORTER: there is no exporter {name}: use one of {', '.join(sorted(found))}, or install its "
            "package"
        )
    exporter: Callable[[], SpanExporter] = found[name].load()
    return exporter


def _exporting(exporters: Sequence["SpanExporter"]) -> Traces:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_BSP_… say is read by these.
    resource = Resource.create()
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": _NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return RecordedTraces(provider)


class RecordedTraces(Traces):
    """Makes spans that are exported.

    Parameters
    ----------
    provider
        What exports them.
    """

    record = True

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import propagate, trace
        from opentelemetry.context import Context

        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)
        self._extract = propagate.extract  # by OTEL_PROPAGATORS
        self._wanted = {name.encode() for name in propagate.get_global_textmap().fields}
        self._trace = trace
        self._server = trace.SpanKind.SERVER
        self._no_parent = Context()  # the current span of a thread is another request's

    def begin(self, scope: dict[str, Any]) -> None:
        """As in `Traces`."""
        wanted = self._wanted
        carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in wanted}
        scope[_SPAN] = self._tracer.start_span(
            scope["method"],
            self._extract(carrier) if carrier else self._no_parent,
            self._server,
            {
                "http.request.method": scope["method"],
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
                "client.address": scope["client"][0] if scope["client"] else "",
            },
        )

    def end(self, scope: dict[str, Any], route: str, status: int) -> None:
        """As in `Traces`."""
        span: Span = scope[_SPAN]
        span.update_name(route)
        span.set_attributes({"http.route": route.partition(" ")[2], "http.response.status_code": status})
        if status >= _SERVER_ERROR:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def batch(self, scopes: Iterable[dict[str, Any]], inputs: int) -> Batch:
        """As in `Traces`."""
        links = [self._trace.Link(scope[_SPAN].get_span_context()) for scope in scopes]
        attributes = {"onnx_ledger.inputs": inputs}
        return _RecordedBatch(
            self._tracer, self._tracer.start_span("batch", self._no_parent, attributes=attributes, links=links)
        )

    def shut_down(self) -> None:
        """As in `Traces`."""
        self._provider.shutdown()


class _RecordedBatch(Batch):
    def __init__(self, tracer: "Tracer", span: "Span") -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span)

    def __exit__(self, *_: object) -> None:
        self._span.end()

    def stages(self, *stages: tuple[str, float]) -> None:
        begins = time.time_ns() - sum(_nanoseconds(seconds) for _, seconds in stages)
        for name, seconds in stages:
            span = self._tracer.start_span(name, self._context, start_time=begins)
            begins += _nanoseconds(seconds)
            span.end(begins)


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
