"""CloudFormation's side of a custom resource: a server that stands in for the bucket with the answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class CloudFormation:
    """The answers that CloudFormation got.

    Attributes
    ----------
    url
        The presigned URL to send answers to.
    answers
        The bodies of the answers.
    contenttypes
        Their content types.
    refusals
        The number of requests to refuse with 503 first.
    """

    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    contenttypes: list[str | None] = field(default_factory=list)
    refusals: int = 0


@contextmanager
def serve_cloudformation() -> Iterator[CloudFormation]:
    """Run a server in place of the bucket, and keep the answers."""
    kept = CloudFormation()

    class Bucket(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if kept.refusals:
                kept.refusals -= 1
                self.send_error(503)
                return
            kept.answers.append(body)
            kept.contenttypes.append(self.headers["Content-Type"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}/answer?signature=abc"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield kept
        server.shutdown()
        thread.join()
