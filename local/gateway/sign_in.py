"""Where users of the local issuer sign in: OpenID Connect's code flow with PKCE, for whatever name somebody types.

It has an origin of its own, as the issuer of a deployment has: the console may call it only because its page names it.
It listens on loopback only, because it asks for no password. It forgets codes and refresh tokens when the server stops.

Sources: RFC 6749, sections 4.1, 5 and 6 (codes, tokens, refresh tokens); RFC 7636 (PKCE); RFC 7009 (revocation); OpenID
Connect Core 1.0, Discovery 1.0 and RP-Initiated Logout 1.0. The server imports this module only with `AUTH=on`.
"""

import html
import re
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from functions.shared.api.fields import check_user_id
from functions.shared.api.problems import Problem
from functions.shared.api.scopes import Scope
from local.gateway.issuer import ALGORITHM, ISSUER, Issuer
from local.http.body import BodyTooLargeError, Receive, read_body
from local.http.sites import Sites

CLIENT_ID: Final = "onnx-ledger-console"
"""The only client: the console, which can keep no secret."""

SIGNED_IN: Final = "/console/signed-in"
"""The path at the API's server that an answer goes to."""

SIGNED_OUT: Final = "/console/signed-out"
"""The path at the API's server that one goes to after signing out."""

METADATA: Final = "/.well-known/openid-configuration"
"""The path of the discovery document."""

HOST: Final = "127.0.0.1"
"""The address to listen on."""

_PERMITS: Final = {
    Scope.READ_ALL: "see the predictions of all users",
    Scope.DELETE_ALL: "delete the predictions of all users",
    Scope.WRITE_GROUND_TRUTH: "say what has become of the predictions of all users",
}
_CODE_SECONDS: Final = 60
_REFRESH_SECONDS: Final = 12 * 3600
_MOST: Final = 1_000  # codes, and refresh tokens; the oldest goes first
_LARGEST_FORM: Final = 16_384  # bytes
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256 in base64url
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636, section 4.1
_PAGE: Final = Path(__file__).with_name("sign_in.html")
_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_UNCACHED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}

Send = Callable[[Any], Awaitable[None]]
Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a user has granted the console: behind a code, and behind the refresh token that it is exchanged for."""

    session: str
    user: str
    scopes: tuple[str, ...]
    nonce: str | None
    redirect_uri: str
    challenge: str


class _Secrets:
    """Random texts, each of which stands for a grant for some time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._grants: dict[str, tuple[float, _Grant]] = {}

    def make(self, grant: _Grant) -> str:
        """Return a new secret."""
        secret = secrets.token_urlsafe(32)
        self.keep(secret, grant)
        return secret

    def keep(self, secret: str, grant: _Grant) -> None:
        """Make a secret stand for a grant."""
        if len(self._grants) >= _MOST:
            del self._grants[next(iter(self._grants))]
        self._grants[secret] = (time.monotonic() + self._seconds, grant)

    def grant(self, secret: str) -> _Grant | None:
        """Return the grant behind a secret; None if there is none, or none any more."""
        until, grant = self._grants.get(secret, (0.0, None))
        return grant if time.monotonic() < until else None

    def forget(self, secret: str) -> None:
        """Make a secret stand for nothing."""
        self._grants.pop(secret, None)

    def forget_session(self, session: str) -> None:
        """Make all secrets of a session stand for nothing."""
        self._grants = {secret: kept for secret, kept in self._grants.items() if kept[1].session != session}


class _RefusedError(Exception):
    """The console, or who pretends to be it, asks for what it cannot have.

    Parameters
    ----------
    error
        The code of RFC 6749, sections 4.1.2.1 and 5.2.
    description
        What is wrong, for people.
    """

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.answer = {"error": error, "error_description": description}


