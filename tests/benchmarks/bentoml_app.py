"""BentoML with batching, as its documentation shows it: it predicts the same digit, and stores nothing.

`bentoml serve tests.benchmarks.bentoml_app:Digits --port PORT` runs it with an ONNX file as MODEL. A request has one
image as the list's only one, which is the shortest way into a batch: no second service takes it.
"""

import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime
import PIL.Image

BATCH = 64
WORKERS = int(os.environ["WORKERS"])


@bentoml.service(
    workers=WORKERS, traffic={"timeout": 60, "max_concurrency": 4096}, logging={"access": {"enabled": False}}
)
class Digits:
    """Decodes and runs batches of digits."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=60_000)  # type: ignore[untyped-decorator]
    def prediction(self, images: list[PIL.Image.Image]) -> list[dict[str, Any]]:
        """Predict a batch."""
        resampling = PIL.Image.Resampling.BICUBIC
        pixels = [np.asarray(image.convert("L").resize((28, 28), resampling), np.float32) for image in images]
        [outputs] = self.session.run(None, {"image": np.stack(pixels)[..., None] / 255})
        return [{"prediction": output.tolist(), "likely_class": int(output.argmax())} for output in outputs]
