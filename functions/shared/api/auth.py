"""The caller's identity: the user that API Gateway's JWT authorizer confirms, and no other."""

from http import HTTPStatus

from fastapi import Request

from functions.shared.api.fields import ANONYMOUS, check_user_id
from functions.shared.api.problems import Problem


def caller(request: Request, *, required: bool) -> str | None:
    """Return the user in the token; None if the API has no authorizer.

    Reads `requestContext.authorizer.jwt.claims.sub` of the event (AWS, "Control access to HTTP APIs with JWT
    authorizers in API Gateway"). A caller cannot forge it: API Gateway writes it after checking the token.

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
        return None
    subject = authorizer.get("jwt", {}).get("claims", {}).get("sub")
    try:
        return check_user_id("/sub", subject)
    except Problem as problem:
        raise _unauthorized(f"The token names no user: {problem.detail}") from problem


def _unauthorized(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})  # RFC 6750, section 3


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
