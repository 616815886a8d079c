"""What batching is worth on a GPU: `python -m tests.benchmarks.gpu`, in less than five minutes.

It needs what `requirements/gpu_benchmark.txt` pins, and an NVIDIA GPU with its driver. A network of ResNet-50's size
with random weights is made on the spot. It is run in batches of 1 to 64, and then served by the batching server under
load, once in batches and once one image at a time. `--cpu` runs a small form on the CPU, to see that the script works.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Final, NamedTuple

import onnxruntime

from functions.shared.inference.model import Instance, Model
from functions.shared.inference.package import ModelPackage
from local.services.postgres import EmbeddedPostgres
from tests.benchmarks import generator
from tests.benchmarks.measure import Row, interleave, machine, medians
from tests.benchmarks.networks import photographs, resnet50
from tests.benchmarks.report import print_table, table, write_results
from tests.benchmarks.requests import write_requests
from tests.benchmarks.servers import batching_server

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
_BETWEEN: Final = 0.1  # seconds between two looks at the GPU


class Form(NamedTuple):
    """How much is measured."""

    provider: str
    batches: Sequence[int]
    seconds: float
    """For each size of a batch, and for each load of a server."""

    connections: int
    rounds: int


GPU: Final = Form(_CUDA, (1, 2, 4, 8, 16, 32, 64), 4, 128, 3)
CPU: Final = Form(_CPU, (1, 4), 1, 8, 1)


class Gpu:
    """Looks at the first GPU while something runs.

    Attributes
    ----------
    use
        What share of the time it was busy, in percent, at each look.
    name
        The GPU's name.
    """

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._device = pynvml.nvmlDeviceGetHandleByIndex(0)
        name = pynvml.nvmlDeviceGetName(self._device)
        self.name = name.decode() if isinstance(name, bytes) else str(name)
        self.use: list[float] = []

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look until the block ends."""
        self.use = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(_BETWEEN):
                self.use.append(float(self._nvml.nvmlDeviceGetUtilizationRates(self._device).gpu))

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def missing() -> str | None:
    """Return what keeps a GPU from being used here, or None if nothing does."""
    if _CUDA not in onnxruntime.get_available_providers():
        return (
            "this onnxruntime has no CUDA: install requirements/gpu_benchmark.txt in a virtual environment of its own"
        )
    try:
        import pynvml
    except ImportError:
        return "nvidia-ml-py is missing: install requirements/gpu_benchmark.txt in a virtual environment of its own"
    try:
        Gpu()
    except pynvml.NVMLError as error:
        return f"there is no NVIDIA GPU with a driver here: {error}"
    return None


def batches(form: Form, folder: Path) -> list[Row]:
    """Measure images a second of each size of a batch over one at a time, without a server."""
    model = Model.load(ModelPackage.load(folder / "resnet50"), providers=form.provider)
    instances = [model.decode_image(file) for file in photographs(max(form.batches))]
    per_second = {size: _images_per_second(model, instances[:size], form.seconds) for size in form.batches}
    for size, rate in per_second.items():
        _say(f"batches of {size}: {rate:,.0f} images/s")
    best = max(form.batches, key=lambda size: per_second[size])
    parts = {f"batch_{size}_per_s": round(rate, 1) for size, rate in per_second.items()}
    what = f"a ResNet-50-sized network on {form.provider}: images/s in batches of {best} over one at a time"
    return [Row(what, round(per_second[best] / per_second[1], 2), 1, at_most=False, parts=parts)]


