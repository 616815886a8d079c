"""Send the ids of queued predictions to the worker: to Amazon SQS, or to whatever else is a `PredictionQueue`."""

from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from functions.shared import wait_budget
from functions.shared.queue.errors import QueueUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH: Final = 10
"""The maximum number of messages in one SQS request (AWS, "Amazon SQS message quotas")."""

# Seconds, so that a caller hears in under three that SQS is not there.
CONNECT_TIMEOUT: Final = 0.5
READ_TIMEOUT: Final = 0.8
ATTEMPTS: Final = 2


class PredictionQueue(Protocol):
    """Where the ids of queued predictions are sent, for a worker."""

    def send(self, prediction_ids: Iterable[UUID]) -> None:
        """Send ids.

        Raises
        ------
        QueueUnavailableError
            If not all could be sent.
        """


class SqsQueue:
    """Sends the ids of queued predictions to Amazon SQS. A message's body is the id and nothing else.

    Parameters
    ----------
    url
        The queue's URL. boto3 chooses the endpoint: the region's, or the one in `AWS_ENDPOINT_URL_SQS` or
        `AWS_ENDPOINT_URL`.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, prediction_ids: Iterable[UUID]) -> None:
        """Send ids in batches of ten, and stop at the first batch that fails.

        Raises
        ------
        QueueUnavailableError
            If not all could be sent. This takes about two seconds at most per batch.
        """
        remaining = iter(prediction_ids)
        while batch := list(islice(remaining, BATCH)):
            self._send(batch)

    def _send(self, prediction_ids: list[UUID]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        began = monotonic()
        try:
            client = self._client  # the first batch creates it, which may take a second, and none of it is a wait
            began = monotonic()
            answer = client.send_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(number), "MessageBody": str(one)} for number, one in enumerate(prediction_ids)],
            )
        except (BotoCoreError, ClientError) as error:
            wait_budget.spend(monotonic() - began)
            raise QueueUnavailableError(str(error)) from error
        if refused := answer.get("Failed"):
            raise QueueUnavailableError(f"{len(refused)} of {len(prediction_ids)} not taken: {refused[0]['Code']}")

    @cached_property
    def _client(self) -> "SQSClient":
        # Importing boto3 and creating a client takes half a second. Functions that send nothing skip that.
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
        )
        return boto3.client("sqs", config=config)
