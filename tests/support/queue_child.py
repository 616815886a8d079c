"""A process that works on the queue, as each process of a server does: python -m tests.support.queue_child.

An input that ends with "poison" kills it.
"""

import os
import signal
from typing import Any

from functions.shared.inference.model import Model
from functions.shared.log import start_logging
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.sweeping import Sweeper
from functions.shared.settings import SweepSettings, WorkerSettings
from local.batching.queue_worker import QueueWorker

POISON = b"poison"


def main() -> None:
    """Start, say so, work, and stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    settings = WorkerSettings.from_environment()
    start_logging(settings.log_level)
    decode = Model.decode_image

    def decode_or_die(model: Model, data: bytes, *rest: Any) -> Any:
        if data.endswith(POISON):
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(model, data, *rest)

    Model.decode_image = decode_or_die  # type: ignore[method-assign, assignment]
    worker = QueueWorker(
        Serving.start(settings),
        Sweeper.configured(SweepSettings.from_environment(), None) if "SWEEPS" in os.environ else None,
        poll_seconds=float(os.environ["POLL_SECONDS"]),
        time_seconds=float(os.environ["TIME_SECONDS"]),
        most_at_once=int(os.environ["MOST_AT_ONCE"]),
        attempts=2,
    )
    worker.start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    worker.stop(10)


if __name__ == "__main__":
    main()
