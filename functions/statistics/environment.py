"""What an execution environment of this function creates once, who asks it for figures, and how it answers."""

from functools import cache
from http import HTTPStatus
from typing import Any, Literal, NamedTuple

from fastapi import Request, Response
from pydantic_core import to_json

from functions.shared.api.app import MAX_RESPONSE_BYTES
from functions.shared.api.auth import caller
from functions.shared.api.negotiation import require_accepts
from functions.shared.api.problems import Problem
from functions.shared.api.query_fields import require_clear
from functions.shared.api.scopes import Scope
from functions.shared.ledger.statistics import StatisticsLedger
from functions.shared.log import start_logging
from functions.shared.settings import FunctionSettings


class Environment(NamedTuple):
    """What an execution environment creates once, for all its events."""

    token_required: bool
    ledger: StatisticsLedger


@cache
def environment() -> Environment:
    """Create the connection pool, on the first call."""
    settings = FunctionSettings.from_environment()
    start_logging(settings.log_level)
    return Environment(settings.token_required, StatisticsLedger.configured(settings))


class Asking(NamedTuple):
    """Whose records a request counts, and where they are.

    Attributes
    ----------
    ledger
        Where the records are.
    user_id
        The user whose records alone are counted; None to count everybody's.
    """

    ledger: StatisticsLedger
    user_id: str | None

    @property
    def of(self) -> Literal["everybody", "yours"]:
        """Whose records are counted, in the words of the answer."""
        return "everybody" if self.user_id is None else "yours"


def asking(request: Request) -> Asking:
    """Return whose records a request counts. Refuse one that is ambiguous.

    Raises
    ------
    Problem
        401, 406 or 422.
    """
    require_accepts(request.headers.get("accept"))
    env = environment()
    user_id = caller(request, required=env.token_required).confined_to(Scope.READ_ALL)
    require_clear(request)
    return Asking(env.ledger, user_id)


def answer(document: dict[str, Any]) -> Response:
    """Answer with a document as JSON, in which NaN and infinity become null.

    Raises
    ------
    Problem
        422 if it is larger than Lambda can answer.
    """
    content = to_json(document, inf_nan_mode="null")
    if len(content) > MAX_RESPONSE_BYTES:
        detail = (
            f"The answer would have {len(content)} bytes, and at most {MAX_RESPONSE_BYTES} can be sent: ask for a "
            "shorter span of time, or for fewer buckets."
        )
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    return Response(content, media_type="application/json")
