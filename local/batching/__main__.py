"""`python -m local.batching`: what a container runs. `--fd` names a listening socket that it was started with.

The database has to be migrated before: `python -m infra.migrations upgrade`.
"""

import argparse
import logging
import socket
import sys

from uvicorn.config import STARTUP_FAILURE

from functions.shared.log import log_through, start_logging
from local.batching.metrics import exposed
from local.batching.settings import BatchingSettings
from local.batching.supervisor import Supervisor
from local.batching.traces import exporters
from local.batching.worker import configuration
from local.errors import CannotServeError
from local.http.listening import listen


def main() -> int:
    """Serve until SIGINT or SIGTERM, and return the exit status: 0 after a request to stop, 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m local.batching", description="Serve the API in batches.")
    parser.add_argument("--fd", type=int, help="the file descriptor of a listening socket, in place of HOST and PORT")
    chosen = parser.parse_args()
    try:
        settings = BatchingSettings.from_environment()
        exporters()  # so that one that is not there stops this process, and not each of its own
        listener = listen(settings.host, settings.port) if chosen.fd is None else socket.socket(fileno=chosen.fd)
        with listener, exposed(settings.host, settings.metrics_port):
            return serve(settings, listener)
    except CannotServeError as error:
        print(f"onnx-ledger: {error}", file=sys.stderr)
        return 1


def serve(settings: BatchingSettings, listener: socket.socket) -> int:
    """Start the processes, and return the exit status once they have ended."""
    start_logging("INFO")
    log_through("uvicorn.error", logging.INFO)
    listener.setblocking(False)
    supervisor = Supervisor(configuration(settings), sockets=[listener], cores=settings.cores)
    supervisor.run()
    return 1 if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes) else 0


if __name__ == "__main__":
    sys.exit(main())
