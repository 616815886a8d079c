"""AWS on this machine: moto's server as a service, with the queues of the template in it."""

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from local.account import ACCOUNT, region_of
from local.errors import CannotServeError
from local.services.process_guard import GuardedProcess, ProcessStartError
from local.settings import ROOT
from local.template import Queue

CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
"""What functions sign their requests with. Nobody checks it, but without any they look for it all over the machine."""


UPLOADS_BUCKET: Final = "uploads"
"""The bucket that callers upload to. What is predicted is copied into the database: moto forgets it all."""

_BACKLOG = 256  # connections that wait while it starts


class LocalAws:
    """moto's server, in a process of its own and on a port of its own.

    It takes two seconds to start, which it does when it is first asked for something; until then, requests wait in the
    backlog of its socket. The socket is ours, so a server that is started again has the same address.

    Parameters
    ----------
    queues
        The queues to have in it.
    log
        The file that it writes to.
    listener
        A socket that is bound, where it is to listen elsewhere.

    Raises
    ------
    CannotServeError
        If there is not one queue, besides those for dead letters, to be `QUEUE_URL`.
    """

    name = "moto's server, as AWS"

    def __init__(self, queues: Sequence[Queue], log: Path, listener: socket.socket | None = None) -> None:
        self._queues = queues
        dead_letters = {queue.dead_letters for queue in queues}
        names = [queue.logical_id for queue in queues if queue.logical_id not in dead_letters]
        if len(names) != 1:
            raise CannotServeError(f"the template must have one queue for work, and has {len(names)}")
        self.work_queue = names[0]
        self._log = log
        self._region = region_of(os.environ)
        self._listener = listener or socket.socket()
        self._is_bound = listener is not None
        self._process: GuardedProcess | None = None

    @property
    def endpoint(self) -> str:
        """Its address, once it was started."""
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}"

    def queue_url(self, name: str) -> str:
        """Return the URL of a queue, once it was started."""
        return f"{self.endpoint}/{ACCOUNT}/{name}"

    def queue_arn(self, name: str) -> str:
        """Return the ARN of a queue."""
        return f"arn:aws:sqs:{self._region}:{ACCOUNT}:{name}"

    def start(self) -> Mapping[str, str]:
        """Start it, and do not wait until it works."""
        if self._process is None:
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
        queue = {"QUEUE_URL": self.queue_url(self.work_queue), "AWS_ENDPOINT_URL_SQS": self.endpoint}
        if os.environ.get("INPUTS_BUCKET"):
            return queue  # a bucket of one's own, which is where it always is, with credentials of one's own
        return {**queue, **CREDENTIALS, "AWS_ENDPOINT_URL": self.endpoint, "UPLOADS_BUCKET": UPLOADS_BUCKET}

    def running(self) -> bool:
        """Tell whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it. All that was in it is gone."""
        if self._process is not None:
            self._process.stop()

    def _attributes(self) -> dict[str, dict[str, str]]:
        """Return each queue's attributes as SQS takes them, queues for dead letters first."""
        attributes = {}
        for queue in sorted(self._queues, key=lambda queue: queue.dead_letters is not None):
            attributes[queue.logical_id] = {"VisibilityTimeout": f"{queue.visibility_timeout:.0f}"}
            if queue.dead_letters is not None:
                redrive = {
                    "deadLetterTargetArn": self.queue_arn(queue.dead_letters),
                    "maxReceiveCount": queue.receives,
                }
                attributes[queue.logical_id]["RedrivePolicy"] = json.dumps(redrive)
        return attributes
