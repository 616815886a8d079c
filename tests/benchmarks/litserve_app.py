"""LitServe with batching, as its documentation shows it: it predicts the same digit, and stores nothing.

`python -m tests.benchmarks.litserve_app PORT` runs it with an ONNX file as MODEL.
"""

import io
import os
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime
from fastapi import Request
from PIL import Image

BATCH = 64
WORKERS = int(os.environ["WORKERS"])


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """Decodes a digit in the process that takes requests, and runs batches of them in another."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Load the model in a worker."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: Request) -> Any:
        """Decode an image."""
        with Image.open(io.BytesIO(request["file"].file.read())) as image:
            return (
                np.asarray(image.convert("L").resize((28, 28), Image.Resampling.BICUBIC), np.float32)[..., None] / 255
            )

    def batch(self, inputs: list[Any]) -> Any:
        """Make one array of the inputs."""
        return np.stack(inputs)

    def predict(self, inputs: Any) -> Any:
        """Predict a batch."""
        [outputs] = self.session.run(None, {"image": inputs})
        return outputs

    def unbatch(self, outputs: Any) -> Any:
        """Return an output for each input."""
        return list(outputs)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Answer with what ours answers."""
        return {"prediction": output.tolist(), "likely_class": int(output.argmax())}


if __name__ == "__main__":
    server = litserve.LitServer(
        Digits(max_batch_size=BATCH, batch_timeout=0.0, api_path="/prediction"),
        accelerator="cpu",
        workers_per_device=WORKERS,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=WORKERS, generate_client_file=False, access_log=False
    )