def binding(form: Form, folder: Path) -> list[Row]:
    """Measure I/O binding, with buffers that stay on the device, over `run`, which moves each array there and back."""
    size = max(form.batches)
    device = "cuda" if form.provider == _CUDA else "cpu"
    model = Model.load(ModelPackage.load(folder / "resnet50"), providers=form.provider)
    instances = [model.decode_image(file) for file in photographs(size)]
    session, [name] = model._session, model._input_names
    feed = model._feed(instances, size)
    outputs = [one.name for one in session.get_outputs()]
    kept = onnxruntime.OrtValue.ortvalue_from_numpy(feed[name], device, 0)
    bound = session.io_binding()
    bound.bind_ortvalue_input(name, kept)
    for output in outputs:
        bound.bind_output(output, device)

    def run_bound() -> None:
        kept.update_inplace(feed[name])
        session.run_with_iobinding(bound)
        bound.copy_outputs_to_cpu()

    with_binding, without = medians(interleave(form.seconds, run_bound, lambda: session.run(outputs, feed), least=4))
    parts = {"bound_ms": with_binding, "run_ms": without}
    what = f"a ResNet-50-sized network on {form.provider}, batches of {size}: time with I/O binding over without"
    return [Row(what, round(with_binding / without, 3), 1.05, parts=parts)]


def _images_per_second(model: Model, instances: Sequence[Instance], seconds: float) -> float:
    model.predict(instances)  # the first run of each size chooses its kernels
    durations: list[float] = []
    until = time.perf_counter() + seconds
    while not durations or time.perf_counter() < until:
        began = time.perf_counter()
        model.predict(instances)
        durations.append(time.perf_counter() - began)
    return len(instances) / median(durations)


def served(form: Form, folder: Path, gpu: Gpu | None) -> list[Row]:
    """Measure images a second of the batching server, each stored, in batches and one at a time."""
    requests = write_requests(folder / "requests", photographs(32))
    rates: dict[str, list[float]] = {"batches": [], "one_at_a_time": []}
    use: dict[str, list[float]] = {name: [] for name in rates}
    with contextlib.ExitStack() as running:
        database = EmbeddedPostgres(folder / "postgres")
        running.callback(database.stop)
        url = database.start()
        addresses = {}
        for name, limit in (("batches", {}), ("one_at_a_time", {"MAX_BATCH_INPUTS": "1"})):
            settings = {
                "MODEL": str(folder / "resnet50"),
                "WORKERS": "1",
                "EXECUTION_PROVIDERS": form.provider,
                **limit,
            }
            _say(f"starting the server: {name}")
            addresses[name] = running.enter_context(batching_server(folder, url, **settings)).address
            generator.load(addresses[name], requests, connections=form.connections, seconds=max(2, form.seconds / 2))
        for _ in range(form.rounds):
            for name, address in addresses.items():
                with gpu.watched() if gpu else contextlib.nullcontext():
                    one = generator.load(address, requests, connections=form.connections, seconds=max(2, form.seconds))
                rates[name].append(one.per_second)
                use[name].append(mean(gpu.use) if gpu and gpu.use else 0.0)
                _say(f"{name}: {one.per_second:,.0f} images/s, p99 {one.p99_ms:.0f} ms, GPU {use[name][-1]:.0f} %")
                if one.refused or one.cut:
                    raise SystemExit(f"{name}: {one}")
    ratio = median(one / other for one, other in zip(rates["batches"], rates["one_at_a_time"], strict=True))
    parts = {f"{name}_per_s": round(median(own), 1) for name, own in rates.items()}
    if gpu:
        parts |= {f"{name}_gpu_percent": round(median(own), 1) for name, own in use.items()}
    what = f"the batching server on {form.provider}, {form.connections} connections: images/s over one at a time"
    return [Row(what, round(ratio, 2), 1, at_most=False, parts=parts)]


def main() -> int:
    """Run the benchmark, print its table and, on a GPU, write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="run a small form on the CPU, to see that the script works")
    form = CPU if parser.parse_args().cpu else GPU
    if form is GPU and (reason := missing()):
        print(f"not measured: {reason}")
        return 0
    gpu = Gpu() if form is GPU else None
    described = f"{machine()}, {gpu.name if gpu else 'no GPU'}"
    print(described, flush=True)
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-") as name:
        folder = Path(name)
        resnet50(folder / "resnet50")
        rows = [*batches(form, folder), *binding(form, folder), *served(form, folder, gpu)]
    print_table(rows)
    if gpu:
        write_results("gpu", {"machine": described, "rows": [row.to_json() for row in rows]})
        print(table(rows))
    return 0 if form is CPU or all(row.passed for row in rows) else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
