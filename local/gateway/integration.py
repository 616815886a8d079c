"""The Lambda proxy integration of an HTTP API, payload format 2.0: from request to event, from result to response.

Nothing here does I/O. Sources: AWS, "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway" (both formats),
"Quotas for configuring and running an HTTP API" and "Lambda quotas" (the limits). Which bodies are text is not
documented. Others have measured it: `text/*`, JSON, XML and JavaScript, in UTF-8. Multipart forms, images and bodies
without a type are base64-encoded.
"""

import base64
import binascii
import functools
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict
from urllib.parse import parse_qsl

from local.account import ACCOUNT
from local.runtime.invocation import Identifiers, encode

API_ID = "local"

LARGEST_BODY = 10 * 1024 * 1024
"""API Gateway's limit for a body, in bytes. AWS does not raise it."""

LONGEST_WAIT = 30.0
"""API Gateway's integration timeout, in seconds. AWS does not raise it for an HTTP API."""

# RFC 9110, section 7.6.1: these headers concern one connection, so a gateway does not forward them.
_HOP_BY_HOP = frozenset(
    (b"connection", b"expect", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
# Headers that the server sets; a handler cannot.
_OWN_HEADERS = frozenset(("connection", "content-length", "date", "keep-alive", "transfer-encoding", "upgrade"))

_TEXT = frozenset(("application/json", "application/javascript", "application/xml"))

# RFC 9110, sections 5.1 and 5.5: a header's name is a token, and its value has no control character except the tab.
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599
_WITHOUT_BODY = frozenset((204, 304))


class HttpScope(TypedDict):
    """The members that we read of ASGI's connection scope (ASGI specification, "HTTP & WebSocket", version 2.3)."""

    method: str
    path: str
    query_string: bytes
    http_version: str
    headers: Iterable[tuple[bytes, bytes]]
    client: tuple[str, int] | None


class MalformedResultError(Exception):
    """A handler's result cannot be sent as an HTTP response."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. Header names are lowercase."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


def make_event(
    scope: HttpScope,
    body: bytes,
    *,
    route_key: str,
    path_parameters: dict[str, str],
    identifiers: Identifiers,
    port: int,
    claims: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return the event for a request, in payload format 2.0.

    Parameters
    ----------
    scope
        The request's ASGI scope, header names in lowercase.
    body
        Its whole body.
    route_key, path_parameters
        The matched route.
    identifiers
        Its identifiers.
    port
        The port that it arrived at.
    claims
        The claims of its token, if the API's authorizer has checked one.
    """
    client = scope["client"]
    source = client[0] if client else ""
    headers, cookies = _headers(scope["headers"])
    if body:
        headers["content-length"] = str(len(body))  # a chunked request has no such header, but its event has
    forwarded = headers.get("x-forwarded-for")
    headers["x-amzn-trace-id"] = identifiers.trace_id
    headers["x-forwarded-for"] = f"{forwarded}, {source}" if forwarded else source
    headers["x-forwarded-port"] = str(port)
    headers["x-forwarded-proto"] = "http"
    now = time.time()
    domain = _host_name(headers.get("host", ""))
    query = scope["query_string"].decode("latin-1")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": scope["path"],
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": scope["method"],
                "path": scope["path"],
                "protocol": f"HTTP/{scope['http_version']}",
                "sourceIp": source,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": identifiers.request_id,
            "routeKey": route_key,
            "stage": "$default",
            "time": _common_log_time(int(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if claims is not None:
        event["requestContext"]["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _query_parameters(query)
    if path_parameters:
        event["pathParameters"] = path_parameters
    if body:
        event["body"], event["isBase64Encoded"] = _body(body, headers.get("content-type", ""))
    return event


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], list[str]]:
    """Return the headers, repeated ones joined with a comma, and the cookies separately."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in pairs:
        if name in _HOP_BY_HOP:
            continue
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        if name == b"cookie":
            cookies += [cookie.strip() for cookie in text.split(";")]
            continue
        key = name.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers, cookies


def _query_parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _body(body: bytes, content_type: str) -> tuple[str, bool]:
    """Return the body as it stands in an event, and whether it is base64-encoded."""
    media_type, _, rest = content_type.lower().partition(";")
    media_type = media_type.strip()
    if media_type in _TEXT or media_type.startswith("text/"):
        charset = rest.partition("charset=")[2].partition(";")[0].strip(' "') or "utf-8"
        if charset == "utf-8":
            try:
                return body.decode(), False
            except UnicodeDecodeError:
                pass  # base64 keeps the bytes, and the function reports what is wrong with them
    return binascii.b2a_base64(body, newline=False).decode("ascii"), True


@functools.lru_cache(maxsize=64)
def _host_name(host: str) -> str:
    """Return the host of a `Host` header without its port. The colons of an IPv6 address stand in brackets."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


@functools.lru_cache(maxsize=1)
def _common_log_time(seconds: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(seconds))


def read_result(result: object, *, without_body: bool = False) -> Response:
    """Return the response for a handler's result.

    A result without `statusCode` is the body of a JSON response with status 200. A string is sent unchanged.

    Parameters
    ----------
    result
        What the handler returned, as JSON says it.
    without_body
        Whether the request was a HEAD: the response keeps the headers and loses the body. Its `Content-Length` is the
        one that the handler gave, if it left the body out itself (RFC 9110, section 8.6).

    Raises
    ------
    MalformedResultError
        If the result cannot be a response. API Gateway answers 500 then.
    """
    if not isinstance(result, dict) or "statusCode" not in result:
        body = result.encode() if isinstance(result, str) else encode(result)
        response = _response(200, [("content-type", "application/json")], body)
        return _to_head(response, "") if without_body else response
    headers = result.get("headers") or {}
    cookies = result.get("cookies") or []
    if not isinstance(headers, dict) or not isinstance(cookies, list):
        raise MalformedResultError("headers must be an object, and cookies must be a list")
    pairs = [(name.lower(), _header_value(value)) for name, value in headers.items()]
    pairs += [("set-cookie", _header_value(cookie)) for cookie in cookies]
    body = _result_body(result)
    if body and not any(name == "content-type" for name, _ in pairs):
        pairs.append(("content-type", "text/plain;charset=UTF-8"))
    response = _response(_status(result["statusCode"]), pairs, body)
    return _to_head(response, dict(pairs).get("content-length", "")) if without_body else response


def _to_head(response: Response, announced: str) -> Response:
    headers = response.headers
    if not response.body and announced.isascii() and announced.isdecimal():
        headers = [(name, announced.encode() if name == b"content-length" else value) for name, value in headers]
    return Response(response.status, headers, b"")


def _status(status: object) -> int:
    if isinstance(status, str) and status.isascii() and status.isdecimal():
        status = int(status)
    if type(status) is not int or not _LOWEST_STATUS <= status <= _HIGHEST_STATUS:
        raise MalformedResultError(f"statusCode is {status!r}")
    return status


def _header_value(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return encode(value).decode()
    raise MalformedResultError("a header's value must be a string, a number or a boolean")


def _result_body(result: dict[str, Any]) -> bytes:
    body = result.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise MalformedResultError("body must be a string")
    if not result.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise MalformedResultError(f"body is not base64: {error}") from error


def _response(status: int, pairs: Iterable[tuple[str, str]], body: bytes) -> Response:
    headers = []
    for name, value in pairs:
        if name in _OWN_HEADERS:
            continue
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            raise MalformedResultError(
                f"HTTP cannot carry the header {name!r}: its name or its value has a forbidden character"
            )
        headers.append((name.encode("ascii"), value.encode()))
    if status in _WITHOUT_BODY:
        return Response(status, headers, b"")
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    return Response(status, headers, body)


def _message(status: int, message: str, *headers: tuple[str, str]) -> Response:
    return _response(status, [("content-type", "application/json"), *headers], encode({"message": message}))


NOT_FOUND = _message(404, "Not Found")
TOKEN_MISSING = _message(401, "Unauthorized", ("www-authenticate", "Bearer"))
TOKEN_INVALID = _message(401, "Unauthorized", ("www-authenticate", 'Bearer error="invalid_token"'))
INTERNAL_SERVER_ERROR = _message(500, "Internal Server Error")
SERVICE_UNAVAILABLE = _message(503, "Service Unavailable")


TOO_LARGE_STATUS = 413


def problem(status: int, title: str, detail: str, **others: str) -> Response:
    """Return a problem document (RFC 9457)."""
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail, **others}
    return _response(status, [("content-type", "application/problem+json")], encode(document))


def too_large(detail: str) -> Response:
    """Return the response to a request over a limit: a problem document that also has API Gateway's `message`."""
    return problem(TOO_LARGE_STATUS, "Content Too Large", detail, message="Request Entity Too Large")
