"""What the function needs for its answers, created once for all its events."""

import json
from functools import cache
from typing import NamedTuple

from functions.describe.served_model import ServedModel
from functions.shared.api.problems import Problem, unavailable
from functions.shared.inference.errors import InferenceError
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.ledger import Ledger
from functions.shared.log import logger, start_logging
from functions.shared.settings import DescribeSettings


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events.

    Attributes
    ----------
    token_required, max_batch_inputs
        As the settings have them.
    sign_in, sending
        What the console has to know to sign users in, and to send inputs, as JSON.
    connections
        The origins that it calls to do so, beside this server's.
    model
        The served model.
    ledger
        Where predictions are.
    """

    token_required: bool
    max_batch_inputs: int
    sign_in: str
    sending: str
    connections: tuple[str, ...]
    model: ServedModel
    ledger: Ledger


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = DescribeSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(
        settings.token_required,
        settings.max_batch_inputs,
        json.dumps(settings.sign_in),
        json.dumps(settings.sending),
        tuple(dict.fromkeys((*settings.sign_in_connections, *settings.upload_connections))),
        ServedModel(settings.model),
        Ledger.configured(settings),
    )


def package_or_problem() -> ModelPackage:
    """Return the served model.

    Raises
    ------
    Problem
        503 if it cannot be read.
    """
    try:
        return environment().model.package
    except InferenceError as error:
        logger.error("the model cannot be read", reason=str(error))
        raise unreachable([("/model", "the model cannot be read")]) from error


def unreachable(errors: list[tuple[str, str]]) -> Problem:
    """Make the answer that something cannot be reached: pointers, and what of each is wrong."""
    detail = f"{' and '.join(what for _, what in errors).capitalize()}."
    return unavailable(detail, errors=errors)
