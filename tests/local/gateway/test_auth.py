"""`AUTH=on`: the routes that the template protects need a token, as behind API Gateway's JWT authorizer."""

import hmac
import re
import stat
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from local.errors import CannotServeError
from local.gateway.issuer import AUDIENCE, ISSUER, Issuer, make_issuer, read_issuer
from local.settings import ROOT, Settings
from local.template import read_template
from tests.support.local_server import PROJECT, LocalServer, Serve

pytestmark = pytest.mark.server

OPEN = ("/", "/health", "/openapi.json", "/docs")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Return the server of a small API that needs tokens."""
    server = LocalServer(
        tmp_path_factory.mktemp("closed") / "home", TEMPLATE=str(PROJECT / "closed.yaml"), AUTH="on", ENVIRONMENTS="1"
    )
    try:
        yield server.start()
    finally:
        server.clean_up()


@pytest.fixture
def issuer(closed_server: LocalServer) -> Issuer:
    return read_issuer(closed_server.home)


@pytest.fixture
def closed(closed_server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=closed_server.address, timeout=10) as client:
        yield client


def test_a_request_without_a_token_is_told_to_send_one(closed: httpx.Client) -> None:
    for headers in ({}, {"authorization": ""}, {"authorization": "Bearer"}):
        answer = closed.get("/closed", headers=headers)
        assert answer.status_code == 401
        assert answer.json() == {"message": "Unauthorized"}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["www-authenticate"] == "Bearer"


def claims(**changed: object) -> dict[str, object]:
    """Return the claims of a valid token, with changes."""
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "iat": now, "exp": now + 60, **changed}


def signed(content: dict[str, object], key: RSAKey) -> str:
    return jwt.encode({"alg": "RS256", "kid": key.thumbprint()}, content, key)


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def good_key(home: Path) -> RSAKey:
    return RSAKey.import_key((home / "issuer.pem").read_bytes())


def test_a_token_made_by_the_rules_is_good(closed: httpx.Client, closed_server: LocalServer) -> None:
    # Each bad token below differs from this one in one thing.
    token = signed(claims(), good_key(closed_server.home))
    assert closed.get("/closed", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": 1},
        {"exp": None},
        {"nbf": 4102444800},
        {"iat": 4102444800},
        {"iss": "https://issuer.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
    ],
    ids=lambda changed: "-".join(f"{name}={value!r:.5}" for name, value in changed.items()),
)
def test_a_token_for_another_time_or_by_or_for_another_is_refused(
    closed: httpx.Client, closed_server: LocalServer, changed: dict[str, object]
) -> None:
    token = signed(claims(**changed), good_key(closed_server.home))
    assert_refused(closed, token)


def test_a_token_signed_by_another_key_or_not_at_all_is_refused(
    closed: httpx.Client, closed_server: LocalServer
) -> None:
    another = RSAKey.generate_key(2048)
    assert_refused(closed, signed(claims(), another))
    kid = good_key(closed_server.home).thumbprint()
    assert_refused(closed, jwt.encode({"alg": "RS256", "kid": kid}, claims(), another))
    head, body, _ = signed(claims(), good_key(closed_server.home)).split(".")
    # Signed with HMAC, and the public key as the secret.
    message = base64url(b'{"alg":"HS256"}') + "." + body
    public = good_key(closed_server.home).as_pem(private=False)
    assert_refused(closed, f"{message}.{base64url(hmac.digest(public, message.encode(), 'sha256'))}")
    assert_refused(closed, f"{head}.{body}.")
    assert_refused(closed, f"{head}.{body}.x")
    assert_refused(closed, f"eyJhbGciOiJub25lIn0.{body}.")  # {"alg":"none"}


@pytest.mark.parametrize(
    "token", ["garbage", "a.b.c", "..", "é", "Bearer x", "e30.e30.e30", "bnVsbA.bnVsbA.x", "eyJjcml0IjpudWxsfQ.e30.x"]
)
def test_garbage_is_refused(closed: httpx.Client, token: str) -> None:
    assert_refused(closed, token)


def assert_refused(client: httpx.Client, token: str) -> None:
    answer = client.get("/closed", headers={b"authorization": f"Bearer {token}".encode()})
    assert answer.status_code == 401
    assert answer.json() == {"message": "Unauthorized"}
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
def test_the_function_is_told_what_the_token_says(closed: httpx.Client, issuer: Issuer, scheme: str) -> None:
    answer = closed.get("/closed", headers={"authorization": scheme + issuer.token("anna", 60)}).json()

    authorizer = answer["event"]["requestContext"]["authorizer"]
    assert authorizer["jwt"]["scopes"] is None
    assert authorizer["jwt"]["claims"] == {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "anna",
        "scope": "openid",
        "iat": authorizer["jwt"]["claims"]["iat"],
        "exp": str(int(authorizer["jwt"]["claims"]["iat"]) + 60),
    }
    assert answer["environment"]["AUTH"] == "on"


def test_an_open_route_asks_for_no_token_and_reads_none(closed: httpx.Client, issuer: Issuer) -> None:
    for headers in ({}, bearer("garbage"), bearer(issuer.token("anna", 60))):
        answer = closed.get("/open", headers=headers)
        assert answer.status_code == 200
        assert "authorizer" not in answer.json()["event"]["requestContext"]


def test_a_body_is_not_waited_for_from_a_client_without_a_token(closed: httpx.Client) -> None:
    answer = closed.post("/closed", headers={"expect": "100-continue", "content-length": "9"}, content=b"123456789")
    assert answer.status_code == 401
    assert (
        answer.headers["connection"] == "close"
    )  # the client may send the body or not, so the next bytes are ambiguous


def test_a_token_is_made_on_the_command_line(closed: httpx.Client, closed_server: LocalServer) -> None:
    def token(*arguments: str) -> str:
        command = [sys.executable, "-m", "local", "token", *arguments]
        home = {"LEDGER_HOME": str(closed_server.home)}
        return subprocess.run(command, cwd=ROOT, env=home, check=True, capture_output=True, text=True).stdout.strip()

    answer = closed.get("/closed", headers=bearer(token("bob", "--seconds", "60"))).json()
    assert answer["event"]["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] == "bob"
    assert_refused(closed, token("bob", "--seconds", "-1"))
    both = token("bob", "--scope", "predictions:read-all", "--scope", "ground-truth:write")
    answer = closed.get("/closed", headers=bearer(both)).json()
    claimed = answer["event"]["requestContext"]["authorizer"]["jwt"]["claims"]["scope"]
    assert claimed == "openid predictions:read-all ground-truth:write"


def test_without_auth_no_token_is_asked_for_whatever_the_template_says(serve: Serve) -> None:
    server = serve(TEMPLATE=str(PROJECT / "closed.yaml")).start()
    answer = httpx.get(f"{server.address}/closed", headers=bearer("garbage")).json()
    assert "authorizer" not in answer["event"]["requestContext"]
    assert answer["environment"]["AUTH"] == "off"
    assert not (server.home / "issuer.pem").exists()


def test_the_key_is_made_once_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    token = make_issuer(tmp_path).token("anna", 60)
    assert stat.S_IMODE((tmp_path / "issuer.pem").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["issuer.pem"]
    again = make_issuer(tmp_path).claims(token)
    assert again is not None
    assert again["sub"] == "anna"


def test_a_home_without_a_key_or_with_what_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotServeError, match=r"issuer\.pem: no key to sign with: start the server with AUTH=on"):
        read_issuer(tmp_path)
    (tmp_path / "issuer.pem").write_text("no key")
    with pytest.raises(CannotServeError, match=r"issuer\.pem: it is not an RSA key"):
        make_issuer(tmp_path)


def test_auth_is_off_or_on(serve: Serve) -> None:
    for value in ("", "off"):
        assert not Settings.from_environment({"AUTH": value}).auth
    assert Settings.from_environment({"AUTH": "on"}).auth
    server = serve(AUTH="maybe").launch()
    assert server.wait() == 1
    assert server.output == "onnx-ledger: AUTH='maybe': it must be off or on\n"


@pytest.mark.parametrize(
    ("api", "authorizer", "needs_token"),
    [
        ("{DefaultAuthorizer: T}", "", True),
        ("{DefaultAuthorizer: T}", "NONE", False),
        ("{Authorizers: {T: {}}}", "", False),
        ("{Authorizers: {T: {}}}", "T", True),
        ("{}", "", False),
    ],
)
def test_an_api_that_sam_makes_by_itself_is_closed_by_globals(
    tmp_path: Path, api: str, authorizer: str, needs_token: bool
) -> None:
    own = f", Auth: {{Authorizer: {authorizer}}}" if authorizer else ""
    template = tmp_path / "template.yaml"
    template.write_text(
        f"""
        Globals: {{HttpApi: {{Auth: {api}}}}}
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties:
              Handler: f.g
              Events: {{E: {{Type: HttpApi, Properties: {{Path: /, Method: GET{own}}}}}}}
        """
    )
    assert read_template(template)[0].routes[0].needs_token == needs_token


def test_of_the_projects_own_routes_only_those_that_tell_nothing_of_users_are_open() -> None:
    routes = [route for function in read_template(ROOT / "template.yaml") for route in function.routes]
    of_one_method = {route.key: route.needs_token for route in routes if route.method != "ANY" and route.path}
    closed = {"POST /prediction", "GET /predictions", "GET /prediction/{prediction_id}", "POST /upload"}
    assert {key for key in closed if of_one_method[key]} == closed
    assert not any(of_one_method[f"GET {path}"] for path in OPEN)
    assert not any(route.needs_token for route in routes if route.method == "ANY")


def test_head_goes_where_get_goes_with_the_same_token() -> None:
    routes = {route.key: route for function in read_template(ROOT / "template.yaml") for route in function.routes}
    got = {key[4:]: route.needs_token for key, route in routes.items() if route.method == "GET"}
    assert got
    assert {key[5:]: route.needs_token for key, route in routes.items() if route.method == "HEAD"} == got


def test_each_user_of_the_real_api_sees_their_own_records_only(database_home: Path) -> None:
    server = LocalServer(database_home, AUTH="on", ENVIRONMENTS="1")
    try:
        server.start()
        issuer = read_issuer(database_home)
        tokens = {user: bearer(issuer.token(user, 600)) for user in ("anna", "bob")}
        with httpx.Client(base_url=server.address, timeout=30) as client:
            digit = {"file": (ROOT / "local/samples/mnist_sample.png").read_bytes()}
            assert client.post("/prediction", files=digit).status_code == 401
            for_bob = client.post("/prediction", files=digit, headers=tokens["anna"], data={"user_id": "bob"})
            assert for_bob.status_code == 403
            made = client.post("/prediction", files=digit, headers=tokens["anna"])
            assert made.status_code == 201
            assert made.json()["user_id"] == "anna"

            path = f"/prediction/{made.json()['prediction_id']}"
            assert client.get(path).status_code == 401
            assert client.get(path, headers=tokens["anna"]).json()["user_id"] == "anna"
            assert client.get(path, headers=tokens["bob"]).status_code == 404
            assert client.get(f"{path}/input", headers=tokens["bob"]).status_code == 404
            assert client.get("/predictions", headers=tokens["anna"]).json()["predictions"] == [made.json()]
            assert client.get("/predictions", headers=tokens["bob"]).json()["predictions"] == []
            for path in OPEN:
                assert client.get(path).status_code == client.head(path).status_code == 200

            input_path = f"/prediction/{made.json()['prediction_id']}/input"
            for path in ("/predictions", "/model", input_path):
                assert client.head(path).status_code == 401
                got, head = (client.request(method, path, headers=tokens["anna"]) for method in ("GET", "HEAD"))
                assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
                assert int(head.headers["content-length"]) == len(got.content) > 0
            assert client.head(input_path, headers=tokens["bob"]).status_code == 404
            carol = bearer(issuer.token("carol", 600, ["predictions:read-all"]))
            assert client.get("/predictions", headers=carol).json()["predictions"] == [made.json()]

        lines = re.findall("^curl .*", server.output, re.MULTILINE)
        assert len(lines) == 3
        for line in lines:
            answer = subprocess.run(
                ["bash", "-c", line.replace("curl ", "curl -sS --fail ")], cwd=ROOT, check=True, capture_output=True
            )
            assert b'"anna"' in answer.stdout
    finally:
        server.clean_up()
