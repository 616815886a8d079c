"""Traces of requests and batches, through OpenTelemetry and its own variables, `OTEL_*`.

They are off, and nothing of OpenTelemetry is imported, unless `OTEL_TRACES_EXPORTER` or an endpoint to export to is set
(OpenTelemetry, "SDK environment variables" and "OTLP exporter configuration").

A request has a span, the child of the caller's if that sends a `traceparent` (W3C, "Trace Context"). A batch has a span
of its own, with a link to each of its requests, as OpenTelemetry has it for work that many traces cause ("Links between
spans"), and below it one for each stage.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from local.errors import CannotServeError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

_NAME: Final = "onnx-ledger"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVER_ERROR = 500


class RequestSpan:
    """The span of a request. This class records nothing: it is the one where traces are off."""

    def end(self, route: str, status: int) -> None:
        """End the span with the route, as `POST /prediction`, and the status that was answered."""


class BatchSpan:
    """The span of a batch. This class records nothing: it is the one where traces are off."""

    def stage(self, name: str) -> contextlib.AbstractContextManager[object]:
        """Return a span below the batch's for the time within: `decode`, `run` or `store`."""
        return _NO_STAGE

    def end(self) -> None:
        """End the span."""


class Traces:
    """Makes spans. This class makes none that record anything: it is the one where traces are off."""

    def request(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> RequestSpan:
        """Begin the span of a request, below the caller's if the ASGI scope's headers name it."""
        return _NO_REQUEST

    def batch(self, requests: Sequence[RequestSpan], inputs: int) -> BatchSpan:
        """Begin the span of a batch of so many inputs, with links to its requests. Any thread may use it."""
        return _NO_BATCH

    def shut_down(self) -> None:
        """Export what is left. Call it at the end of the process."""


_NO_STAGE: Final = contextlib.nullcontext()
_NO_REQUEST: Final = RequestSpan()
_NO_BATCH: Final = BatchSpan()


def of_this_process(environment: Mapping[str, str] = os.environ) -> Traces:
    """Return what a worker process traces with. Call it once in each process, after it was forked.

    Raises
    ------
    CannotServeError
        If the exporter that the variables ask for is not installed, or cannot be set up.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Traces()
    asked = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(environment.get, _ENDPOINTS)) else "none")
    names = [name for text in asked.split(",") if (name := text.strip()) and name != "none"]
    return _exporting([_exporter(name, environment) for name in names]) if names else Traces()


def _exporter(name: str, environment: Mapping[str, str]) -> "SpanExporter":
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
    exporter: SpanExporter = found[name].load()()
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

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import propagate, trace
        from opentelemetry.trace import SpanKind

        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)
        self._extract = propagate.extract  # by OTEL_PROPAGATORS
        self._wanted = {name.encode() for name in propagate.get_global_textmap().fields}
        self._trace = trace
        self._server = SpanKind.SERVER

    def request(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> RequestSpan:
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in self._wanted}
        return _RecordedRequest(
            self._tracer.start_span(
                method,
                self._extract(carrier) if carrier else None,
                self._server,
                {"http.request.method": method, "url.path": path},
            )
        )

    def batch(self, requests: Sequence[RequestSpan], inputs: int) -> BatchSpan:
        links = [
            self._trace.Link(request.span.get_span_context())
            for request in requests
            if isinstance(request, _RecordedRequest)
        ]
        context = self._trace.Context()  # no parent: the current span of this thread is another's
        span = self._tracer.start_span("batch", context, attributes={"onnx_ledger.inputs": inputs}, links=links)
        return _RecordedBatch(self, span)

    def below(self, span: "Span", name: str) -> contextlib.AbstractContextManager[object]:
        """Return a span below another for the time within."""
        return self._tracer.start_as_current_span(name, self._trace.set_span_in_context(span))

    def shut_down(self) -> None:
        self._provider.shutdown()


class _RecordedRequest(RequestSpan):
    def __init__(self, span: "Span") -> None:
        self.span = span

    def end(self, route: str, status: int) -> None:
        from opentelemetry.trace import StatusCode

        self.span.update_name(route)
        self.span.set_attributes({"http.route": route.partition(" ")[2], "http.response.status_code": status})
        if status >= _SERVER_ERROR:
            self.span.set_status(StatusCode.ERROR)
        self.span.end()


class _RecordedBatch(BatchSpan):
    def __init__(self, traces: RecordedTraces, span: "Span") -> None:
        self._traces = traces
        self._span = span

    def stage(self, name: str) -> contextlib.AbstractContextManager[object]:
        return self._traces.below(self._span, name)

    def end(self) -> None:
        self._span.end()
