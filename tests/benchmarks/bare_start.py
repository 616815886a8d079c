"""Do only what no cold start can avoid: `bare_start.py BEGAN [predict]` prints the milliseconds since BEGAN as JSON.

BEGAN is the time on the monotonic clock, in nanoseconds, before the process was started. The script imports FastAPI and
Mangum and connects to the database that PGUSER, PGHOST (the path of a unix socket) and PGDATABASE name. With `predict`
it also imports NumPy, Pillow and ONNX Runtime and makes a session.
"""

import os
import sys
import time


def main(began: int, what: list[str]) -> None:
    """Import the libraries, make the session and connect."""
    import fastapi  # noqa: F401
    import mangum  # noqa: F401
    import pg8000.native

    if "predict" in what:
        import numpy as np  # noqa: F401
        import onnxruntime
        import PIL.Image
        import PIL.PngImagePlugin  # noqa: F401

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        onnxruntime.InferenceSession(f"{os.environ['MODEL']}/model.onnx", options, providers=["CPUExecutionProvider"])
    pg8000.native.Connection(os.environ["PGUSER"], unix_sock=os.environ["PGHOST"], database=os.environ["PGDATABASE"])
    elapsed = (time.monotonic_ns() - began) / 1e6
    print(f'{{"ms": {elapsed}, "processor_ms": {time.process_time() * 1000}}}')


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
