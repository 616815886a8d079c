"""Finds the token of a request, as API Gateway's JWT authorizer does."""

from collections.abc import Iterable


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the token in an ASGI scope's headers, without the prefix `Bearer`; "" if there is none."""
    value = b",".join(value for name, value in headers if name == b"authorization").decode("latin-1").strip()
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else value
