"""AWS's look-alike: moto's server as a service, with the template's queues and a bucket for uploads."""

import http.client
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from local.account import ACCOUNT, region_of
from local.errors import CannotServeError
from local.services.process_guard import GuardedProcess, ProcessStartError
from local.settings import ROOT
from local.template import Queue

CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
"""The credentials with which functions sign requests. moto does not check them, but boto3 sends nothing without any."""

UPLOADS_BUCKET: Final = "uploads"
"""The bucket that clients upload to. moto keeps it in memory, so a predicted upload is copied to the database."""

_BACKLOG = 256  # connections that can wait while moto starts
_START_TIMEOUT = 30.0  # seconds


class LocalAws:
    """moto's server, in a separate process.

    moto takes two seconds to start, and starts with the first request. Until then, requests wait in the backlog of its
    socket. This process owns the socket, so that a restarted server keeps its address.

    Parameters
    ----------
    queues
        The queues to make.
    log
        The file that receives what moto prints.
    listener
        A bound socket to listen on; None for any free port of the loopback interface.

    Raises
    ------
    CannotServeError
        If the template does not have exactly one queue besides dead-letter queues. That queue becomes `QUEUE_URL`.
    """

    name = "moto's server, as AWS"

    def __init__(self, queues: Sequence[Queue], log: Path, listener: socket.socket | None = None) -> None:
        self._queues = queues
        dead_letters = {queue.dead_letters for queue in queues}
        names = [queue.logical_id for queue in queues if queue.logical_id not in dead_letters]
        if len(names) != 1:
            raise CannotServeError(
                f"the template must have one queue besides dead-letter queues, and it has {len(names)}"
            )
        self.work_queue = names[0]
        self._log = log
        self._region = region_of(os.environ)
        self._listener = listener or socket.socket()
        self._is_bound = listener is not None
        self._process: GuardedProcess | None = None

    @property
    def endpoint(self) -> str:
        """The address of the server, after `start`."""
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def queue_url(self, name: str) -> str:
        """Return the URL of a queue, after `start`."""
        return f"{self.endpoint}/{ACCOUNT}/{name}"

    def queue_arn(self, name: str) -> str:
        """Return the ARN of a queue."""
        return f"arn:aws:sqs:{self._region}:{ACCOUNT}:{name}"

    def start(self) -> Mapping[str, str]:
        """Start the process without waiting for moto, or restart it and wait until moto answers."""
        restarted = self._process is not None
        if not restarted:
            if not self._is_bound:
                self._listener.bind(("127.0.0.1", 0))
            self._listener.listen(_BACKLOG)
        descriptor = self._listener.fileno()
        command = [sys.executable, "-m", "local.services.moto_process", str(descriptor), self._region]
        try:
            with self._log.open("ab") as log:
                self._process = GuardedProcess(
                    [*command, json.dumps(self._attributes())], cwd=ROOT, stdout=log, stderr=log, pass_fds=[descriptor]
                )
        except (OSError, ProcessStartError) as error:
            raise CannotServeError(f"{self.name}: {error}") from error
        if restarted:
            self._wait_for_answer()
        queue = {"QUEUE_URL": self.queue_url(self.work_queue), "AWS_ENDPOINT_URL_SQS": self.endpoint}
        if os.environ.get("INPUTS_BUCKET"):
            return queue  # the user's own bucket, on AWS and with the user's own credentials
        bucket = {"UPLOADS_BUCKET": UPLOADS_BUCKET, "UPLOADS_ORIGIN": os.environ.get("UPLOADS_ORIGIN", self.endpoint)}
        return {**queue, **CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint, **bucket}

    def _wait_for_answer(self) -> None:
        host, port = self._listener.getsockname()
        try:
            with closing(http.client.HTTPConnection(host, port, timeout=_START_TIMEOUT)) as client:
                client.request("GET", "/moto-api/")
                client.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise CannotServeError(f"{self.name}: {error}") from error

    def running(self) -> bool:
        """Tell whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop the process. Its messages and objects are lost."""
        if self._process is not None:
            self._process.stop()

    def _attributes(self) -> dict[str, dict[str, str]]:
        """Return each queue's attributes in SQS's form, dead-letter queues first, since the others refer to them."""
        attributes = {}
        for queue in sorted(self._queues, key=lambda queue: queue.dead_letters is not None):
            attributes[queue.logical_id] = {"VisibilityTimeout": f"{queue.visibility_timeout:.0f}"}
            if queue.dead_letters is not None:
                redrive = {
                    "deadLetterTargetArn": self.queue_arn(queue.dead_letters),
                    "maxReceiveCount": queue.max_receives,
                }
                attributes[queue.logical_id]["RedrivePolicy"] = json.dumps(redrive)
        return attributes
