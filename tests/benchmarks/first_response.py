"""Time a fresh execution environment up to its first response: `first_response.py BEGAN HANDLER EVENT [stages]`.

BEGAN is the time on the monotonic clock, in nanoseconds, before the process was started. HANDLER is a module and EVENT
a file. The last line printed is JSON: the milliseconds since BEGAN and the milliseconds of processor time or, with
`stages`, the milliseconds of each stage.

Before its first reading of the clock, the script imports only what every Python process has loaded already.
"""

import importlib
import json
import sys
import time

PACKAGES = {
    "Python": ("json", "logging", "asyncio", "email", "http"),
    "NumPy": ("numpy",),
    "Pillow": ("PIL.Image", "PIL.PngImagePlugin"),
    "ONNX Runtime": ("onnxruntime",),
    "pydantic": ("pydantic",),
    "FastAPI": ("fastapi",),
    "Mangum": ("mangum",),
    "pg8000": ("pg8000.native",),
}
OF_PREDICT = ("NumPy", "Pillow", "ONNX Runtime")


class Context:
    """The context that Lambda passes with the event."""

    aws_request_id = "8f5b1b0e-0000-4000-8000-000000000000"


def main(began: int, handler: str, event_file: str, *, staged: bool) -> None:
    """Import the handler, which prepares its environment, and answer the event."""
    with open(event_file) as file:  # noqa: PTH123 - importing pathlib would add to the time
        event = json.load(file)
    stages: dict[str, float] = {}
    last = began

    def mark(name: str) -> None:
        nonlocal last
        now = time.monotonic_ns()
        stages[name] = (now - last) / 1e6
        last = now

    mark("interpreter")
    # The deployed package leaves it out (infra/build.py). None makes its import fail (Python, "sys.modules").
    sys.modules["pydantic.v1"] = None  # type: ignore[assignment]  # typeshed knows modules only
    if staged:
        # On Lambda a handler prepares its environment while it is imported. Here each step is done and timed alone.
        is_predict = "predict." in handler
        for name, modules in PACKAGES.items():
            if is_predict or name not in OF_PREDICT:
                for dependency in modules:
                    importlib.import_module(dependency)
                mark(name)
    module = importlib.import_module(handler)
    mark("own code")
    if staged and is_predict:
        serving = module.environment().serving
        mark("session")
        serving.model.warm_up()
        mark("warm-up")
        serving.ledger.register(serving.identity)
        mark("connect")
    answer = module.handler(event, Context())
    mark("first request")
    if answer["statusCode"] not in (200, 201):
        raise RuntimeError(answer)
    if not staged:
        stages = {"ms": (last - began) / 1e6, "processor_ms": time.process_time() * 1000}
    print(json.dumps(stages))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], staged="stages" in sys.argv)
