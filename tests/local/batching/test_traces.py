"""Traces: spans of requests and of the batches that answer them, exported as OpenTelemetry's variables say."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from local.batching.traces import RecordedTraces, Traces, of_this_process
from local.errors import CannotServeError
from tests.support.collector import Collector
from tests.support.repository import ROOT

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = [(b"host", b"x"), (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exported: InMemorySpanExporter) -> Iterator[RecordedTraces]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    traces = RecordedTraces(provider)
    yield traces
    traces.shut_down()


def request(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """A request's ASGI scope."""
    return {"method": method, "path": path, "headers": headers, "scheme": "https", "client": ("192.0.2.7", 50000)}


def spans(exported: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exported.get_finished_spans()}


def test_the_span_of_a_request_continues_the_callers_trace(
    traces: RecordedTraces, exported: InMemorySpanExporter
) -> None:
    scope = request("GET", "/prediction/019ab5a4", HEADERS)
    traces.begin(scope)
    traces.end(scope, "GET /prediction/{prediction_id}", 200)

    span = spans(exported)["GET /prediction/{prediction_id}"]

    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.kind is SpanKind.SERVER
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "url.path": "/prediction/019ab5a4",
        "url.scheme": "https",
        "client.address": "192.0.2.7",
        "http.route": "/prediction/{prediction_id}",
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"00-0-0-01", b"\xff", b"00-" + b"0" * 32 + b"-" + b"0" * 16])
def test_without_a_valid_traceparent_a_request_begins_a_trace(
    traces: RecordedTraces, exported: InMemorySpanExporter, value: bytes | None
) -> None:
    scope = request("GET", "/", [] if value is None else [(b"traceparent", value)])
    traces.begin(scope)
    traces.end(scope, "GET /", 200)
    assert spans(exported)["GET /"].parent is None


@pytest.mark.parametrize(
    ("status", "code"), [(201, StatusCode.UNSET), (422, StatusCode.UNSET), (503, StatusCode.ERROR)]
)
def test_an_error_of_the_server_is_one_of_its_span(
    traces: RecordedTraces, exported: InMemorySpanExporter, status: int, code: StatusCode
) -> None:
    scope = request("POST", "/prediction", [])
    traces.begin(scope)
    traces.end(scope, "POST /prediction", status)
    assert spans(exported)["POST /prediction"].status.status_code is code


def test_the_span_of_a_batch_links_its_requests_and_has_the_stages_below(
    traces: RecordedTraces, exported: InMemorySpanExporter
) -> None:
    first, second = request("POST", "/prediction", HEADERS), request("POST", "/predictions", [])
    for scope in (first, second):
        traces.begin(scope)

    def work() -> None:
        with traces.batch([first, second], 5) as batch:
            batch.stages(("decode", 0.25), ("run", 0.5))
            batch.stages(("store", 0.125))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    for scope in (first, second):
        traces.end(scope, f"POST {scope['path']}", 201)

    found = spans(exported)
    batch = found["batch"]
    assert batch.parent is None
    linked = {link.context.span_id for link in batch.links}
    assert linked == {found[name].context.span_id for name in ("POST /prediction", "POST /predictions")}
    assert dict(batch.attributes or {}) == {"onnx_ledger.inputs": 5}
    for stage, seconds in (("decode", 0.25), ("run", 0.5), ("store", 0.125)):
        span = found[stage]
        assert span.parent is not None
        assert span.parent.span_id == batch.context.span_id
        assert (span.end_time or 0) - (span.start_time or 0) == seconds * 1e9
    assert found["decode"].end_time == found["run"].start_time


USE = f"""
import sys
from local.batching.traces import of_this_process
traces = of_this_process()
headers = [(b"traceparent", b"00-{TRACE}-{PARENT}-01")]
scope = {{"method": "GET", "path": "/", "headers": headers, "scheme": "http", "client": None}}
traces.begin(scope)
with traces.batch([scope], 1) as batch:
    batch.stages(("decode", 0.001))
traces.end(scope, "GET /", 200)
traces.shut_down()
"""


def run_with(**variables: str) -> str:
    environment = {"PYTHONPATH": str(ROOT), **variables}
    script = f"{USE}\nprint([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_SERVICE_NAME": "x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
    ids=str,
)
def test_unless_the_variables_ask_for_them_there_are_no_traces_and_nothing_is_imported(
    variables: dict[str, str],
) -> None:
    assert type(of_this_process(variables)) is Traces
    assert run_with(**variables) == "[]\n"


def test_an_exporter_that_is_not_there_is_named() -> None:
    for variables, named in (
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp_proto_grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "http/json"),
    ):
        with pytest.raises(CannotServeError, match=f"there is no exporter .*{named}: use one of"):
            of_this_process(variables)


@pytest.mark.server
def test_spans_are_exported_to_the_endpoint_before_the_process_ends(
    collector: Collector,
) -> None:
    run_with(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test"
    )

    [request] = collector.received
    [resource] = request.resource_spans
    found = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert found["service.name"] == "onnx-ledger"
    assert found["deployment.environment.name"] == "test"
    [scope] = resource.scope_spans
    assert {span.name for span in scope.spans} == {"GET /", "batch", "decode"}
    assert TRACE in {span.trace_id.hex() for span in scope.spans}


@pytest.mark.server
def test_service_name_and_sampler_are_those_of_the_variables(
    collector: Collector,
) -> None:
    run_with(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.endpoint}/v1/traces", OTEL_SERVICE_NAME="digits")
    [request] = collector.received
    names = {one.key: one.value.string_value for one in request.resource_spans[0].resource.attributes}
    assert names["service.name"] == "digits"
    run_with(OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_TRACES_SAMPLER="always_off")
    assert len(collector.received) == 1
