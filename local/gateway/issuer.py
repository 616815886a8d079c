"""The local issuer: signs tokens for any user, and checks them as API Gateway's JWT authorizer does.

The authorizer checks the RSA signature, the issuer, the audience and the times (AWS, "Control access to HTTP APIs with
JWT authorizers in API Gateway"). The server imports this module only with `AUTH=on`.
"""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from local.errors import CannotServeError

ISSUER = "https://issuer.localhost"
"""The claim `iss` of every token."""

AUDIENCE = "onnx-ledger"
"""The claim `aud` of every token."""

ALGORITHM = "RS256"
"""The signature of every token (RFC 7518, section 3.3)."""

_BITS = 2048
_FILE = "issuer.pem"
_KEY_SET = "issuer.jwks.json"


class Issuer:
    """Signs and checks tokens with one key. Whoever has the key can be any user.

    Parameters
    ----------
    key
        The RSA key that signs the tokens.
    """

    def __init__(self, key: RSAKey) -> None:
        self._key = key
        self._header = {"alg": ALGORITHM, "kid": key.thumbprint()}
        self._first_part = self.token("", 0).partition(".")[0]
        self._rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
        )

    def token(self, user: str, seconds: int, scopes: Iterable[str] = ()) -> str:
        """Return a token for a user that expires after the given number of seconds."""
        now = int(time.time())
        scope = " ".join(("openid", *scopes))
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + seconds, "scope": scope}
        return jwt.encode(self._header, claims, self._key)

    def id_token(self, user: str, seconds: int, client: str, *, session: str, nonce: str | None) -> str:
        """Return what tells a client who has signed in (OpenID Connect Core 1.0, section 2). The API takes none."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": client,
            "sub": user,
            "name": user,
            "iat": now,
            "exp": now + seconds,
            "sid": session,
        }
        return jwt.encode(self._header, claims if nonce is None else {**claims, "nonce": nonce}, self._key)

    def session(self, id_token: str, client: str) -> str | None:
        """Return the session that an ID token was made in, even if it has expired; None if it is not ours."""
        claims = self._read(id_token)
        session = claims.get("sid") if claims is not None and claims.get("aud") == client else None
        return session if isinstance(session, str) else None

    def key_set(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set (RFC 7517)."""
        return {"keys": [self._key.as_dict(private=False, kid=self._key.thumbprint(), use="sig", alg=ALGORITHM)]}

    def publish(self, home: Path) -> str:
        """Write the key set to a home folder, and return the file's URL.

        Raises
        ------
        CannotServeError
            If the file cannot be written.
        """
        path = home.absolute() / _KEY_SET
        try:
            path.write_text(json.dumps(self.key_set()), "utf-8")
        except OSError as error:
            raise CannotServeError(f"{path}: {error.strerror}") from error
        return path.as_uri()

    def claims(self, token: str) -> dict[str, str] | None:
        """Return a token's claims, every value as a string. Return None if it is not ours, expired or not yet valid."""
        claims = self._read(token)
        if claims is None:
            return None
        try:
            self._rules.validate(claims)
        except (JoseError, ValueError):
            return None
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in claims.items()}

    def _read(self, token: str) -> dict[str, Any] | None:
        if token.partition(".")[0] != self._first_part:
            return None  # not our header, so not our token; the library never parses a header that we did not write
        try:
            return jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError):  # ValueError: what follows the header is not base64
            return None


def make_issuer(home: Path) -> Issuer:
    """Return the issuer of a home folder that this process has locked, and make its key if there is none.

    Raises
    ------
    CannotServeError
        If the key file has no RSA key, or cannot be written.
    """
    path = home / _FILE
    if not path.exists():
        unfinished = path.with_suffix(".new")
        try:
            unfinished.unlink(missing_ok=True)  # left by a server that was killed; its permissions may be wrong
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(RSAKey.generate_key(_BITS).as_pem(private=True))
            unfinished.replace(path)
        except OSError as error:
            raise CannotServeError(f"{path}: {error.strerror}") from error
    return read_issuer(home)


def read_issuer(home: Path) -> Issuer:
    """Return the issuer of a home folder.

    Raises
    ------
    CannotServeError
        If the folder has no key, because no server with `AUTH=on` has run there.
    """
    path = home / _FILE
    try:
        return Issuer(RSAKey.import_key(path.read_bytes()))
    except FileNotFoundError as error:
        raise CannotServeError(
            f"{path}: no key to sign with: start the server with AUTH=on first, with the same LEDGER_HOME"
        ) from error
    except OSError as error:
        raise CannotServeError(f"{path}: {error.strerror}") from error
    except (JoseError, ValueError) as error:
        raise CannotServeError(f"{path}: it is not an RSA key: remove it, and the server makes a new one") from error
