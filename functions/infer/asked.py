"""What a request asks for. Whatever server has received the request calls this."""

from typing import NamedTuple

from fastapi import Request

from functions.infer import v1, v2
from functions.infer.answers import Asked
from functions.infer.received import Limits, Received, named_user, receive
from functions.shared.api.auth import owner
from functions.shared.api.open_inference import HEADER_LENGTH
from functions.shared.prediction.requests import PredictionRequest
from functions.shared.prediction.serving import Serving


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    limits: Limits
    serving: Serving


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
    user_id = owner(named_user(asked.user_id), received.subject)
    return Asked(env.serving, PredictionRequest(asked.inputs, user_id, received.key, batch=True), asked.respond)


def ask_v1(env: Environment, request: Request, body: bytes) -> Asked:
    """Return what a request of version 1 of the protocol asks for. Errors as in `ask_v2`."""
    received = _receive(env, request, body)
    asked = v1.parse_instances(received.body, env.serving.model.package, env.limits.rows)
    user_id = owner(named_user(asked.user_id), received.subject)
    return Asked(env.serving, PredictionRequest(asked.inputs, user_id, received.key, batch=True), v1.make_predictions)


def _receive(env: Environment, request: Request, body: bytes) -> Received:
    served, required = env.serving.identity, env.token_required
    return receive(request, body, served=served, token_required=required, limits=env.limits)
