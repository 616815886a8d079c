"""Generate load with little processor time of its own: `python -m tests.benchmarks.load HOST:PORT FOLDER`.

Every connection sends requests from the folder one after another, in HTTP/1.1 with keep-alive. One thread serves all
connections over bare sockets. `requests.py` writes the folder. The generator prints JSON: `load` says what.
"""

import argparse
import heapq
import json
import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any

from tests.benchmarks.requests import first_number, read_requests, with_key

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


def load(
    address: tuple[str, int], requests: Sequence[bytes], *, connections: int, seconds: float, pause: float = 0.0
) -> dict[str, Any]:
    """Send requests for the given time, then wait for the last answers.

    Parameters
    ----------
    address
        Host and port.
    requests
        Whole requests, sent in turn. `KEY` in one is another key each time.
    connections
        Connections, each with one request under way.
    seconds
        How long to send.
    pause
        Seconds that a connection waits after a 503.

    Returns
    -------
    dict
        `statuses` (how many answers had each), `stored` (answers of 200 or 201), `refused` (all other answers), `cut`
        (requests whose connection the server closed), `seconds`, `p50_ms` and `p99_ms` of all answers,
        `stored_p99_ms` and `stored_longest_ms` of those that were stored, and `own_seconds` of processor time.
    """
    numbers = count(first_number())
    following = cycle(requests)
    selector = selectors.DefaultSelector()
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    stored_latencies: list[float] = []
    paused: list[tuple[float, int, Client]] = []  # until when, a number that makes it unique, who
    cut = 0
    processor = time.process_time()
    began = time.perf_counter()
    until = began + seconds
    for _ in range(connections):
        client = Client(address)
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send(with_key(next(following), next(numbers)))
    waiting = connections
    while waiting:
        now = time.perf_counter()
        while paused and paused[0][0] <= now:
            client = heapq.heappop(paused)[2]
            if now < until:
                client.send(with_key(next(following), next(numbers)))
            else:
                waiting -= 1
        for key, _ in selector.select(max(0.0, paused[0][0] - now) if paused else None):
            client = key.data
            try:
                answer = client.receive()
            except ConnectionError:
                cut += 1
                selector.unregister(client.socket)
                client.socket.close()
                if time.perf_counter() >= until:
                    waiting -= 1
                    continue
                client = Client(address)
                selector.register(client.socket, selectors.EVENT_READ, client)
                client.send(with_key(next(following), next(numbers)))
                continue
            if answer is None:
                continue
            status, latency = answer
            statuses[status] += 1
            latencies.append(latency)
            if status in (200, 201):
                stored_latencies.append(latency)
            now = time.perf_counter()
            if now >= until:
                waiting -= 1
            elif status == 503 and pause:
                heapq.heappush(paused, (now + pause, next(numbers), client))
            else:
                client.send(with_key(next(following), next(numbers)))
    took = time.perf_counter() - began
    for registered in list(selector.get_map().values()):
        registered.data.socket.close()
    stored = statuses[200] + statuses[201]
    return {
        "statuses": {str(status): number for status, number in sorted(statuses.items())},
        "stored": stored,
        "refused": statuses.total() - stored,
        "cut": cut,
        "seconds": took,
        "p50_ms": _percentile(latencies, 0.5) * 1000,
        "p99_ms": _percentile(latencies, 0.99) * 1000,
        "stored_p99_ms": _percentile(stored_latencies, 0.99) * 1000,
        "stored_longest_ms": max(stored_latencies, default=0.0) * 1000,
        "own_seconds": time.process_time() - processor,
    }


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.load", description=__doc__)
    parser.add_argument("address", help="HOST:PORT")
    parser.add_argument("folder", type=Path, help="with the requests to send")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that a connection waits after a 503")
    asked = parser.parse_args()
    host, _, port = asked.address.rpartition(":")
    requests = read_requests(asked.folder)
    done = load((host, int(port)), requests, connections=asked.connections, seconds=asked.seconds, pause=asked.pause)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
