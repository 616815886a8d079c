"""Answer CloudFormation's request to a custom resource exactly once, whatever happens.

The protocol is AWS's ("Custom resource request and response reference" in CloudFormation's user guide): a JSON object,
PUT to the presigned URL in the request. CloudFormation takes the first answer. Without one, the deployment hangs until
it times out.
"""

import json
import logging
import time
from http.client import HTTPException
from threading import Lock
from typing import Final, Literal, NotRequired, TypedDict
from urllib.error import HTTPError
from urllib.request import Request, urlopen

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 4
"""How many times to try to send an answer."""

SECONDS_BETWEEN_ATTEMPTS: Final = 2.0
SECONDS_PER_ATTEMPT: Final = 10.0

_LONGEST_REASON: Final = 1000  # characters; CloudFormation takes answers of up to 4,096 bytes


class CustomResourceRequest(TypedDict):
    """The members that are read of CloudFormation's request."""

    RequestType: Literal["Create", "Update", "Delete"]
    ResponseURL: str
    StackId: str
    RequestId: str
    LogicalResourceId: str
    PhysicalResourceId: NotRequired[str]
    ResourceProperties: dict[str, str]


class Answer:
    """The answer to one request. Threads may call it at once; only the first answer that arrives counts.

    Parameters
    ----------
    request : CustomResourceRequest
        The request to answer.
    physical_resource_id : str
        The id of the resource if the request has none. It must never change: CloudFormation would take another id for a
        replacement, and delete the resource with the old one.
    """

    def __init__(self, request: CustomResourceRequest, physical_resource_id: str) -> None:
        self._url = request["ResponseURL"]
        self._body = {
            "StackId": request["StackId"],
            "RequestId": request["RequestId"],
            "LogicalResourceId": request["LogicalResourceId"],
            "PhysicalResourceId": request.get("PhysicalResourceId", physical_resource_id),
        }
        self._lock = Lock()
        self._arrived = False

    def succeed(self) -> None:
        """Let the deployment continue."""
        self._send({"Status": "SUCCESS"})

    def fail(self, reason: str) -> None:
        """Make the deployment fail and roll back.

        Parameters
        ----------
        reason : str
            Why. Everyone who can see the stack can read it, so it must hold no secret.
        """
        self._send({"Status": "FAILED", "Reason": reason[:_LONGEST_REASON]})

    def _send(self, outcome: dict[str, str]) -> None:
        body = json.dumps(self._body | outcome).encode()
        # The URL's signature covers an empty content type.
        request = Request(self._url, body, {"Content-Type": ""}, method="PUT")  # noqa: S310  # CloudFormation's own URL
        with self._lock:
            for attempt in range(1, ATTEMPTS + 1):
                if self._arrived:
                    return
                try:
                    with urlopen(request, timeout=SECONDS_PER_ATTEMPT):  # noqa: S310  # as above
                        self._arrived = True
                except (OSError, HTTPException) as error:
                    logger.warning("attempt %d to answer CloudFormation failed: %s", attempt, error)
                    if isinstance(error, HTTPError):
                        error.close()  # the error is the response, and holds its connection
                    if attempt < ATTEMPTS:
                        time.sleep(SECONDS_BETWEEN_ATTEMPTS)
            if not self._arrived:
                logger.error("CloudFormation was not told: %s", outcome)
