"""Media types: the type of a body, and the types that the caller accepts (RFC 9110, sections 8.3.1 and 12.5.1)."""

from http import HTTPStatus

from functions.shared.api.problems import Problem


def essence(header: str) -> str:
    """Return a content type without its parameters, in lower case (RFC 9110, section 8.3.1)."""
    return header.partition(";")[0].strip().lower()


def accepts(accept: str | None, contenttype: str) -> bool:
    """Tell whether an `Accept` header admits a content type.

    Parameters
    ----------
    accept
        The header. None admits everything.
    contenttype
        A content type without parameters, such as `application/json`.
    """
    return quality(accept, contenttype) > 0


def quality(accept: str | None, contenttype: str) -> float:
    """Return the weight, 0 to 1, that an `Accept` header gives to a content type. The most specific range decides."""
    if accept is None or accept.strip() in ("", "*/*"):
        return 1.0
    kind = contenttype.partition("/")[0]
    exactness = {contenttype: 3, f"{kind}/*": 2, "*/*": 1}
    best = (0, 0.0)
    for media_range in accept.lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        if name in exactness:
            best = max(best, (exactness[name], _weight(parameters)))
    return best[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 1.0
    return 1.0


def require_accepts(accept: str | None, contenttype: str = "application/json") -> None:
    """Refuse a request whose `Accept` does not admit the route's content type.

    Raises
    ------
    Problem
        406; it names the route's content type.
    """
    if accept != "*/*" and not accepts(accept, contenttype):
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, f"The answer is {contenttype}, which Accept does not admit.")
