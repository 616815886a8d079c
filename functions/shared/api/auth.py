"""Who is calling: the user that API Gateway's JWT authorizer vouches for, and nobody else's word."""

from http import HTTPStatus

from fastapi import Request

from functions.shared.api.fields import ANONYMOUS, check_user_id
from functions.shared.api.problems import Problem


def caller(request: Request, *, required: bool) -> str | None:
    """Return the user that the token names; None where the API has no authorizer.

    Reads `requestContext.authorizer.jwt.claims.sub` of the event (AWS, "Control access to HTTP APIs with JWT
    authorizers in API Gateway"), which a caller cannot write: API Gateway does, after it has checked the token.

    Parameters
    ----------
    request
        The request.
    required
        Whether the deployment has an authorizer, so that a request without a user must not pass.

    Raises
    ------
    Problem
        401, if a user is required and there is none, or if the token's `sub` is no user id: a token that names nobody
        must not be taken for a request without one, which sees everybody's records.
    """
    authorizer = request.scope["aws.event"]["requestContext"].get("authorizer")
    if authorizer is None:
        if required:
            raise _unauthorized("Send a valid token as Authorization: Bearer …")
        return None
    subject = authorizer.get("jwt", {}).get("claims", {}).get("sub")
    try:
        return check_user_id("/sub", subject)
    except Problem as problem:
        raise _unauthorized(f"The token names no user: {problem.detail}") from problem


def _unauthorized(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})  # RFC 6750, section 3


def require_own(user_id: str | None, subject: str | None) -> None:
    """Refuse a request that names another user than its token does.

    Parameters
    ----------
    user_id
        The user that the request names, if it names one.
    subject
        The user that the token names; None where the API has no authorizer, and anyone may name anyone.

    Raises
    ------
    Problem
        403, if both are there and differ.
    """
    if subject is not None and user_id is not None and user_id != subject:
        detail = "user_id is not the user of the token: leave it out, or send that user's own."
        raise Problem(HTTPStatus.FORBIDDEN, detail, errors=[("/user_id", "not the user of the token")])


def owner(user_id: str | None, subject: str | None) -> str:
    """Return whose a new record is: the token's user, else the one that the request names, else `anonymous`.

    Parameters and errors as in `require_own`.
    """
    require_own(user_id, subject)
    if subject is not None:
        return subject
    return ANONYMOUS if user_id is None else user_id
