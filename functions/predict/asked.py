"""What a request asks for, and its answers. Whatever server has received the request calls this."""

from collections.abc import Sequence
from typing import NamedTuple

from fastapi import Request, Response

from functions.predict.answers import Represent, accepted, nothing_stored, one_record, several_records
from functions.predict.request_body import Limits, Receive, receive_one, receive_several
from functions.shared.api.auth import caller, owner
from functions.shared.api.idempotency import idempotency_key
from functions.shared.api.negotiation import require_accepts
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import Replay
from functions.shared.prediction.queued import enqueue
from functions.shared.prediction.requests import PredictionRequest
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.synchronous import Predicted, Refusal
from functions.shared.queue.predictions import PredictionQueue


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    limits: Limits
    serving: Serving

    @property
    def ledger(self) -> Ledger:
        """Where predictions are stored."""
        return self.serving.ledger


class Asked(NamedTuple):
    """A request, and how its route answers it.

    Attributes
    ----------
    request
        What it asks for.
    pointers
        JSON pointers to its inputs in the body; None if it is a single input.
    represent
        Makes the answer from records.
    """

    request: PredictionRequest
    pointers: Sequence[str] | None
    represent: Represent

    def predicted(self, made: Predicted) -> Response:
        """Return the answer to predictions that are to be stored. Raises `Problem` if it cannot be made."""
        return self.represent(made.records)

    def nothing_stored(self, outcome: Replay | Refusal) -> Response:
        """Return the answer where nothing is stored. Raises as `functions.predict.answers.nothing_stored` does."""
        return nothing_stored(outcome, self.pointers, self.represent)


def ask_one(env: Environment, request: Request, body: bytes) -> Asked:
    """Return what a request to `POST /prediction` asks for.

    Raises
    ------
    Problem
        If it is refused for its headers, its token or its body.
    """
    return _ask(env, request, body, receive_one, one_record)


def ask_several(env: Environment, request: Request, body: bytes) -> Asked:
    """Return what a request to `POST /predictions` asks for. Errors as in `ask_one`."""
    return _ask(env, request, body, receive_several, several_records)


def queue_one(env: Environment, queue: PredictionQueue, asked: Asked) -> Response:
    """Store the input of a request to `POST /prediction`, queue its prediction, and return the answer.

    Raises as `functions.shared.prediction.queued.enqueue` does.
    """
    return accepted(enqueue(env.serving, queue, asked.request), asked.represent)


def _ask(env: Environment, request: Request, body: bytes, receive: Receive, represent: Represent) -> Asked:
    require_accepts(request.headers.get("accept"))
    subject = caller(request, required=env.token_required).user_id
    key = idempotency_key(request)
    received = receive(request, body, env.serving.model.package.takes, env.limits)
    user_id = owner(received.user_id, subject)
    asked = PredictionRequest(received.inputs, user_id, key, received.pointers is not None)
    return Asked(asked, received.pointers, represent)
