"""What a request asks for. Whatever server has received the request calls this."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import Request

from functions.infer import v1, v2
from functions.infer.answers import Asked
from functions.infer.received import Limits, Received, named_inference_id, named_user, receive
from functions.shared.api.auth import owner
from functions.shared.api.open_inference import HEADER_LENGTH
from functions.shared.ledger.ledger import Ledger
from functions.shared.prediction.requests import Input, PredictionRequest
from functions.shared.prediction.serving import Serving


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    limits: Limits
    serving: Serving

    @property
    def ledger(self) -> Ledger:
        """Where predictions are stored."""
        return self.serving.ledger


def ask_v2(env: Environment, request: Request, body: bytes) -> Asked:
    """Return what a request of version 2 of the protocol asks for.

    Raises
    ------
    Problem, InputError
        If it is refused for its headers, its token or its body.
    """
    received = _receive(env, request, body)
    served = env.serving.identity
    asked = v2.read(received.body, request.headers.get(HEADER_LENGTH), env.serving.model, served, env.limits.rows)
    return Asked(env.serving, _request(received, asked.inputs, asked.parameters), asked.respond)


def ask_v1(env: Environment, request: Request, body: bytes) -> Asked:
    """Return what a request of version 1 of the protocol asks for. Errors as in `ask_v2`."""
    received = _receive(env, request, body)
    asked = v1.parse_instances(received.body, env.serving.model.package, env.limits.rows)
    return Asked(env.serving, _request(received, asked.inputs, asked.parameters), v1.make_predictions)


def _request(received: Received, inputs: tuple[Input, ...], parameters: Mapping[str, Any]) -> PredictionRequest:
    """Return the request for the rows, which all get the inference id that its parameters name."""
    user_id = owner(named_user(parameters), received.subject)
    inference_id = named_inference_id(parameters)
    if inference_id is not None:
        inputs = tuple(one._replace(inference_id=inference_id) for one in inputs)
    return PredictionRequest(inputs, user_id, received.key, batch=True)


def _receive(env: Environment, request: Request, body: bytes) -> Received:
    served, required = env.serving.identity, env.token_required
    return receive(request, body, served=served, token_required=required, limits=env.limits)
