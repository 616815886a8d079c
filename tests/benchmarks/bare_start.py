"""What no start can avoid, as a script: `bare_start.py BEGAN WHAT…`. Prints, as JSON, the milliseconds since BEGAN.

BEGAN is the monotonic clock, in nanoseconds, before the process was started. WHAT may be `predict` (NumPy, Pillow, ONNX
Runtime and a session); FastAPI, Mangum and a connection to the database that PGUSER, PGHOST (a unix socket's path) and
PGDATABASE name are always there.
"""

import os
import sys
import time


def main(began: int, what: list[str]) -> None:
    """Import it all and open what is to be opened."""
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