class SignIn:
    """The application.

    Parameters
    ----------
    issuer
        It signs the tokens.
    port
        The port that the application is served on.
    callers
        The origins of the API's server, such as `http://localhost:3000`: they may call, and answers go there only.
    token_seconds
        How long a token is valid.

    Attributes
    ----------
    address
        Where it is served, such as `http://127.0.0.1:40001`.
    """

    def __init__(self, issuer: Issuer, port: int, callers: Iterable[str], token_seconds: int) -> None:
        self._issuer = issuer
        self.address = f"http://{HOST}:{port}"
        self._callers = tuple(callers)
        self._token_seconds = token_seconds
        self._codes = _Secrets(_CODE_SECONDS)
        self._spent = _Secrets(_REFRESH_SECONDS)
        self._refresh_tokens = _Secrets(_REFRESH_SECONDS)
        self._sites = Sites(HOST)
        self._application = Starlette(
            routes=[
                Route(METADATA, self._metadata),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/revoke", self._revoke, methods=["POST"]),
                Route("/end-session", self._end_session),
            ],
            middleware=[Middleware(CORSMiddleware, allow_origins=self._callers, allow_methods=["GET", "POST"])],
        )

    @property
    def settings(self) -> dict[str, str]:
        """The settings of the function that serves the console."""
        return {
            "SIGN_IN_ISSUER": ISSUER,
            "SIGN_IN_CLIENT_ID": CLIENT_ID,
            "SIGN_IN_METADATA_URL": self.address + METADATA,
        }

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, unless a page of another site sends it."""
        # The console writes from another origin, which CORS permits to it alone. Nobody else signs a user in.
        method = scope["method"] if scope["path"] == "/authorize" else "GET"
        refusal = self._sites.refusal(method, scope["headers"])
        if refusal is None:
            await self._application(scope, receive, send)
        else:
            await _page_with(refusal.detail, refusal.status)(scope, receive, send)

    async def _metadata(self, _: Request) -> Response:
        at = self.address
        return JSONResponse(
            {
                "issuer": ISSUER,
                "authorization_endpoint": f"{at}/authorize",
                "token_endpoint": f"{at}/token",
                "revocation_endpoint": f"{at}/revoke",
                "end_session_endpoint": f"{at}/end-session",
                "jwks_uri": f"{at}/jwks",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", *Scope],
                "prompt_values_supported": ["none", "login"],
            }
        )

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse(self._issuer.key_set())

    async def _authorize(self, request: Request) -> Response:
        """Show the page, or send one who has filled it in back with a code."""
        asked = request.query_params
        redirect_uri = asked.get("redirect_uri", "")
        if asked.get("client_id") != CLIENT_ID:
            return _page_with(f"The only client of this issuer is {CLIENT_ID}.")
        if redirect_uri not in self._at_callers(SIGNED_IN):
            return _page_with("The redirect_uri is not a page of this server. Open the console and sign in there.")
        try:
            challenge = _challenge(asked)
        except _RefusedError as refused:
            return _back(redirect_uri, refused.answer, asked)
        if request.method != "POST":
            return _sign_in_page()
        try:
            form = await _form(request)
            user = check_user_id("/name", form.get("name"))
        except _RefusedError as refused:
            return _page_with(f"{refused}.")
        except Problem as problem:
            return _sign_in_page(problem.detail)
        grant = _Grant(
            session=secrets.token_urlsafe(16),
            user=user,
            scopes=tuple(scope for scope in Scope if scope in form),
            nonce=asked.get("nonce"),
            redirect_uri=redirect_uri,
            challenge=challenge,
        )
        return _back(redirect_uri, {"code": self._codes.make(grant)}, asked)

    async def _token(self, request: Request) -> Response:
        try:
            answer = self._granted(await _form(request))
        except _RefusedError as refused:
            return JSONResponse(refused.answer, HTTPStatus.BAD_REQUEST, _UNCACHED)
        return JSONResponse(answer, headers=_UNCACHED)

    def _granted(self, form: Form) -> dict[str, object]:
        if form.get("client_id") != CLIENT_ID:
            raise _RefusedError("invalid_client", f"the only client of this issuer is {CLIENT_ID}")
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        if form.get("grant_type") == "refresh_token":
            return self._renew(form)
        raise _RefusedError("unsupported_grant_type", "grant_type must be authorization_code or refresh_token")

    def _exchange(self, form: Form) -> dict[str, object]:
        code, verifier = form.get("code", ""), form.get("code_verifier", "")
        spent = self._spent.grant(code)
        if spent is not None:  # somebody has stolen it, or what it was exchanged for (RFC 6749, section 4.1.2)
            self._refresh_tokens.forget_session(spent.session)
        grant = self._codes.grant(code)
        self._codes.forget(code)
        if grant is None:
            raise _RefusedError("invalid_grant", "the code is unknown, used, or older than a minute")
        self._spent.keep(code, grant)
        if form.get("redirect_uri") != grant.redirect_uri:
            raise _RefusedError("invalid_grant", "redirect_uri is not the one that the code was asked for with")
        made = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=")
        if not _VERIFIER.fullmatch(verifier) or not compare_digest(made, grant.challenge.encode()):
            raise _RefusedError("invalid_grant", "code_verifier is not the one of the code_challenge")
        return self._tokens(grant) | {"refresh_token": self._refresh_tokens.make(grant)}

    def _renew(self, form: Form) -> dict[str, object]:
        grant = self._refresh_tokens.grant(form.get("refresh_token", ""))
        if grant is None:
            raise _RefusedError("invalid_grant", "the refresh token is unknown, revoked or expired: sign in again")
        return self._tokens(grant)

    def _tokens(self, grant: _Grant) -> dict[str, object]:
        return {
            "token_type": "Bearer",
            "expires_in": self._token_seconds,
            "scope": " ".join(("openid", *grant.scopes)),
            "access_token": self._issuer.token(grant.user, self._token_seconds, grant.scopes),
            "id_token": self._issuer.id_token(
                grant.user, self._token_seconds, CLIENT_ID, session=grant.session, nonce=grant.nonce
            ),
        }

    async def _revoke(self, request: Request) -> Response:
        try:
            form = await _form(request)
        except _RefusedError as refused:
            return JSONResponse(refused.answer, HTTPStatus.BAD_REQUEST, _UNCACHED)
        self._refresh_tokens.forget(form.get("token", ""))  # one that is not known is revoked (RFC 7009, section 2.2)
        return Response(headers=_UNCACHED)

    async def _end_session(self, request: Request) -> Response:
        asked = request.query_params
        session = self._issuer.session(asked.get("id_token_hint", ""), CLIENT_ID)
        if session is not None:
            self._refresh_tokens.forget_session(session)
        back = asked.get("post_logout_redirect_uri", "")
        if back not in self._at_callers(SIGNED_OUT):
            return _page_with("You are signed out.", HTTPStatus.OK)
        return _back(back, {}, asked)

    def _at_callers(self, path: str) -> set[str]:
        return {origin + path for origin in self._callers}


def _challenge(asked: Mapping[str, str]) -> str:
    """Return the challenge of a request for a code that can be answered.

    Raises
    ------
    _RefusedError
        If it cannot.
    """
    if asked.get("response_type") != "code":
        raise _RefusedError("unsupported_response_type", "response_type must be code")
    if asked.get("response_mode", "query") != "query":
        raise _RefusedError("invalid_request", "response_mode must be query")
    if "openid" not in asked.get("scope", "").split():
        raise _RefusedError("invalid_scope", "scope must have openid")
    challenge = asked.get("code_challenge", "")
    if asked.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise _RefusedError("invalid_request", "code_challenge must be a SHA-256 in base64url, with the method S256")
    if asked.get("prompt") == "none":
        raise _RefusedError("login_required", "nobody is signed in here for longer than it takes")
    return challenge


async def _form(request: Request) -> Form:
    """Return the fields of a form, each of which it has once.

    Raises
    ------
    _RefusedError
        If it is no such form.
    """
    try:
        text = (await read_body(request.scope["headers"], cast("Receive", request.receive), _LARGEST_FORM)).decode()
        fields = parse_qs(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict")
    except (BodyTooLargeError, ValueError) as error:
        raise _RefusedError("invalid_request", f"the body must be a form of at most {_LARGEST_FORM} bytes") from error
    if any(len(values) > 1 for values in fields.values()):
        raise _RefusedError("invalid_request", "the body has a field twice")
    return {name: values[0] for name, values in fields.items()}


def _back(uri: str, answer: Mapping[str, str], asked: Mapping[str, str]) -> Response:
    """Send the browser back to the console, with the state that it came with."""
    state = {"state": asked["state"]} if "state" in asked else {}
    query = urlencode({**answer, **state})
    return RedirectResponse(f"{uri}?{query}" if query else uri, HTTPStatus.SEE_OTHER, _UNCACHED)


def _sign_in_page(problem: str | None = None) -> Response:
    said = "" if problem is None else f'<p role="alert">{html.escape(problem)}</p>'
    scopes = "\n".join(
        f'<label><input type="checkbox" name="{scope}"> {text} <small>({scope})</small></label>'
        for scope, text in _PERMITS.items()
    )
    text = Template(_PAGE.read_text("utf-8")).substitute(problem=said, scopes=scopes)
    return _html(text, HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST)


def _page_with(said: str, status: int = HTTPStatus.BAD_REQUEST) -> Response:
    return _html(f'<!doctype html><html lang="en"><title>Sign in</title><p>{html.escape(said)}</p></html>', status)


def _html(text: str, status: int) -> Response:
    """Return a page that loads nothing, runs nothing, and is part of no other page."""
    hashes = [b64encode(sha256(style.encode()).digest()).decode() for style in _STYLE.findall(text)]
    styles = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    policy = f"default-src 'none'; style-src {styles}; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    return HTMLResponse(
        text, status, {**_UNCACHED, "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
    )
