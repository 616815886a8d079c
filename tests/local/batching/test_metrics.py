"""`GET /metrics`: what all worker processes count, in Prometheus' text form, on a port of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from local.batching.metrics import Metrics, exposed, of_this_process
from local.errors import CannotServeError
from tests.support.ports import free_port
from tests.support.repository import ROOT

pytestmark = pytest.mark.server

COUNTING = """
from functions.shared.ledger.records import ModelIdentity
from functions.shared.prediction.watching import Figures, VersionFigures
from local.batching.metrics import of_this_process
counted = of_this_process()
counted.model_info(ModelIdentity("mnist", "1", "ab", None, "classification", "CPUExecutionProvider", {}))
counted.pool(2, 1)
for _ in range(2):
    counted.answered("POST /prediction", 201, 0.003)
counted.answered("POST /prediction", 503, 0.001)
counted.refused("queue_full")
counted.failed("database")
counted.batch(2)
counted.queued(5)
counted.predicted(2)
for stage in ("queue", "decode", "run", "store"):
    counted.seconds(stage, 0.002)
"""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def metrics(port: int) -> Iterator[str]:
    """The URL of the metrics of the processes that a test starts."""
    with exposed("127.0.0.1", port):
        yield f"http://127.0.0.1:{port}/metrics"


def count(more: str = "") -> None:
    subprocess.run([sys.executable, "-c", COUNTING + more], cwd=ROOT, check=True)


def read(url: str) -> Samples:
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, /, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_what_all_processes_counted_is_summed_up_even_when_they_have_ended(metrics: str) -> None:
    count()
    count()

    found = read(metrics)

    assert of(found, "onnx_ledger_responses_total", route="POST /prediction", status="201") == 4
    assert of(found, "onnx_ledger_responses_total", route="POST /prediction", status="503") == 2
    assert of(found, "onnx_ledger_response_seconds_count", route="POST /prediction") == 6
    assert of(found, "onnx_ledger_response_seconds_bucket", route="POST /prediction", le="0.001") == 2
    assert of(found, "onnx_ledger_predictions_total") == 4
    assert of(found, "onnx_ledger_refusals_total", kind="queue_full") == 2
    assert of(found, "onnx_ledger_failures_total", kind="database") == 2
    assert of(found, "onnx_ledger_batch_inputs_bucket", le="1.0") == 0
    assert of(found, "onnx_ledger_batch_inputs_bucket", le="2.0") == 2
    assert of(found, "onnx_ledger_queued_inputs_sum") == 10
    for stage in ("queue", "decode", "run", "store"):
        assert of(found, "onnx_ledger_stage_seconds_sum", stage=stage) == pytest.approx(0.004)


def test_the_pool_and_the_model_are_those_of_processes_that_run(metrics: str) -> None:
    count()
    gone = read(metrics)
    assert of(gone, "onnx_ledger_connections", state="in_use") is None

    with subprocess.Popen(
        [sys.executable, "-c", f"{COUNTING}\nprint(flush=True)\ninput()"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        found = read(metrics)
        running.communicate(b"\n")

    assert of(found, "onnx_ledger_connections", state="in_use") == 1
    assert of(found, "onnx_ledger_connections", state="idle") == 2
    labels = {"name": "mnist", "version": "1", "sha256": "ab", "provider": "CPUExecutionProvider"}
    assert of(found, "onnx_ledger_model", **labels) == 1


def test_what_was_said_of_a_version_is_not_repeated_for_ever(metrics: str) -> None:
    count('counted.figures(Figures(0.0, [VersionFigures("mnist", "1", 60, None, 0.5, {})]))')
    assert of(read(metrics), "onnx_ledger_coverage", name="mnist", version="1") == 0.5

    file = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / "figures.json"
    hour_ago = time.time() - 3600
    os.utime(file, (hour_ago, hour_ago))
    assert of(read(metrics), "onnx_ledger_coverage", name="mnist", version="1") is None


def test_promtool_finds_nothing_wrong(metrics: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool")
    count()
    text = httpx.get(metrics).content
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_earlier_runs_numbers_are_not_in_the_next(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "metrics"
    for _ in range(2):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
        with exposed("127.0.0.1", port):
            count()
            assert of(read(f"http://127.0.0.1:{port}/metrics"), "onnx_ledger_predictions_total") == 2
        assert list(folder.glob("*.db"))


def test_a_folder_that_is_made_for_a_run_is_removed_after_it(port: int) -> None:
    with exposed("127.0.0.1", port):
        folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        assert folder.is_dir()
    assert not folder.exists()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ


def test_without_a_port_nothing_is_counted_and_nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/nowhere")
    with exposed("127.0.0.1", 0):
        assert type(of_this_process()) is Metrics
        count("\nimport sys\nassert not [name for name in sys.modules if name.startswith('prometheus')]")


def test_a_port_that_cannot_be_used_is_named(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(CannotServeError, match=f"METRICS_PORT={port}"),
        exposed("127.0.0.1", port),
    ):
        pass
    (tmp_path / "file").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "file"))
    with pytest.raises(CannotServeError, match="METRICS_PORT needs it"), exposed("127.0.0.1", port):
        pass


FIGURES = """
from functions.shared.prediction.watching import ColumnDrift, Figures, VersionFigures
label, size = ColumnDrift(0.25, True), ColumnDrift(None, None)
one = VersionFigures("mnist", "1", 1000, 0.97, 0.5, {"label": label, "picture:width": size})
few = VersionFigures("mnist", "2", 4, None, 0.0, {})
"""


def test_how_each_version_does_is_what_was_said_last(metrics: str) -> None:
    assert not [name for name, _ in read(metrics) if name.startswith("onnx_ledger_accuracy")]
    count(f"{FIGURES}counted.figures(Figures(0.01, [one, few]))")

    found = read(metrics)

    version = {"name": "mnist", "version": "1"}
    assert of(found, "onnx_ledger_accuracy", **version) == 0.97
    assert of(found, "onnx_ledger_coverage", **version) == 0.5
    assert of(found, "onnx_ledger_failure_share") == 0.01
    assert of(found, "onnx_ledger_drift", **version, column="label") == 0.25
    assert of(found, "onnx_ledger_drifted", **version, column="label") == 1
    # What has no value has no sample.
    assert of(found, "onnx_ledger_drift", **version, column="picture:width") is None
    assert of(found, "onnx_ledger_accuracy", name="mnist", version="2") is None
    assert of(found, "onnx_ledger_coverage", name="mnist", version="2") == 0

    count(f"{FIGURES}counted.figures(Figures(None, [few]))")  # another process, an hour later

    found = read(metrics)
    assert of(found, "onnx_ledger_accuracy", **version) is None
    assert of(found, "onnx_ledger_drift", **version, column="label") is None
    assert of(found, "onnx_ledger_coverage", name="mnist", version="2") == 0


def test_how_versions_did_in_an_earlier_run_is_not_in_the_next(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with exposed("127.0.0.1", port):
        count(f"{FIGURES}counted.figures(Figures(0.01, [one]))")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with exposed("127.0.0.1", port):
        assert not [name for name, _ in read(f"http://127.0.0.1:{port}/metrics") if "accuracy" in name]
