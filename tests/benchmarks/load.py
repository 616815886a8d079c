"""Generate load with little processor time of its own: `python -m tests.benchmarks.load HOST:PORT FOLDER`.

Every connection sends digits from the folder one after another, each as a POST /prediction, in HTTP/1.1 with
keep-alive. One thread serves all connections over bare sockets. The generator prints JSON: how many requests were
answered with 201 and how many otherwise, the seconds it took, the median latency, and its own processor time.
"""

import argparse
import json
import selectors
import socket
import time
from itertools import cycle
from pathlib import Path
from statistics import median

from tests.benchmarks.digits import CONTENT_TYPE, form

_END_OF_HEAD = b"\r\n\r\n"


class Client:
    """One connection and the answer that it is waiting for.

    Parameters
    ----------
    address
        Host and port.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._sent_at = 0.0

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, float] | None:
        """Read what has arrived. Return the status and the seconds taken if the answer is complete, None otherwise.

        Raises
        ------
        ConnectionError
            If the server closes the connection.
        """
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server has hung up")
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return None
        head = self._received[:end].lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(self._received) < end + len(_END_OF_HEAD) + length:
            return None
        self._received = b""
        return int(head[9:12]), time.perf_counter() - self._sent_at


def load(address: tuple[str, int], images: list[bytes], *, connections: int, seconds: float) -> dict[str, float]:
    """Send requests for the given time, then wait for the last answers.

    Returns
    -------
    dict
        `stored` and `refused` (requests), `seconds`, `p50_ms`, `own_seconds` of processor time.
    """
    requests = cycle([_request(address, form(image)) for image in images])
    selector = selectors.DefaultSelector()
    clients = [Client(address) for _ in range(connections)]
    statuses: dict[int, int] = {}
    latencies = []
    processor = time.process_time()
    began = time.perf_counter()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send(next(requests))
    waiting = connections
    while waiting:
        for key, _ in selector.select():
            answer = key.data.receive()
            if answer is None:
                continue
            status, latency = answer
            statuses[status] = statuses.get(status, 0) + 1
            latencies.append(latency)
            if time.perf_counter() - began < seconds:
                key.data.send(next(requests))
            else:
                waiting -= 1
    took = time.perf_counter() - began
    for client in clients:
        client.socket.close()
    stored = statuses.pop(201, 0)
    return {
        "stored": stored,
        "refused": sum(statuses.values()),
        "seconds": took,
        "p50_ms": median(latencies) * 1000,
        "own_seconds": time.process_time() - processor,
    }


def _request(address: tuple[str, int], body: bytes) -> bytes:
    host = f"{address[0]}:{address[1]}".encode()
    lines = (
        b"POST /prediction HTTP/1.1",
        b"Host: " + host,
        b"User-Agent: load",
        b"Accept: */*",
        b"Content-Type: " + CONTENT_TYPE,
        b"Content-Length: %d" % len(body),
    )
    return b"\r\n".join(lines) + _END_OF_HEAD + body


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("address", help="HOST:PORT")
    parser.add_argument("folder", type=Path, help="with the images to send")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    host, _, port = arguments.address.rpartition(":")
    images = [file.read_bytes() for file in sorted(arguments.folder.glob("*.png"))]
    print(json.dumps(load((host, int(port)), images, connections=arguments.connections, seconds=arguments.seconds)))


if __name__ == "__main__":
    main()
