"""What can be seen of a running server: metrics of all its processes, traces, and who is believed to call."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from local.services.postgres import EmbeddedPostgres
from tests.support.collector import Collector
from tests.support.judging import move_to
from tests.support.local_server import LocalServer
from tests.support.ports import free_port
from tests.support.repository import DIGIT
from tests.support.waiting import soon

pytestmark = pytest.mark.server

PATIENCE = 120.0  # seconds
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Watched:
    """A server that is watched."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.metrics_port = free_port()
        self.collector = Collector()
        self._server = LocalServer(
            home,
            SERVER="batching",
            WORKERS="2",
            METRICS_PORT=str(self.metrics_port),
            OTEL_EXPORTER_OTLP_ENDPOINT=self.collector.endpoint,
            **environment,
        )

    def __enter__(self) -> "Watched":
        self.collector.__enter__()
        self.client = httpx.Client(base_url=self._server.start().address, timeout=PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.clean_up()
        self.collector.__exit__(None, None, None)

    def stop(self) -> None:
        assert self._server.stop() == 0, self._server.output

    def predict(self, **headers: str) -> httpx.Response:
        return self.client.post("/prediction", files={"file": DIGIT.read_bytes()}, headers=headers)

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def counted(self, name: str, /, **labels: str) -> float:
        return self.metrics().get((name, frozenset(labels.items())), 0)


@pytest.fixture(scope="module")
def watched(database_home: Path) -> Iterator[Watched]:
    with Watched(database_home, FORWARDED_ALLOW_IPS="127.0.0.1") as server:
        yield server


def attributes(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value for one in span.attributes}


def test_predictions_refusals_and_batches_are_counted_whatever_process_answers(watched: Watched) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: watched.predict().status_code, range(24)))
    assert answers == [201] * 24
    refused = watched.client.post("/prediction", content=b"no image", headers={"content-type": "image/png"})
    assert refused.status_code == 400
    assert watched.client.get("/prediction/019ab5a4-2f7c-7e11-8a4b-3f0c5d6e7f80").status_code == 404
    assert watched.client.get("/nothing/like/this").status_code == 404

    found = watched.metrics()

    def of(name: str, /, **labels: str) -> float | None:
        return found.get((name, frozenset(labels.items())))

    assert of("onnx_ledger_predictions_total") == 24
    assert of("onnx_ledger_responses_total", route="POST /prediction", status="201") == 24
    assert of("onnx_ledger_responses_total", route="POST /prediction", status="400") == 1
    assert of("onnx_ledger_responses_total", route="GET /prediction/{prediction_id}", status="404") == 1
    assert of("onnx_ledger_responses_total", route="GET *", status="404") == 1
    assert of("onnx_ledger_refusals_total", kind="UndecodableImage") == 1
    assert of("onnx_ledger_batch_inputs_sum") == 25
    assert (of("onnx_ledger_batch_inputs_count") or 0) >= 2
    for stage in ("queue", "decode", "run", "store"):
        assert (of("onnx_ledger_stage_seconds_count", stage=stage) or 0) >= 1
    [model] = [dict(labels) for (name, labels) in found if name == "onnx_ledger_model"]
    assert (model["name"], model["provider"]) == ("mnist", "CPUExecutionProvider")
    assert of("onnx_ledger_connections", state="idle") is not None


def test_queued_predictions_are_counted_once_they_come_to_an_end(watched: Watched) -> None:
    before = watched.counted("onnx_ledger_predictions_total")
    good = watched.predict(prefer="respond-async")
    cut_off = DIGIT.read_bytes()[:-30]
    bad = watched.client.post("/prediction", files={"file": cut_off}, headers={"prefer": "respond-async"})
    assert (good.status_code, bad.status_code) == (202, 202)
    until = time.monotonic() + PATIENCE
    for answer, status in ((good, "succeeded"), (bad, "failed")):
        while watched.client.get(answer.headers["location"]).json()["status"] != status:
            assert time.monotonic() < until
            time.sleep(0.05)
        # The thread that commits counts afterwards.
        while not watched.counted("onnx_ledger_queued_predictions_total", status=status):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert watched.counted("onnx_ledger_queued_predictions_total", status=status) == 1
    assert watched.counted("onnx_ledger_predictions_total") == before + 1


def test_what_a_caller_may_not_know_is_not_on_the_port_of_the_api(watched: Watched) -> None:
    assert watched.client.get("/metrics").status_code == 404


def test_addresses_of_callers_are_those_that_a_trusted_proxy_names(watched: Watched, database_home: Path) -> None:
    forwarded = {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    trusted = watched.predict(**forwarded, traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    assert trusted.headers["location"] == f"/prediction/{trusted.json()['prediction_id']}"
    assert "evil" not in json.dumps([trusted.json(), *trusted.headers.items()])
    watched.stop()  # which exports what is left
    spans = {span.span_id: span for span in watched.collector.spans()}
    [request] = [span for span in spans.values() if span.trace_id.hex() == TRACE]
    assert (attributes(request)["client.address"], attributes(request)["url.scheme"]) == ("192.0.2.7", "https")
    # The batch that answered it has a link to it, and its stages below it.
    [batch] = [span for span in spans.values() if request.span_id in {link.span_id for link in span.links}]
    assert {span.name for span in spans.values() if span.parent_span_id == batch.span_id} == {"decode", "run", "store"}

    with Watched(database_home, FORWARDED_ALLOW_IPS="192.0.2.1") as other:
        other.predict(**forwarded)
        other.stop()
        [request] = [span for span in other.collector.spans() if span.name == "POST /prediction"]
    assert (attributes(request)["client.address"], attributes(request)["url.scheme"]) == ("127.0.0.1", "http")


def test_how_each_version_does_is_told_once_its_hours_are_rolled_up(own_home: Path) -> None:
    with Watched(own_home) as server:
        ids = [server.predict().json()["prediction_id"] for _ in range(60)]
        server.stop()

    # With no server at work, which would begin a rollup itself as soon as it finds that none was begun.
    with (
        EmbeddedPostgres(own_home / "postgres") as postgres,
        closing(Connection(parse_database_url(postgres.url), longest=60)) as connection,
    ):
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        move_to(lambda sql, **values: connection.run(sql, values), ids, hour - timedelta(hours=2))
        connection.run("DELETE FROM rolled_until", {})  # rows do not move from hour to hour, so nothing marks that
        connection.run("DELETE FROM schedule", {})  # so that the next server begins with a rollup

    with Watched(own_home) as server:
        version = frozenset({("name", "mnist"), ("version", "1")})
        assert soon(lambda: ("onnx_ledger_coverage", version) in server.metrics(), PATIENCE)
        found = server.metrics()
        server.stop()

    assert found["onnx_ledger_coverage", version] == 0
    assert found["onnx_ledger_failure_share", frozenset()] == 0
    assert ("onnx_ledger_accuracy", version) not in found  # nothing is judged
    assert found["onnx_ledger_drifted", version | {("column", "label")}] == 1  # they are all the same seven


def test_refusals_for_want_of_a_token_are_counted(database_home: Path) -> None:
    with Watched(database_home, AUTH="on") as server:
        assert server.predict().status_code == 401
        assert server.counted("onnx_ledger_refusals_total", kind="token") == 1
        assert server.counted("onnx_ledger_responses_total", route="POST /prediction", status="401") == 1
