"""moto's server, with the template's queues and a bucket for uploads."""

import json
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sqs import models
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client

from local.services.aws import UPLOADS_BUCKET

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_TARGET: Final = "X-Amz-Target"


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # boto3 keeps its connections

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: every request of every function would be a line."""


class _SerializedSqs:
    """Passes requests to SQS on one at a time, except those that wait for messages.

    moto is not thread-safe: a message that is sent while another is deleted may be lost.
    """

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if target.startswith("AmazonSQS.") and target != "AmazonSQS.ReceiveMessage":
            with self._lock:
                return self._application(environ, start_response)
        return self._application(environ, start_response)


def _skip_counting() -> None:
    """Keep moto from counting the messages of a queue whenever one is sent or received.

    moto counts them several times, for attributes that nobody asked for. With a thousand messages in the queue, sending
    one would take a tenth of a second.
    """
    vars(models)["unix_time_millis"] = lambda: time.time() * 1000
    counts = {
        "approximate_number_of_messages": property(lambda queue: len(queue._messages)),  # noqa: SLF001 - moto has no public one
        "approximate_number_of_messages_delayed": 0,
        "approximate_number_of_messages_not_visible": 0,
    }
    for name, count in counts.items():
        setattr(models.Queue, name, count)


def _create_queue(application: "WSGIApplication", region: str, name: str, attributes: dict[str, str]) -> None:
    """Create a queue with a request to SQS (AWS, "Making Amazon SQS API requests with the AWS JSON protocol")."""
    headers = {
        _TARGET: "AmazonSQS.CreateQueue",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=none/20000101/{region}/sqs/aws4_request",
    }
    body = json.dumps({"QueueName": name, "Attributes": attributes})
    answer = Client(application).post("/", data=body, headers=headers)
    if answer.status_code != 200:
        raise RuntimeError(f"the queue {name} cannot be created: {answer.text}")


def _create_bucket(application: "WSGIApplication", name: str) -> None:
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=none/20000101/us-east-1/s3/aws4_request"}
    answer = Client(application).put(f"/{name}", headers=headers)
    if answer.status_code != 200:
        raise RuntimeError(f"the bucket {name} cannot be created: {answer.text}")


def serve(descriptor: int, region: str, queues: dict[str, dict[str, str]]) -> None:
    """Serve until the process ends. moto keeps everything in memory.

    Parameters
    ----------
    descriptor
        File descriptor of a listening socket.
    region
        The region of the queues.
    queues
        Each queue's attributes by its name. A dead-letter queue comes before the queue that refers to it.
    """
    _skip_counting()
    application = _SerializedSqs(DomainDispatcherApplication(create_backend_app))
    for name, attributes in queues.items():
        _create_queue(application, region, name, attributes)
    _create_bucket(application, UPLOADS_BUCKET)
    make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Handler, fd=descriptor).serve_forever()
