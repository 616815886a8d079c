"""The process of moto's server: `python -m local.services.moto_process DESCRIPTOR REGION QUEUES`.

`local.services.aws` starts it. It waits until somebody connects before it imports moto, which would keep a processor
busy for two seconds just when everything else starts.
"""

import json
import select
import sys


def main(descriptor: int, region: str, queues: dict[str, dict[str, str]]) -> None:
    """Serve until the process is ended. Parameters as in `moto_server.serve`."""
    select.select([descriptor], [], [])
    from local.services.moto_server import serve

    serve(descriptor, region, queues)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
