"""What Prometheus may know of the server: counters and histograms of each worker process, summed up at `GET /metrics`.

They are on a port of their own, `METRICS_PORT`, as those of Triton and TorchServe are: how much is asked for, and what
fails, is nobody's business who may predict, Prometheus should need no token, and a load balancer forwards `PORT` alone.
The parent process answers, so that one answer has the numbers of all workers, also of those that have ended, and a
scrape takes no time from predictions.

Worker processes keep their numbers in files that are mapped into memory (prometheus-client, "Multiprocess Mode"); the
library decides that when it is imported, by `PROMETHEUS_MULTIPROC_DIR`. So it is imported late here, and not at all
without `METRICS_PORT`.

How the models do comes from the database and not from a process: whichever worker has read it last replaces a file
beside those. So nothing is left of a version or a column that is no longer watched.
"""

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from functions.shared.ledger.records import ModelIdentity
from functions.shared.prediction.watching import Figures, VersionFigures
from local.errors import CannotServeError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Stage = Literal["queue", "decode", "run", "store"]
"""Where a request's time goes: it waits in the queue, its input is decoded, the model runs, the rows are committed."""

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_FIGURES: Final = "figures.json"
_FIGURES_AGE: Final = 1800.0
"""Seconds after which this server says nothing of the models any more. One server of several makes each rollup, and
tells its own file: the others would go on telling what was true when they made theirs."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_INPUTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_QUEUED = (0, *_INPUTS, 2048, 4096)


class Metrics:
    """What the server counts. This class counts nothing: it is the one where metrics are off."""

    on = False
    """Whether what is counted can be seen."""

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a response.

        Parameters
        ----------
        route
            The method and the path of the route, as `POST /prediction`: not the path of the request, which has ids.
        status
            The HTTP status.
        seconds
            From the head of the request to the response.
        """

    def predicted(self, count: int) -> None:
        """Count predictions whose rows are committed."""

    def made_of_queue(self, succeeded: int, failed: int) -> None:
        """Count queued predictions whose outcomes are committed. Those that succeeded count as `predicted`, too."""

    def refused(self, kind: str) -> None:
        """Count a request that was refused, by what was wrong: `full`, `late`, `gone`, `token`, or the error's name."""

    def failed(self, kind: str) -> None:
        """Count a request that failed although nothing was wrong with it, by the name of the error."""

    def batch(self, inputs: int) -> None:
        """Count a batch of so many inputs."""

    def queued(self, length: int) -> None:
        """Count how many inputs wait in the queue when a batch is taken from it."""

    def seconds(self, stage: Stage, seconds: float) -> None:
        """Add the seconds that a batch spent in a stage; in the queue, those of the request that waited longest."""

    def pool(self, idle: int, in_use: int) -> None:
        """Set how many connections to the database of this process are idle, and how many are in use."""

    def model_info(self, model: ModelIdentity) -> None:
        """Say which model this process serves, and what runs it."""

    def figures(self, figures: Figures) -> None:
        """Say how the models do, in place of all that was said before."""


