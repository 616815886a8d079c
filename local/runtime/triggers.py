"""The triggers of a function besides HTTP: the event source mapping of a queue, and a schedule.

As on AWS, a message that was received is invisible for its queue's visibility timeout. The mapping deletes it once the
function has succeeded on it. Otherwise SQS delivers it again, and after too many receives moves it to the dead-letter
queue.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Final, cast

from local.account import ACCOUNT, region_of
from local.runtime.invocation import (
    FunctionError,
    FunctionStartError,
    FunctionTimeoutError,
    Invocation,
    encode,
    new_identifiers,
)
from local.runtime.pool import FunctionPool, Report
from local.runtime.sqs_event import Message, make_event, messages_done
from local.services.aws import CREDENTIALS, LocalAws
from local.template import QueueSource
from local.waiting import in_thread

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_LONGEST_POLL = 20  # seconds, SQS's limit
_MOST_AT_ONCE = 10  # messages in one request to SQS, its limit as well
_RECEIVE_PAUSE = 1.0  # seconds between attempts to reach the queue
_SCHEDULE_PAUSE = 5.0  # seconds between attempts to run a scheduled function after the queue was lost

LOST: Final = {"queue_lost": True}
"""Member of the scheduled event that tells the function that the queue is new, so that its messages are lost."""


class EventSourceMapping:
    """Receives messages and invokes a function with them, in batches.

    Parameters
    ----------
    source
        The queue, and the size of a batch.
    pool
        The function. Each of its environments can run a batch at the same time.
    aws
        The service that has the queue.
    report
        Called when a batch fails.
    """

    def __init__(self, source: QueueSource, pool: FunctionPool, aws: LocalAws, report: Report) -> None:
        self._source = source
        self._pool = pool
        self._url = aws.queue_url(source.queue)
        self._arn = aws.queue_arn(source.queue)
        self._endpoint = aws.endpoint
        self._report = report
        self._answers = False
        self.lost = asyncio.Event()
        """To be set when the queue was restarted: its messages are lost then. Set here when it answers first."""

    async def run(self) -> None:
        """Deliver messages until cancelled."""
        client = await in_thread(self._connect)
        free = asyncio.Semaphore(self._pool.size)
        async with asyncio.TaskGroup() as batches:
            while True:
                await free.acquire()
                messages = await self._next_batch(client)
                batch = batches.create_task(self._deliver(client, messages))
                batch.add_done_callback(lambda _: free.release())

    def _connect(self) -> "SQSClient":
        import boto3
        from botocore.config import Config

        return boto3.client(
            "sqs",
            endpoint_url=self._endpoint,
            region_name=self._arn.split(":")[3],
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(read_timeout=_LONGEST_POLL + 10, retries={"total_max_attempts": 1}),
        )

    async def _next_batch(self, client: "SQSClient") -> list[Message]:
        """Wait for a message; return it with those that arrive within the batching window."""
        size = self._source.batch_size
        messages: list[Message] = []
        while not messages:
            messages = await self._receive(client, size, _LONGEST_POLL if self._answers else 0)
        until = time.monotonic() + self._source.window
        while len(messages) < size and (left := until - time.monotonic()) > 0:
            messages += await self._receive(client, size - len(messages), min(ceil(left), _LONGEST_POLL))
        return messages

    async def _receive(self, client: "SQSClient", count: int, seconds: int) -> list[Message]:
        def receive() -> list[Message]:
            answer = client.receive_message(
                QueueUrl=self._url,
                AttributeNames=["All"],
                MaxNumberOfMessages=min(count, _MOST_AT_ONCE),
                WaitTimeSeconds=seconds,
            )
            return cast("list[Message]", answer.get("Messages", []))

        try:
            messages = await in_thread(receive)
        except _errors():
            await asyncio.sleep(_RECEIVE_PAUSE)
            return []
        if not self._answers:
            self._answers = True
            self.lost.set()
        return messages

    async def _deliver(self, client: "SQSClient", messages: Sequence[Message]) -> None:
        result = await run_event(self._pool, make_event(messages, queue_arn=self._arn), self._report)
        if result is None:
            return
        done = messages_done(messages, result) if self._source.reports_failures else messages
        for start in range(0, len(done), _MOST_AT_ONCE):
            await in_thread(self._delete, client, done[start : start + _MOST_AT_ONCE])

    def _delete(self, client: "SQSClient", messages: Sequence[Message]) -> None:
        entries = [{"Id": str(at), "ReceiptHandle": one["ReceiptHandle"]} for at, one in enumerate(messages)]
        try:
            client.delete_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[arg-type]  # plain dicts
        except _errors() as error:
            # SQS delivers them again, and the function finds that they are done.
            self._report(f"{len(messages)} messages of {self._source.queue} could not be deleted: {error}")


class Schedule:
    """Runs a function once a period, and at once when a queue has lost its messages.

    Parameters
    ----------
    pool
        The function.
    lost
        Set when the messages are lost.
    report
        Called when the function fails.
    """

    def __init__(self, pool: FunctionPool, lost: asyncio.Event, report: Report) -> None:
        self._pool = pool
        self._period = pool.function.period or 0.0
        self._lost = lost
        self._report = report

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._lost.wait(), self._period)
            except TimeoutError:
                await run_event(self._pool, _scheduled(), self._report)
                continue
            self._lost.clear()
            if await run_event(self._pool, {**_scheduled(), **LOST}, self._report) is None:
                self._lost.set()
                await asyncio.sleep(_SCHEDULE_PAUSE)


def _scheduled() -> dict[str, Any]:
    """Return an event as EventBridge makes it (AWS, "Events from AWS services": scheduled events)."""
    identifiers = new_identifiers()
    return {
        "version": "0",
        "id": identifiers.invocation_id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "region": region_of(os.environ),
        "resources": [],
        "detail": {},
    }


async def run_event(pool: FunctionPool, event: dict[str, Any], report: Report) -> bytes | None:
    """Run a function on an event and return its result as JSON, or None if it fails. The failure is reported."""
    invocation = Invocation(encode(event), new_identifiers())
    pool.invoke(invocation)
    try:
        return await invocation.result
    except FunctionStartError:
        pass  # the pool has reported it
    except (FunctionError, FunctionTimeoutError) as error:
        report(f"{pool.function.name}: {error}")
    return None


def _errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError
