"""Verifies the tokens of callers, which no gateway has verified: JSON Web Tokens that an OpenID Connect issuer signed.

A token is good if a key of the issuer signed it, and its issuer, audience and times are right, as API Gateway's JWT
authorizer demands (AWS, "Control access to HTTP APIs with JWT authorizers in API Gateway"; RFC 7519; RFC 8725). The
issuer publishes its keys as a JSON Web Key Set (RFC 7517), which its discovery document names (OpenID Connect
Discovery 1.0, section 4). Nothing that a token says of itself leads to a key: not `jku`, `jwk` nor `x5u`.

The server imports this module only with `AUTH=on`.
"""

import asyncio
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import httpx
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact, validate_compact
from joserfc.jwt import JWTClaimsRegistry
from pydantic_core import from_json

from functions.shared.api.problems import Problem
from functions.shared.log import logger
from local.batching.settings import TokenSettings, is_safe
from local.http.bearer import token_of

Claims = dict[str, str]
"""The claims of a token, each as the text that API Gateway makes of it. Tokens are remembered: change nothing in it."""

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""The signatures that are accepted (RFC 7518, section 3.1): those of a private key. Never `none`, nor an HMAC."""

LARGEST_TOKEN: Final = 16_384
"""The largest token, in characters."""

MOST_TOKENS: Final = 4_096
"""How many verified tokens a process remembers."""

_LARGEST_DOCUMENT = 262_144  # bytes of a key set or a discovery document
_MOST_KEYS = 100
_RSA_BITS = range(2_048, 8_193)  # NIST SP 800-131A wants 2,048; more than 8,192 only cost time
# RFC 9068, section 4, and what issuers wrote before it. Others are for another purpose (RFC 8725, section 3.11).
_KINDS = frozenset(("jwt", "at+jwt"))
_DISCOVERY = "/.well-known/openid-configuration"


class InvalidTokenError(Exception):
    """A token is not valid. The message says why, for the caller."""


class KeysUnavailableError(Exception):
    """The issuer's keys cannot be had at the moment, so nobody knows whether a token is valid.

    Parameters
    ----------
    retry_after
        Seconds until the issuer is asked again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the keys of the issuer cannot be had; the next attempt is in {retry_after} s")
        self.retry_after = retry_after


def problem(error: InvalidTokenError | KeysUnavailableError) -> Problem:
    """Return the response to a request whose token was not accepted (RFC 6750, section 3)."""
    if isinstance(error, KeysUnavailableError):
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The token cannot be verified now, because the keys of its issuer cannot be had. Nothing was stored. Try "
            f"again in {error.retry_after} seconds.",
            headers={"Retry-After": str(error.retry_after)},
        )
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        f"The token is not valid: {error}. Send a valid one as Authorization: Bearer …",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


class _PublishedKey(NamedTuple):
    kid: str | None
    key: RSAKey | ECKey
    thumbprint: str  # RFC 7638


class _Verified(NamedTuple):
    claims: Claims
    until: float  # seconds since the epoch
    thumbprint: str  # of the key that signed it


class _Registry(JWSRegistry):
    """joserfc's checks of a token's header, in which others than it knows may stand."""

    max_header_length = 4_096
    max_payload_length = LARGEST_TOKEN


_REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


@cache
def _tls() -> SSLContext:
    """Read the certificate authorities, once a process: that takes 20 ms."""
    return httpx.create_ssl_context()


