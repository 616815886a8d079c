"""The process of moto's server: `python -m local.services.moto_process DESCRIPTOR REGION QUEUES`.

`local.services.aws` starts it. It imports moto when the first client connects: the import keeps a processor busy for
two seconds, which would delay everything else that starts.
"""

import json
import os
import select
import sys
import threading
import time

_CHECK_INTERVAL = 0.5  # seconds


def main(descriptor: int, region: str, queues: dict[str, dict[str, str]]) -> None:
    """Serve until the process or its parent ends. `moto_server.serve` describes the parameters."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    select.select([descriptor], [], [])
    from local.services.moto_server import serve

    serve(descriptor, region, queues)


def _end_with(parent: int) -> None:
    """End this process soon after its parent, the guard. The restarted server listens on the same socket.

    If both ran, each would get some of the requests, and have some of the messages.
    """
    while os.getppid() == parent:
        time.sleep(_CHECK_INTERVAL)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
