"""Tokens, good and forged, and an OpenID Connect issuer that publishes its keys."""

import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from local.gateway.issuer import AUDIENCE, ISSUER

Key = RSAKey | ECKey

OTHER_KEY = RSAKey.generate_key(2048)
"""A key that no issuer has published."""


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def claims(**changed: object) -> dict[str, object]:
    """Return the claims of a valid token of the local issuer, with changes."""
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "iat": now, "exp": now + 60, **changed}


def signed(content: dict[str, object], key: Key, *, algorithm: str = "RS256", **header: object) -> str:
    head = {"alg": algorithm, "kid": key.thumbprint(), **header}
    return jwt.encode({name: value for name, value in head.items() if value is not None}, content, key, [algorithm])


def base64url(data: bytes | str) -> str:
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def _with_header(key: RSAKey, **header: object) -> str:
    """Return a good token with another header, which its signature does not cover."""
    _, body, signature = signed(claims(), key).split(".")
    return f"{base64url(json.dumps(header))}.{body}.{signature}"


def _hmac(key: RSAKey, secret: bytes) -> str:
    message = f"{base64url(json.dumps({'alg': 'HS256', 'kid': key.thumbprint()}))}.{base64url(json.dumps(claims()))}"
    return f"{message}.{base64url(hmac.digest(secret, message.encode(), 'sha256'))}"


def _cut(key: RSAKey, signature: str) -> str:
    return f"{signed(claims(), key).rpartition('.')[0]}.{signature}"


def _other_body(key: RSAKey) -> str:
    head, _, signature = signed(claims(), key).split(".")
    return f"{head}.{base64url(json.dumps(claims(sub='bob')))}.{signature}"


FORGERIES: dict[str, Callable[[RSAKey], str]] = {
    "expired": lambda key: signed(claims(exp=1), key),
    "without exp": lambda key: signed(claims(exp=None), key),
    "exp is a text": lambda key: signed(claims(exp="4102444800"), key),
    "exp is true": lambda key: signed(claims(exp=True), key),
    "exp is infinite": lambda key: signed(claims(exp=float("inf")), key),
    "not yet valid": lambda key: signed(claims(nbf=4102444800), key),
    "issued in the future": lambda key: signed(claims(iat=4102444800), key),
    "another issuer": lambda key: signed(claims(iss="https://issuer.example"), key),
    "without an issuer": lambda key: signed(claims(iss=None), key),
    "several issuers": lambda key: signed(claims(iss=[ISSUER]), key),
    "another audience": lambda key: signed(claims(aud="another"), key),
    "other audiences": lambda key: signed(claims(aud=["another", f"{AUDIENCE}2"]), key),
    "without an audience": lambda key: signed(claims(aud=None), key),
    "another key": lambda _: signed(claims(), OTHER_KEY),
    "another key by the right name": lambda key: signed(claims(), OTHER_KEY, kid=key.thumbprint()),
    "a key of its own": lambda _: signed(claims(), OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False)),
    "the public key as a secret": lambda key: _hmac(key, key.as_pem(private=False)),
    "the public key as a secret, as JSON": lambda key: _hmac(key, json.dumps(key.as_dict(private=False)).encode()),
    "not signed": lambda key: _cut(key, ""),
    "a signature of one letter": lambda key: _cut(key, "x"),
    "alg none": lambda key: _with_header(key, alg="none"),
    "alg none without a signature": lambda _: f"eyJhbGciOiJub25lIn0.{base64url(json.dumps(claims()))}.",
    "alg None in capitals": lambda key: _with_header(key, alg="NONE"),
    "no alg": lambda key: _with_header(key, kid=key.thumbprint()),
    "alg is a list": lambda key: _with_header(key, alg=["RS256"]),
    "alg is another of the same key": lambda key: _with_header(key, alg="PS256", kid=key.thumbprint()),
    "crit that nobody knows": lambda key: _with_header(key, alg="RS256", kid=key.thumbprint(), crit=["x"], x=1),
    "crit is null": lambda key: _with_header(key, alg="RS256", crit=None),
    "another body": _other_body,
    "more after it": lambda key: signed(claims(), key) + ".x",
    "garbage": lambda _: "garbage",
    "three letters": lambda _: "a.b.c",
    "two dots": lambda _: "..",
    "not ASCII": lambda _: "é",
    "the scheme twice": lambda key: f"Bearer {signed(claims(), key)}",
    "empty objects": lambda _: "e30.e30.e30",
    "null": lambda _: "bnVsbA.bnVsbA.x",
    "a deep header": lambda _: f"{base64url('[' * 900)}.e30.x",
    "a deep body": lambda key: f"{signed(claims(), key).partition('.')[0]}.{base64url('[' * 5000)}.x",
}
"""What must be refused: each is made of the issuer's key, and differs from a good token in one thing."""


class IssuerServer:
    """An issuer on this machine: its discovery document, and its keys.

    Attributes
    ----------
    url
        Its name, the claim `iss` of its tokens.
    keys
        The JSON Web Keys that it publishes now.
    asked
        The paths that it was asked for.
    status, delay, document
        What it answers with in place of 200, after how many seconds, and in place of its keys.
    """

    def __init__(self, *keys: Key) -> None:
        self.publish(*keys)
        self.asked: list[str] = []
        self.status = 200
        self.delay = 0.0
        self.document: bytes | None = None
        self.discovery: dict[str, object] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                time.sleep(issuer.delay)
                body = issuer.document or issuer.answer(self.path)
                self.send_response(issuer.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def publish(self, *keys: Key, **members: object) -> None:
        """Publish these keys instead, each with these members beside its own."""
        self.keys: Sequence[dict[str, object]] = [
            {**key.as_dict(private=False), "kid": key.thumbprint(), **members} for key in keys
        ]

    def answer(self, path: str) -> bytes:
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.discovery}).encode()
        return json.dumps({"keys": self.keys}).encode()

    def claims(self, **changed: object) -> dict[str, object]:
        """Return the claims of a valid token, with changes."""
        return claims(iss=self.url, **changed)

    def __enter__(self) -> "IssuerServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