class Verifier:
    """Verifies tokens with the keys of one issuer, and remembers those that were good until they expire.

    Parameters
    ----------
    settings
        Whose tokens are accepted.
    fresh_seconds
        After so long the keys are fetched again, while tokens are still verified with those that are there.
    pause_seconds
        The issuer is asked at most once in so many seconds, whatever tokens come.
    fetch_seconds
        How long it may take to answer.
    """

    def __init__(
        self,
        settings: TokenSettings,
        *,
        fresh_seconds: float = 300,
        pause_seconds: float = 10,
        fetch_seconds: float = 5,
    ) -> None:
        self._settings = settings
        self._fresh_seconds = fresh_seconds
        self._pause_seconds = pause_seconds
        self._fetch_seconds = fetch_seconds
        self._rules = JWTClaimsRegistry(
            leeway=settings.clock_skew_seconds,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "values": list(settings.audience)},
            exp={"essential": True},
        )
        self._verified: dict[bytes, _Verified] = {}
        self._keys: Sequence[_PublishedKey] = ()
        self._fetched = self._asked = -float("inf")  # by the monotonic clock
        self._failed = False  # whether the last attempt to fetch the keys failed
        self._fetching: asyncio.Task[None] | None = None
        self._tls = _tls()

    async def accept(self, scope: dict[str, Any]) -> None:
        """Put the claims of a request's token into the event in its ASGI scope, as API Gateway's authorizer does.

        Raises
        ------
        Problem
            401, if there is no valid token; 503, if nobody can tell at the moment.
        """
        token = token_of(scope["headers"])
        if not token:
            detail = "Send a valid token as Authorization: Bearer …"
            raise Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
        try:
            claims = await self.claims(token)
        except (InvalidTokenError, KeysUnavailableError) as error:
            raise problem(error) from error
        scope["aws.event"]["requestContext"]["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}

    async def claims(self, token: str) -> Claims:
        """Return the claims of a token.

        Raises
        ------
        InvalidTokenError
            If it is not a valid token of the issuer.
        KeysUnavailableError
            If the key that it names is not known, and the issuer cannot be asked for it.
        """
        digest = sha256(token.encode()).digest()
        verified = self._verified.get(digest)
        if verified is not None and time.time() < verified.until:
            if time.monotonic() - self._fetched > self._fresh_seconds:
                self._begin_fetch()
            return verified.claims
        return self._remember(digest, await self._verify(token))

    async def _verify(self, token: str) -> _Verified:
        if len(token) > LARGEST_TOKEN:
            raise InvalidTokenError(f"it is longer than {LARGEST_TOKEN} characters")
        try:
            # First without joserfc, whose parser of JSON takes what is nested so deep that it exhausts the stack.
            header = _json_object(_decoded(token.partition(".")[0]))
            signed = extract_compact(token.encode("ascii"), registry=_REGISTRY)
            claims = _json_object(signed.payload)
        except (JoseError, ValueError, TypeError) as error:
            raise InvalidTokenError("it is not a signed JSON Web Token") from error
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if algorithm not in ALGORITHMS:
            raise InvalidTokenError(f"it must be signed with one of {', '.join(ALGORITHMS)}")
        if "crit" in header:
            raise InvalidTokenError("its header has crit, and nothing that it may demand is understood here")
        if kind is not None and str(kind).lower().removeprefix("application/") not in _KINDS:
            raise InvalidTokenError("it is for another purpose than a request, by its typ")
        # Before the key is looked for, so that no token of another issuer makes this server ask for keys.
        self._check(claims)
        key = await self._key(algorithm, kid)
        try:
            good = validate_compact(signed, key.key, ALGORITHMS, _REGISTRY)
        except (JoseError, ValueError) as error:
            raise InvalidTokenError("its signature is not one of its key") from error
        if not good:
            raise InvalidTokenError("its signature is wrong")
        texts = {name: _text(value) for name, value in claims.items()}
        return _Verified(texts, claims["exp"] + self._settings.clock_skew_seconds, key.thumbprint)

    def _check(self, claims: Mapping[str, Any]) -> None:
        audience = claims.get("client_id") if claims.get("aud") is None else claims["aud"]
        try:
            self._rules.validate({**claims, "aud": audience})
        except ExpiredTokenError as error:
            raise InvalidTokenError("it has expired") from error
        except (InvalidClaimError, MissingClaimError) as error:
            raise InvalidTokenError(f"{_lower(error.description)}") from error

    async def _key(self, algorithm: str, kid: object) -> _PublishedKey:
        """Return the key that a token names. A key that is not known may be new, so the issuer is asked for it."""
        if time.monotonic() - self._fetched > self._fresh_seconds:
            fetching = self._begin_fetch()
            if fetching is not None and not self._keys:
                await asyncio.shield(fetching)
        key = self._find(algorithm, kid)
        if key is None:
            fetching = self._begin_fetch()
            if fetching is not None:
                await asyncio.shield(fetching)  # others wait for the same answer, and a client may hang up
                key = self._find(algorithm, kid)
        if key is None and (self._failed or not self._keys):
            wait = self._pause_seconds - (time.monotonic() - self._asked)
            raise KeysUnavailableError(max(1, round(wait)))
        if key is None:
            raise InvalidTokenError("the key that signed it is none of its issuer's, or it does not name the key")
        return key

    def _find(self, algorithm: str, kid: object) -> _PublishedKey | None:
        """Return the only key that may have signed a token; None if there is none, or if it may be one of several."""
        found = [one for one in self._keys if (kid is None or one.kid == kid) and _signs(one.key, algorithm)]
        return found[0] if len(found) == 1 else None

    def _remember(self, digest: bytes, verified: _Verified) -> Claims:
        if len(self._verified) >= MOST_TOKENS:
            del self._verified[next(iter(self._verified))]  # the one that was verified first
        self._verified[digest] = verified
        return verified.claims

    def _begin_fetch(self) -> asyncio.Task[None] | None:
        """Return the fetch that is going on, or begin one; None if the last one is not long enough ago."""
        if self._fetching is None or self._fetching.done():
            now = time.monotonic()
            if now - self._asked < self._pause_seconds:
                return None
            self._asked = now
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        """Fetch the keys. If that fails, those that are there stay."""
        try:
            async with asyncio.timeout(self._fetch_seconds):
                keys = _read_keys(await self._key_set())
        except (OSError, ValueError, TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            self._failed = True
            logger.error("the keys of the issuer cannot be had", reason=f"{type(error).__name__}: {error}")
            return
        self._keys, self._failed, self._fetched = keys, False, time.monotonic()
        # A key that the issuer has withdrawn signs no more, nor has it signed what is remembered.
        kept = {one.thumbprint for one in keys}
        self._verified = {digest: one for digest, one in self._verified.items() if one.thumbprint in kept}

    async def _key_set(self) -> bytes:
        url = self._settings.jwks_url
        if url is not None and url.startswith("file:"):
            return await asyncio.to_thread(_read_file, Path(unquote(urlsplit(url).path)))
        async with httpx.AsyncClient(verify=self._tls, headers={"accept-encoding": "identity"}) as client:
            return await _get(client, await self._discover(client) if url is None else url)

    async def _discover(self, client: httpx.AsyncClient) -> str:
        found = from_json(await _get(client, self._settings.issuer.rstrip("/") + _DISCOVERY))
        if not isinstance(found, dict) or found.get("issuer") != self._settings.issuer:
            raise ValueError("the discovery document is not that of ISSUER")
        url = found.get("jwks_uri")
        if not isinstance(url, str) or not is_safe(url):
            raise ValueError("the discovery document names no jwks_uri with https")
        return url


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _json_object(text: bytes | None) -> dict[str, Any]:
    value = from_json(text or b"", allow_inf_nan=False)
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value


def _text(value: object) -> str:
    """Return a claim as API Gateway has it in its event: a list as its words in brackets."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"[{' '.join(_text(one) for one in value)}]" if isinstance(value, list) else str(value)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _read_keys(document: bytes) -> list[_PublishedKey]:
    """Return the keys of a key set that can verify. Others are ignored (RFC 7517, section 5).

    Raises
    ------
    ValueError
        If it is not a key set, or has no such key.
    """
    found = from_json(document)
    members = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(members, list) or len(members) > _MOST_KEYS:
        raise ValueError(f"it is not a key set of at most {_MOST_KEYS} keys")
    keys = [key for one in members if isinstance(one, dict) and (key := _read_key(one)) is not None]
    if not keys:
        raise ValueError("the key set has no key for a signature")
    return keys


def _read_key(member: dict[str, Any]) -> _PublishedKey | None:
    kid = member.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        if member.get("kty") == "EC":
            curve = ECKey.import_key(member)
            return _PublishedKey(kid, curve, curve.thumbprint())
        if member.get("kty") == "RSA" and _bits(member["n"]) in _RSA_BITS:
            rsa = RSAKey.import_key(member)
            return _PublishedKey(kid, rsa, rsa.thumbprint())
    except (JoseError, KeyError, TypeError, ValueError, AttributeError) as error:
        logger.warning("a key of the issuer cannot be used", kid=kid, reason=f"{type(error).__name__}: {error}")
    return None


def _bits(modulus: str) -> int:
    return int.from_bytes(_decoded(modulus)).bit_length()


def _signs(key: RSAKey | ECKey, algorithm: str) -> bool:
    """Return whether a key is for an algorithm: by its type, its curve, and what it says it is for."""
    try:
        _REGISTRY.get_alg(algorithm).check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return True


async def _get(client: httpx.AsyncClient, url: str) -> bytes:
    async with client.stream("GET", url) as answer:
        if answer.status_code != HTTPStatus.OK:
            raise ValueError(f"{url} answered {answer.status_code}")
        document = bytearray()
        async for piece in answer.aiter_raw():
            document += piece
            if len(document) > _LARGEST_DOCUMENT:
                raise ValueError(f"{url} answered more than {_LARGEST_DOCUMENT} bytes")
    return bytes(document)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        document = file.read(_LARGEST_DOCUMENT + 1)
    if len(document) > _LARGEST_DOCUMENT:
        raise ValueError(f"{path} has more than {_LARGEST_DOCUMENT} bytes")
    return document
