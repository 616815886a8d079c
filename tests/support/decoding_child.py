"""Predict the images of one request in a process of its own, and print what that took.

``python -m tests.support.decoding_child MODEL FILE...`` prints JSON: `seconds` of processor time, `megabytes` at the
peak (of the whole process, the runtime and the model included), `errors` by position, and `predictions`, their number.

A processor that is slow, or shared with others, takes longer for everything. The seconds are therefore those of a
processor that does a certain piece of work in `YARDSTICK` seconds: this one does the same work before and afterwards.
"""

import json
import resource
import sys
import zlib
from pathlib import Path
from time import process_time

from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.prediction.errors import RefusedInputsError
from functions.shared.prediction.instances import decode, run
from functions.shared.prediction.requests import Input

YARDSTICK = 0.12
"""Seconds in which a processor of a small server of 2026 does the work of `slowness`, and nothing else meanwhile."""


def main(folder: str, *files: str) -> None:
    """Predict the files together, as the function does."""
    model = Model.load(ModelPackage.load(Path(folder)))
    model.warm_up()
    inputs = [Input("application/octet-stream", Path(file).read_bytes()) for file in files]
    errors: dict[int, str] = {}
    predictions = 0
    before = slowness()
    began = process_time()
    try:
        predictions = len(run(model, decode(model, inputs)))
    except RefusedInputsError as error:
        errors = {position: f"{type(one).__name__}: {one}" for position, one in error.errors.items()}
    seconds = process_time() - began
    seconds /= max((before + slowness()) / 2, 1)
    result = {"seconds": seconds, "megabytes": peak_megabytes(), "errors": errors, "predictions": predictions}
    print(json.dumps(result))


def slowness() -> float:
    """Return how many times as long as `YARDSTICK` this processor takes: for some work of C's, and some of Python's."""
    packed = zlib.compress(bytes(range(256)) * 4096)
    began = process_time()
    for _ in range(60):
        zlib.decompress(packed)
    sum(number for number in range(1_000_000))
    return (process_time() - began) / YARDSTICK


def peak_megabytes() -> float:
    """Return the peak of this process. What Linux reports as `ru_maxrss` is at least its parent's peak."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


if __name__ == "__main__":
    main(*sys.argv[1:])
