"""The local issuer: signs tokens for whichever user one names, and checks them as API Gateway's JWT authorizer does.

AWS, "Control access to HTTP APIs with JWT authorizers in API Gateway", says what is checked: a signature by an RSA key,
the issuer, the audience, and the times. Only `AUTH=on` imports this module.
"""

import json
import os
import time
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from local.errors import CannotServeError

ISSUER = "https://issuer.localhost"
"""Claim `iss` of every token."""

AUDIENCE = "onnx-ledger"
"""Claim `aud` of every token."""

_ALGORITHM = "RS256"
_BITS = 2048
_FILE = "issuer.pem"


class Issuer:
    """Whoever has the key can be any user.

    Parameters
    ----------
    key
        The key that tokens are signed with.
    """

    def __init__(self, key: RSAKey) -> None:
        self._key = key
        self._header = {"alg": _ALGORITHM, "kid": key.thumbprint()}
        self._first_part = self.token("", 0).partition(".")[0]
        self._rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
        )

    def token(self, user: str, seconds: int) -> str:
        """Return a token that names a user, and expires after some seconds."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now, "exp": now + seconds, "scope": "openid"}
        return jwt.encode(self._header, claims, self._key)

    def claims(self, token: str) -> dict[str, str] | None:
        """Return what a token says, every value as a string; None if it is not one of ours, or not one for now."""
        if token.partition(".")[0] != self._first_part:
            return None  # whatever its header says, we did not: and so the library never reads a stranger's header
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
            self._rules.validate(claims)
        except (JoseError, ValueError):  # ValueError: what follows the header is no base64
            return None
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in claims.items()}


def make_issuer(home: Path) -> Issuer:
    """Return the issuer of a home folder that this process holds; its key is made if it has none.

    Raises
    ------
    CannotServeError
        If its key is none, or cannot be kept.
    """
    path = home / _FILE
    if not path.exists():
        unfinished = path.with_suffix(".new")
        try:
            unfinished.unlink(missing_ok=True)  # of a server that was killed: its permissions may be anything
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
        If it has none: no server with `AUTH=on` ever ran there.
    """
    path = home / _FILE
    try:
        return Issuer(RSAKey.import_key(path.read_bytes()))
    except FileNotFoundError as error:
        raise CannotServeError(
            f"{path}: there is no key to sign with: start a server with AUTH=on, and set LEDGER_HOME as it is set there"
        ) from error
    except OSError as error:
        raise CannotServeError(f"{path}: {error.strerror}") from error
    except (JoseError, ValueError) as error:
        raise CannotServeError(f"{path}: it is no RSA key: remove it, and a new one is made") from error
