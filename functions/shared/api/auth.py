"""Who calls, and what they may do: only what API Gateway's JWT authorizer confirms."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from fastapi import Request

from functions.shared.api.fields import ANONYMOUS, check_user_id
from functions.shared.api.problems import Problem
from functions.shared.api.scopes import RESOURCE_SERVER, Scope
from functions.shared.ledger.errors import RecordNotFoundError
from functions.shared.log import logger

Found = TypeVar("Found")


class Caller(NamedTuple):
    """Who sent a request.

    Attributes
    ----------
    user_id
        The user in the token; None if the API has no authorizer, and everybody may do everything.
    scopes
        The scopes in the token, as it has them.
    """

    user_id: str | None
    scopes: frozenset[str] = frozenset()

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has a scope, or the API has no authorizer."""
        return self.user_id is None or not self.scopes.isdisjoint((scope, f"{RESOURCE_SERVER}/{scope}"))

    def confined_to(self, scope: Scope) -> str | None:
        """Return the user whose records alone the caller may touch without a scope; None if it may touch all."""
        return None if self.may(scope) else self.user_id


def caller(request: Request, *, required: bool) -> Caller:
    """Return who sent a request.

    Reads `requestContext.authorizer.jwt` of the event (AWS, "Control access to HTTP APIs with JWT authorizers in API
    Gateway"). A caller cannot forge it: API Gateway writes it after checking the token.

    Parameters
    ----------
    request
        The request.
    required
        Whether the deployment has an authorizer. If so, a request without a user is refused.

    Raises
    ------
    Problem
        401, if a required user is missing, or if the token's `sub` is not a valid user id. Taking such a token for no
        token would show everybody's records.
    """
    authorizer = request.scope["aws.event"]["requestContext"].get("authorizer")
    if authorizer is None:
        if required:
            raise _unauthorized("Send a valid token as Authorization: Bearer …")
        return Caller(None)
    token = _member(authorizer, "jwt")
    claims = _member(token, "claims")
    try:
        return Caller(check_user_id("/sub", claims.get("sub")), _scopes(token, claims))
    except Problem as problem:
        raise _unauthorized(f"The token names no user: {problem.detail}") from problem


def _member(value: object, name: str) -> dict[str, Any]:
    """Return an object's member that is an object; an empty one if there is none."""
    member = value.get(name) if isinstance(value, dict) else None
    return member if isinstance(member, dict) else {}


def _scopes(token: dict[str, Any], claims: dict[str, Any]) -> frozenset[str]:
    """Return the scopes of a token.

    They are words in `scope` (RFC 8693, section 4.2) or `scp`, whichever the issuer writes. API Gateway makes a string
    of every claim: of a list, its words in brackets. It lists the scopes itself where a route asks for one.
    """
    found: list[object] = [claims.get("scope"), claims.get("scp"), token.get("scopes")]
    words: set[str] = set()
    for value in found:
        if isinstance(value, str):
            words.update(value.strip("[]").split())
        elif isinstance(value, list):
            words.update(word for word in value if isinstance(word, str))
    return frozenset(words)


def _unauthorized(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})  # RFC 6750, section 3


def find_readable(reader: Caller, prediction_id: UUID, find: Callable[[str | None], Found]) -> Found:
    """Return what belongs to a record, if the caller may read it. A read by scope is logged with the record's id.

    Parameters
    ----------
    reader
        Who asks.
    prediction_id
        The record.
    find
        Finds it if it belongs to the given user; to whomever, if given None.

    Raises
    ------
    RecordNotFoundError
        If there is no such record, or the caller may not read it.
    """
    try:
        return find(reader.user_id)
    except RecordNotFoundError:
        if reader.user_id is None or not reader.may(Scope.READ_ALL):
            raise
    found = find(None)
    log_read_by_scope(reader, [prediction_id])
    return found


def log_read_by_scope(reader: Caller, prediction_ids: Iterable[UUID]) -> None:
    """Log which records of other users a caller was shown because of its scope."""
    ids = [str(prediction_id) for prediction_id in prediction_ids]
    if ids:
        logger.warning("read others' records", scope=Scope.READ_ALL, read_by=reader.user_id, prediction_ids=ids)


def require_own(user_id: str | None, subject: str | None) -> None:
    """Refuse a request whose user differs from the token's user.

    Parameters
    ----------
    user_id
        The user that the request names, if any.
    subject
        The user in the token; None if the API has no authorizer, and a request may name any user.

    Raises
    ------
    Problem
        403, if both are given and differ.
    """
    if subject is not None and user_id is not None and user_id != subject:
        detail = "user_id is not the user of the token: omit it, or send the user of the token."
        raise Problem(HTTPStatus.FORBIDDEN, detail, errors=[("/user_id", "not the user of the token")])


def owner(user_id: str | None, subject: str | None) -> str:
    """Return the owner of a new record: the token's user, else the request's user, else `anonymous`.

    Parameters and errors as in `require_own`.
    """
    require_own(user_id, subject)
    if subject is not None:
        return subject
    return ANONYMOUS if user_id is None else user_id
