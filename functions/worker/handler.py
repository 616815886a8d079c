"""Predict what is queued: a batch of SQS messages at a time, each of them the id of a prediction.

A message may come twice, at once or late: the ledger says whose turn it is, and keeps the first outcome. What is wrong
for good (a bad input) is the prediction's outcome. What another try may mend (the model failed, there was no time) is
left to the queue, which delivers the message again, and after some tries puts it on its dead-letter queue.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from time import perf_counter
from typing import Final, Protocol, TypedDict
from uuid import UUID

from functions.shared.inference.model import Model
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import ClaimedPrediction, Failure, ModelIdentity, Success
from functions.shared.ledger.secret import resolve_database_url
from functions.shared.log import logger
from functions.shared.object_storage.bucket import PARALLEL, ObjectStore
from functions.shared.object_storage.errors import ObjectMissingError, ObjectStoreUnavailableError
from functions.shared.prediction.pace import Pace
from functions.shared.prediction.serving import load_model
from functions.shared.prediction.worker_batch import outcomes_of
from functions.shared.settings import WorkerSettings, on_lambda

LEASE_MARGIN: Final = 1.0
"""Seconds that a statement may still be under way after Lambda has ended its function."""


class Message(TypedDict):
    """What is read of one message."""

    messageId: str
    body: str


class Event(TypedDict):
    """What is read of an event (AWS, "Using Lambda with Amazon SQS")."""

    Records: list[Message]


class ItemFailure(TypedDict):
    """A message that is to be delivered again."""

    itemIdentifier: str


class Answer(TypedDict):
    """`ReportBatchItemFailures`: every message that is not named here is deleted."""

    batchItemFailures: list[ItemFailure]


class LambdaContext(Protocol):
    """What is read of the context object (AWS, "Using the Lambda context object")."""

    @property
    def aws_request_id(self) -> str:
        """The id of this invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the invocation."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an execution environment makes once and every event uses."""

    model: Model
    identity: ModelIdentity
    ledger: Ledger
    objects: ObjectStore | None
    pace: Pace


@cache
def environment() -> Environment:
    """Load the model, warm it up and make the connection pool, the first time."""
    settings = WorkerSettings.from_environment()
    model, identity = load_model(settings)
    return Environment(
        model,
        identity,
        Ledger.at(resolve_database_url(settings.database_url, settings.database_secret_arn)),
        ObjectStore(settings.inputs_bucket) if settings.inputs_bucket else None,
        Pace.of(model),
    )


def handler(event: Event, context: LambdaContext) -> Answer:
    """Predict a batch, with one query, one run of the model and one statement.

    Raises
    ------
    LedgerError
        If the database cannot be reached, and the whole batch is to be delivered again.
    """
    logger.request_id = context.aws_request_id
    env = environment()
    again: list[str] = []
    messages: dict[UUID, list[str]] = {}
    for message in event["Records"]:
        try:
            messages.setdefault(UUID(message["body"]), []).append(message["messageId"])
        except ValueError:
            # Nobody of ours has sent this. The dead-letter queue keeps it, and its alarm tells of it.
            logger.error("a message is no prediction's id", message_id=message["messageId"])
            again.append(message["messageId"])

    # Every worker is given the same time, so one that has had this much is no more.
    lease_seconds = context.get_remaining_time_in_millis() / 1000 + LEASE_MARGIN
    claim = env.ledger.claim(messages, lease_seconds=lease_seconds)
    outcomes = _outcomes(env, claim.claimed, context)
    decided = {outcome.prediction_id for outcome in outcomes}
    if outcomes:
        _record(env, outcomes)
    undecided = [one.prediction_id for one in claim.claimed if one.prediction_id not in decided]
    again += [message_id for prediction_id in (*claim.busy, *undecided) for message_id in messages[prediction_id]]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}


def _outcomes(
    env: Environment, claimed: Sequence[ClaimedPrediction], context: LambdaContext
) -> list[Success | Failure]:
    """Predict as many as there is time for, which should be all of them, in one portion."""
    outcomes: list[Success | Failure] = []
    fetched = _fetched(env.objects, claimed)
    count = max(1, env.pace.affordable(context.get_remaining_time_in_millis()))
    began = perf_counter()
    while portion := list(islice(fetched, count)):
        outcomes += outcomes_of(env.model, portion)
        ended = perf_counter()
        env.pace.note(len(portion), (ended - began) * 1000)
        count, began = env.pace.affordable(context.get_remaining_time_in_millis()), ended
    return outcomes


def _fetched(
    objects: ObjectStore | None, claimed: Sequence[ClaimedPrediction]
) -> Iterator[ClaimedPrediction | Failure]:
    """Yield predictions with their inputs' bytes, a few at a time, since not all of them may fit into the memory.

    One whose bytes are gone fails. Those that cannot be fetched at the moment are left out.
    """
    if all(one.uri is None for one in claimed):
        yield from claimed
        return
    with ThreadPoolExecutor(PARALLEL) as threads:
        for start in range(0, len(claimed), PARALLEL):
            found = list(threads.map(partial(_fetch, objects), claimed[start : start + PARALLEL]))
            yield from (one for one in found if one is not None)
            if None in found:
                return  # each of the others would take its time to be refused too


def _fetch(objects: ObjectStore | None, one: ClaimedPrediction) -> ClaimedPrediction | Failure | None:
    if one.uri is None:
        return one
    if objects is None:
        logger.error("an input is in a bucket, and INPUTS_BUCKET is not set")
        return None
    try:
        content = objects.get(objects.key(one.uri))
    except ObjectMissingError as error:
        logger.error("an input's object is missing", reason=str(error))
        return Failure(one.prediction_id, "The bytes of the input are no longer there.")
    except ObjectStoreUnavailableError as error:
        logger.error("object storage cannot be reached", reason=str(error))
        return None
    return one._replace(content=content)


def _record(env: Environment, outcomes: Sequence[Success | Failure]) -> None:
    started = perf_counter()
    decided_before = set(env.ledger.complete(env.identity, outcomes))
    store_ms = round((perf_counter() - started) * 1000, 3)
    logger.info_each(
        [_told(outcome, decided_before) for outcome in outcomes],
        model=env.identity.name,
        version=env.identity.version,
        batch=len(outcomes),
        store_ms=store_ms,
    )


def _told(outcome: Success | Failure, decided_before: set[UUID]) -> tuple[str, Mapping[str, object]]:
    prediction_id = str(outcome.prediction_id)
    if outcome.prediction_id in decided_before:
        return "predicted before", {"prediction_id": prediction_id}
    if isinstance(outcome, Failure):
        return "failed", {"prediction_id": prediction_id, "reason": outcome.error}
    return "predicted", {"prediction_id": prediction_id, "duration_ms": outcome.duration_ms}


if on_lambda():
    env = environment()
    try:
        env.ledger.register(env.identity)
    except LedgerUnavailableError as error:
        # A database that is away at start-up is no reason to be away too: the first batch tries again.
        logger.warning("the model could not be registered yet", reason=str(error))
