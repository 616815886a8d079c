"""Signing in on the console with `AUTH=on`: the local issuer's code flow with PKCE, whichever server has the API."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from functions.shared.api.scopes import Scope
from local.gateway.issuer import read_issuer
from local.settings import ROOT
from tests.support.local_server import LocalServer
from tests.support.tokens import bearer

pytestmark = pytest.mark.server

DIGIT = ROOT / "local" / "samples" / "mnist_sample.png"


@pytest.fixture(scope="module", params=["lambda", "batching"])
def server(request: pytest.FixtureRequest, database_home: Path) -> Iterator[LocalServer]:
    """The real API with tokens, by either server, whose tokens are soon to be renewed."""
    server = LocalServer(
        database_home, SERVER=request.param, AUTH="on", ENVIRONMENTS="1", WORKERS="1", TOKEN_SECONDS="600"
    )
    try:
        yield server.start()
    finally:
        server.clean_up()


class Client:
    """A client of the issuer, told of it by the console's page alone."""

    def __init__(self, address: str, http: httpx.Client) -> None:
        self.address = address
        self.http = http
        page = self.http.get(f"{address}/console", headers={"accept": "text/html"})
        self.policy = page.headers["content-security-policy"]
        [told] = re.findall(r'<meta name="sign-in" content="([^"]*)">', page.text)
        self.told = json.loads(unescape(told))
        self.at = self.http.get(self.told["metadata_url"]).raise_for_status().json()
        self.verifier = secrets.token_urlsafe(48)

    def asks(self, **changes: str | None) -> dict[str, str]:
        """Return what it asks the issuer for a code with; a change to None leaves a parameter out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        asked = {
            "client_id": self.told["client_id"],
            "redirect_uri": f"{self.address}/console/signed-in",
            "response_type": "code",
            "scope": self.told["scope"],
            "state": "somewhere;window",
            "nonce": "once",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def authorize(self, asked: dict[str, str], name: str | None = "anna", *scopes: str) -> httpx.Response:
        """Open the issuer's page, or fill it in and send it."""
        url = self.at["authorization_endpoint"]
        if name is None:
            return self.http.get(url, params=asked)
        origin = {"origin": url.removesuffix("/authorize")}
        return self.http.post(url, params=asked, data={"name": name, **dict.fromkeys(scopes, "on")}, headers=origin)

    def code(self, name: str = "anna", *scopes: str) -> str:
        """Sign in, and return the code that the console is sent back with."""
        answer = self.authorize(self.asks(), name, *scopes)
        assert answer.status_code == 303, answer.text
        back = httpx.URL(answer.headers["location"])
        assert str(back).startswith(f"{self.address}/console/signed-in?")
        assert back.params["state"] == "somewhere;window"
        return back.params["code"]

    def token(self, **form: str) -> httpx.Response:
        """Ask for tokens."""
        return self.http.post(self.at["token_endpoint"], data={"client_id": self.told["client_id"], **form})

    def exchange(self, code: str, /, **changes: str) -> httpx.Response:
        """Exchange a code for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{self.address}/console/signed-in",
            "code_verifier": self.verifier,
        }
        return self.token(**(form | changes))

    def renew(self, refresh_token: str) -> httpx.Response:
        """Ask for new tokens."""
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def signed_in(self, name: str = "anna", *scopes: str) -> dict[str, Any]:
        """Sign in, and return the tokens."""
        tokens: dict[str, Any] = self.exchange(self.code(name, *scopes)).raise_for_status().json()
        return tokens


@pytest.fixture
def client(server: LocalServer) -> Iterator[Client]:
    with httpx.Client(timeout=30, headers={"origin": server.address}) as http:
        yield Client(server.address, http)


def refused(answer: httpx.Response) -> str:
    assert answer.status_code == 400
    assert answer.headers["cache-control"] == "no-store"
    error: str = answer.json()["error"]
    return error


def test_the_console_is_told_where_to_sign_in_and_may_call_that_and_the_bucket_alone(client: Client) -> None:
    assert client.told.keys() == {"authority", "client_id", "scope", "metadata_url"}
    assert client.at["issuer"] == client.told["authority"]
    issuer = client.told["metadata_url"].removesuffix("/.well-known/openid-configuration")
    connect = re.search(r"connect-src ([^;]+)", client.policy)
    assert connect
    upload = client.http.post(
        f"{client.address}/upload",
        json={"contenttype": "image/png", "size": 70},
        headers={"authorization": f"Bearer {client.signed_in()['access_token']}"},
    )
    bucket = re.match(r"https?://[^/]+", upload.raise_for_status().json()["url"])
    assert bucket
    assert set(connect[1].split()) == {"'self'", "https://issuer.localhost", issuer, bucket[0]}
    assert {url.rpartition("/")[0] for name, url in client.at.items() if name.endswith(("_endpoint", "_uri"))} == {
        issuer
    }


def test_who_signs_in_gets_tokens_that_the_api_takes(client: Client) -> None:
    tokens = client.signed_in("anna")
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 600, "openid")
    digit = {"file": DIGIT.read_bytes()}
    made = client.http.post(f"{client.address}/prediction", files=digit, headers=bearer(tokens["access_token"]))
    assert made.status_code == 201
    assert made.json()["user_id"] == "anna"


def test_the_id_token_says_who_and_is_none_for_the_api(client: Client) -> None:
    tokens = client.signed_in("Anna Ångström <b>")
    keys = KeySet.import_key_set(client.http.get(client.at["jwks_uri"]).json())
    claims = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
    rules = JWTClaimsRegistry(
        iss={"essential": True, "value": client.at["issuer"]},
        aud={"essential": True, "value": client.told["client_id"]},
        nonce={"essential": True, "value": "once"},
    )
    rules.validate(claims)
    assert claims["sub"] == claims["name"] == "Anna Ångström <b>"
    answer = client.http.get(f"{client.address}/predictions", headers=bearer(tokens["id_token"]))
    assert answer.status_code == 401


def test_one_may_what_one_has_ticked(client: Client) -> None:
    digit = {"file": DIGIT.read_bytes()}
    hers = bearer(client.signed_in("anna")["access_token"])
    made = client.http.post(f"{client.address}/prediction", files=digit, headers=hers).json()
    url = f"{client.address}/prediction/{made['prediction_id']}"
    assert client.http.get(url, headers=bearer(client.signed_in("bob")["access_token"])).status_code == 404
    reads_all = client.signed_in("bob", Scope.READ_ALL)
    assert reads_all["scope"] == "openid predictions:read-all"
    assert client.http.get(url, headers=bearer(reads_all["access_token"])).status_code == 200
    everything = client.signed_in("bob", *Scope)
    assert everything["scope"].split() == ["openid", *Scope]
    # What the page does not offer is not granted.
    assert client.signed_in("bob", "predictions:forge")["scope"] == "openid"


def test_tokens_are_renewed_until_one_signs_out(client: Client) -> None:
    tokens = client.signed_in("anna", Scope.READ_ALL)
    renewed = client.renew(tokens["refresh_token"]).raise_for_status().json()
    assert renewed["scope"] == "openid predictions:read-all"
    answer = client.http.get(f"{client.address}/predictions", headers=bearer(renewed["access_token"]))
    assert answer.status_code == 200
    back = f"{client.address}/console/signed-out"
    leaving = {"id_token_hint": renewed["id_token"], "post_logout_redirect_uri": back, "state": "over"}
    left = client.http.get(client.at["end_session_endpoint"], params=leaving)
    assert (left.status_code, left.headers["location"]) == (303, f"{back}?state=over")
    assert refused(client.renew(tokens["refresh_token"])) == "invalid_grant"


def test_a_revoked_refresh_token_renews_nothing(client: Client) -> None:
    mine, other = (client.signed_in()["refresh_token"] for _ in range(2))
    for _ in range(2):  # what is not known is revoked
        assert client.http.post(client.at["revocation_endpoint"], data={"token": mine}).status_code == 200
    assert refused(client.renew(mine)) == "invalid_grant"
    assert client.renew(other).status_code == 200


def test_a_code_is_good_once_and_who_has_used_it_before_loses_the_session(client: Client) -> None:
    code = client.code()
    tokens = client.exchange(code).raise_for_status().json()
    assert refused(client.exchange(code)) == "invalid_grant"
    assert refused(client.renew(tokens["refresh_token"])) == "invalid_grant"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"code_verifier": "v" * 64}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"redirect_uri": "http://localhost:1/console/signed-in"}, "invalid_grant"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"client_id": "another"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_code_is_exchanged_only_by_the_client_that_has_asked_for_it(
    client: Client, wrong: dict[str, str], error: str
) -> None:
    assert refused(client.exchange(client.code(), **wrong)) == error


def test_a_code_that_was_tried_with_another_verifier_is_lost(client: Client) -> None:
    code = client.code()
    client.exchange(code, code_verifier="v" * 64)
    assert refused(client.exchange(code)) == "invalid_grant"


@pytest.mark.parametrize(
    "body",
    [b"grant_type=a&grant_type=b", b"\xff", b"no form", b"x=" + b"1" * 20_000],
    ids=["twice", "bytes", "text", "long"],
)
def test_what_is_no_form_is_refused(client: Client, body: bytes) -> None:
    assert refused(client.http.post(client.at["token_endpoint"], content=body)) == "invalid_request"


@pytest.mark.parametrize(
    "wrong",
    [
        {"redirect_uri": "https://evil.example/console/signed-in"},
        {"redirect_uri": None},
        {"redirect_uri": "http://127.0.0.1:1/console/signed-in"},
        {"client_id": "another"},
        {"client_id": None},
    ],
    ids=["elsewhere", "nowhere", "another port", "another client", "no client"],
)
@pytest.mark.parametrize("name", [None, "anna"], ids=["asked", "signed in"])
def test_nobody_is_sent_elsewhere(client: Client, wrong: dict[str, str | None], name: str | None) -> None:
    answer = client.authorize(client.asks(**wrong), name)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil" not in answer.text


def test_a_redirect_to_another_page_of_the_same_server_is_refused(client: Client) -> None:
    for page in ("/console", "/console/signed-in/", "/console/signed-in?next=/", "/prediction"):
        assert client.authorize(client.asks(redirect_uri=client.address + page)).status_code == 400
    leaving = {"post_logout_redirect_uri": "https://evil.example/console/signed-out"}
    left = client.http.get(client.at["end_session_endpoint"], params=leaving)
    assert (left.status_code, "location" in left.headers) == (200, False)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "email"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
    ],
    ids=lambda value: "-".join(map(str, *value.items())) if isinstance(value, dict) else None,
)
def test_what_the_issuer_does_not_do_it_tells_the_console(
    client: Client, wrong: dict[str, str | None], error: str
) -> None:
    answer = client.authorize(client.asks(**wrong))
    assert answer.status_code == 303
    back = httpx.URL(answer.headers["location"]).params
    assert (back["error"], back["state"]) == (error, "somewhere;window")
    assert back["error_description"]
    assert "code" not in back


class Markup(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_has_a_name_and_the_scopes_and_nothing_of_other_people(client: Client) -> None:
    bad = '"><script>alert(1)</script>'
    asked = client.asks(state=bad, nonce=bad, scope=f"openid {bad}", login_hint=bad)
    pages = [client.authorize(asked, None), client.authorize(asked, ""), client.authorize(asked, f"{bad}\n")]
    assert [page.status_code for page in pages] == [200, 400, 400]
    for page in pages:
        assert "alert(" not in page.text
        elements = Markup(page.text).found
        assert not {"script", "iframe", "object", "img"} & {tag for tag, _ in elements}
        fields = [attributes for tag, attributes in elements if tag == "input"]
        assert [field["name"] for field in fields] == ["name", *Scope]
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy


def test_pages_of_other_sites_sign_nobody_in_and_read_nothing(client: Client) -> None:
    evil = {"origin": "http://evil.example"}
    url = client.at["authorization_endpoint"]
    sent = client.http.post(url, params=client.asks(), data={"name": "anna"}, headers=evil)
    assert sent.status_code == 403
    renamed = client.http.post(url, params=client.asks(), data={"name": "anna"}, headers={"host": "evil.example"})
    assert renamed.status_code == 421
    for path in (client.told["metadata_url"], client.at["jwks_uri"]):
        assert "access-control-allow-origin" not in client.http.get(path, headers=evil).headers
        assert client.http.get(path).headers["access-control-allow-origin"] == client.address
    answer = client.http.post(client.at["token_endpoint"], data={}, headers=evil)
    assert "access-control-allow-origin" not in answer.headers


def test_a_token_of_the_command_line_is_as_good(client: Client, server: LocalServer) -> None:
    token = read_issuer(server.home).token("anna", 60)
    assert client.http.get(f"{client.address}/predictions", headers=bearer(token)).status_code == 200
