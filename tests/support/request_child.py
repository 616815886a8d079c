"""Answer one request in a process of its own, and print what that took.

``python -m tests.support.request_child PATH HEADERS FILE`` sends what is in the file, with headers as a JSON object. It
prints JSON: `status`, `size` of the answer in bytes, and `seconds` and `megabytes` as `tests.support.decoding_child`.
"""

import json
import sys
from pathlib import Path
from time import process_time

import httpx

from tests.support.decoding_child import peak_megabytes, slowness
from tests.support.event_transport import EventTransport


def main(path: str, headers: str, file: str) -> None:
    """Answer the request, once the function has answered another one and has all that it needs."""
    content = Path(file).read_bytes()
    with httpx.Client(transport=EventTransport(), base_url="https://api.example") as api:
        api.post(path)
        before = slowness()
        began = process_time()
        answer = api.post(path, content=content, headers=json.loads(headers))
        seconds = (process_time() - began) / max((before + slowness()) / 2, 1)
    result = {"status": answer.status_code, "size": len(answer.content), "seconds": seconds}
    print(json.dumps(result | {"megabytes": peak_megabytes()}), file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
