"""The process of moto's server: `python -m local.services.moto_process DESCRIPTOR REGION QUEUES`.

`local.services.aws` starts it. It imports moto when the first client connects: the import keeps a processor busy for
two seconds, which would delay everything else that starts.
"""

import json
import select
import sys


def main(descriptor: int, region: str, queues: dict[str, dict[str, str]]) -> None:
    """Serve until the process ends. `moto_server.serve` describes the parameters."""
    select.select([descriptor], [], [])
    from local.services.moto_server import serve

    serve(descriptor, region, queues)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