class _PrometheusMetrics(Metrics):
    on = True

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        registry = CollectorRegistry()  # only the files count: the parent process reads them
        self._answered = Counter(
            "onnx_ledger_responses", "Responses by route and status.", ("route", "status"), registry=registry
        )
        self._response_seconds = Histogram(
            "onnx_ledger_response_seconds",
            "Seconds from the head of a request to its response.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._predicted = Counter("onnx_ledger_predictions", "Predictions that are committed.", registry=registry)
        queued = Counter(
            "onnx_ledger_queued_predictions",
            "Queued predictions that came to an end, by their status.",
            ("status",),
            registry=registry,
        )
        self._queue_succeeded, self._queue_failed = queued.labels("succeeded"), queued.labels("failed")
        self._refused = Counter(
            "onnx_ledger_refusals",
            "Requests that were refused, by what was wrong with them.",
            ("kind",),
            registry=registry,
        )
        self._failed = Counter(
            "onnx_ledger_failures", "Requests that failed, by what failed.", ("kind",), registry=registry
        )
        self._batch = Histogram("onnx_ledger_batch_inputs", "Inputs of a batch.", buckets=_INPUTS, registry=registry)
        self._queued = Histogram(
            "onnx_ledger_queued_inputs",
            "Inputs that wait in the queue when a batch is taken from it.",
            buckets=_QUEUED,
            registry=registry,
        )
        stages = Histogram(
            "onnx_ledger_stage_seconds",
            "Seconds that a batch spends in a stage.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._stages: dict[Stage, Histogram] = {
            "queue": stages.labels("queue"),
            "decode": stages.labels("decode"),
            "run": stages.labels("run"),
            "store": stages.labels("store"),
        }
        connections = Gauge(
            "onnx_ledger_connections",
            "Connections to the database.",
            ("state",),
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._idle, self._in_use = connections.labels("idle"), connections.labels("in_use")
        self._model = Gauge(
            "onnx_ledger_model",
            "The model that is served; always 1.",
            ("name", "version", "sha256", "provider"),
            multiprocess_mode="livemax",
            registry=registry,
        )
        # Finding a child by its labels takes longer than counting.
        self._counters: dict[tuple[str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._answered.labels(route, str(status))
            self._histograms[route] = self._response_seconds.labels(route)
        counter.inc()
        self._histograms[route].observe(seconds)

    def predicted(self, count: int) -> None:
        self._predicted.inc(count)

    def made_of_queue(self, succeeded: int, failed: int) -> None:
        self._predicted.inc(succeeded)
        self._queue_succeeded.inc(succeeded)
        self._queue_failed.inc(failed)

    def refused(self, kind: str) -> None:
        self._refused.labels(kind).inc()

    def failed(self, kind: str) -> None:
        self._failed.labels(kind).inc()

    def batch(self, inputs: int) -> None:
        self._batch.observe(inputs)

    def queued(self, length: int) -> None:
        self._queued.observe(length)

    def seconds(self, stage: Stage, seconds: float) -> None:
        self._stages[stage].observe(seconds)

    def pool(self, idle: int, in_use: int) -> None:
        self._idle.set(idle)
        self._in_use.set(in_use)

    def model_info(self, model: ModelIdentity) -> None:
        self._model.labels(model.name, model.version, model.sha256, model.provider).set(1)

    def figures(self, figures: Figures) -> None:
        file = Path(os.environ[_FOLDER]) / _FIGURES
        written = file.with_name(f"{_FIGURES}.{os.getpid()}")
        written.write_text(json.dumps(figures))
        written.replace(file)


def of_this_process() -> Metrics:
    """Return what a worker process counts with. Call it once in each process."""
    return _PrometheusMetrics() if os.environ.get(_FOLDER) else Metrics()


@contextlib.contextmanager
def exposed(host: str, port: int) -> Iterator[None]:
    """Serve the numbers of all worker processes that are started within, at `GET /metrics`.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port; 0 serves nothing, and the workers count nothing.

    Raises
    ------
    CannotServeError
        If the address cannot be used, or the folder of the numbers cannot be written to.
    """
    if not port:
        os.environ.pop(_FOLDER, None)
        yield
        return
    with contextlib.ExitStack() as cleanup:
        folder = _make_folder(cleanup)
        os.environ[_FOLDER] = str(folder)
        cleanup.callback(os.environ.pop, _FOLDER, None)
        _serve(host, port, folder, cleanup)
        yield


def _make_folder(cleanup: contextlib.ExitStack) -> Path:
    """Return the folder of this run's numbers, without those of an earlier one."""
    named = os.environ.get(_FOLDER)
    try:
        if not named:
            return Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="onnx-ledger-metrics-")))
        folder = Path(named)
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*folder.glob("*.db"), *folder.glob(f"{_FIGURES}*")):
            file.unlink()
    except OSError as error:
        raise CannotServeError(f"{named or tempfile.gettempdir()}: {error.strerror}: METRICS_PORT needs it") from error
    return folder


def _serve(host: str, port: int, folder: Path, cleanup: contextlib.ExitStack) -> None:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector

    class _OfAllProcesses:
        """Reads the files of all processes, without the gauges of those that have ended."""

        def collect(self) -> Iterable["Metric"]:
            for file in folder.glob("gauge_live*.db"):
                pid = re.search(r"_(\d+)\.db$", file.name)
                if pid is not None and not _is_alive(int(pid[1])):
                    file.unlink(missing_ok=True)
            found: Iterable[Metric] = MultiProcessCollector(None, str(folder)).collect()  # type: ignore[no-untyped-call]
            return [*found, *_figures(folder)]

    registry = CollectorRegistry()
    registry.register(_OfAllProcesses())
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise CannotServeError(f"METRICS_PORT={port}: cannot listen on it at {host}: {error.strerror}") from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    cleanup.callback(stop)


def _figures(folder: Path) -> list["Metric"]:
    """Return what was said of the models of late. A figure that has no value has no sample."""
    from prometheus_client.metrics_core import GaugeMetricFamily

    of_version, of_column = ("name", "version"), ("name", "version", "column")
    accuracy = GaugeMetricFamily("onnx_ledger_accuracy", "Share of the judged that is right.", labels=of_version)
    coverage = GaugeMetricFamily("onnx_ledger_coverage", "Share that has a ground truth.", labels=of_version)
    failed = GaugeMetricFamily("onnx_ledger_failure_share", "Share of all that are finished that failed.", labels=())
    distance = GaugeMetricFamily(
        "onnx_ledger_drift", "Jensen-Shannon distance of a column from the baseline.", labels=of_column
    )
    drifted = GaugeMetricFamily("onnx_ledger_drifted", "Whether that counts as drift.", labels=of_column)
    file = folder / _FIGURES
    try:
        if time.time() - file.stat().st_mtime > _FIGURES_AGE:
            return []
        failure_share, said = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    if failure_share is not None:
        failed.add_metric((), failure_share)
    for one in map(VersionFigures._make, said):
        own = (one.name, one.version)
        samples: list[tuple[GaugeMetricFamily, tuple[str, ...], float | None]]
        samples = [(accuracy, own, one.accuracy), (coverage, own, one.coverage)]
        for column, (of_distance, of_drift) in one.drift.items():
            samples += [(distance, (*own, column), of_distance), (drifted, (*own, column), of_drift)]
        for family, labels, value in samples:
            if value is not None:
                family.add_metric(labels, float(value))
    return [accuracy, coverage, failed, distance, drifted]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
