"""`AUTH=on`: the routes that the template protects need a token, whichever server answers.

The look-alike of API Gateway has its JWT authorizer; the server that batches verifies tokens itself.
"""

import re
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import RSAKey

from local.batching.application import OPEN as OPEN_PATHS
from local.errors import CannotServeError
from local.gateway.issuer import AUDIENCE, ISSUER, Issuer, make_issuer, read_issuer
from local.settings import ROOT, Settings
from local.template import read_template
from tests.support.local_server import PROJECT, LocalServer, Serve
from tests.support.tokens import FORGERIES, bearer, claims, signed

pytestmark = pytest.mark.server

OPEN = ("/", "/health", "/openapi.json", "/docs")


CLOSED = {"lambda": "/closed", "batching": "/predictions"}
"""A path of each server that needs a token."""


@pytest.fixture(scope="module", params=CLOSED)
def closed_server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A server that needs tokens: a small API behind the gateway, or the real one on the server that batches."""
    template = {"TEMPLATE": str(PROJECT / "closed.yaml")} if request.param == "lambda" else {}
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-") as folder:  # as `database_home`
        home = Path(folder) / "home"
        server = LocalServer(home, SERVER=request.param, AUTH="on", ENVIRONMENTS="1", WORKERS="1", **template)
        try:
            yield server.start()
        finally:
            server.clean_up()


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A path that needs a token."""
    return CLOSED[request.node.callspec.params["closed_server"]]


@pytest.fixture
def issuer(closed_server: LocalServer) -> Issuer:
    return read_issuer(closed_server.home)


@pytest.fixture
def closed(closed_server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=closed_server.address, timeout=60) as client:
        yield client


def test_a_request_without_a_token_is_told_to_send_one(closed: httpx.Client, path: str) -> None:
    for headers in ({}, {"authorization": ""}, {"authorization": "Bearer"}):
        answer = closed.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        if path == CLOSED["lambda"]:
            assert answer.json() == {"message": "Unauthorized"}
            assert answer.headers["content-type"] == "application/json"
        else:
            assert answer.json()["detail"] == "Send a valid token as Authorization: Bearer …"
            assert answer.headers["content-type"] == "application/problem+json"


def good_key(home: Path) -> RSAKey:
    return RSAKey.import_key((home / "issuer.pem").read_bytes())


def test_a_token_made_by_the_rules_is_good(closed: httpx.Client, path: str, closed_server: LocalServer) -> None:
    # Each forged token differs from this one in one thing.
    token = signed(claims(), good_key(closed_server.home))
    assert closed.get(path, headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_token_is_refused(closed: httpx.Client, path: str, closed_server: LocalServer, forgery: str) -> None:
    assert_refused(closed, path, FORGERIES[forgery](good_key(closed_server.home)))


def assert_refused(client: httpx.Client, path: str, token: str) -> None:
    answer = client.get(path, headers={b"authorization": f"Bearer {token}".encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
def test_a_token_is_taken_with_any_spelling_of_its_scheme(
    closed: httpx.Client, path: str, issuer: Issuer, scheme: str
) -> None:
    assert closed.get(path, headers={"authorization": scheme + issuer.token("anna", 60)}).status_code == 200


@pytest.mark.parametrize("closed_server", ["lambda"], indirect=True)
def test_the_function_is_told_what_the_token_says(closed: httpx.Client, issuer: Issuer) -> None:
    answer = closed.get("/closed", headers=bearer(issuer.token("anna", 60))).json()

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


@pytest.mark.parametrize("closed_server", ["lambda"], indirect=True)
def test_the_function_of_an_open_route_is_told_nothing(closed: httpx.Client, issuer: Issuer) -> None:
    for headers in ({}, bearer("garbage"), bearer(issuer.token("anna", 60))):
        answer = closed.get("/open", headers=headers)
        assert answer.status_code == 200
        assert "authorizer" not in answer.json()["event"]["requestContext"]


def test_a_body_is_not_waited_for_from_a_client_without_a_token(closed_server: LocalServer, path: str) -> None:
    url = httpx.URL(closed_server.address)
    with socket.create_connection((url.host, url.port), timeout=60) as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n".encode()
        )
        received = b""
        while chunk := client.recv(65536):  # until the server closes: the client may send the body or not
            received += chunk
    assert received.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("closed_server", ["lambda"], indirect=True)
def test_a_token_is_made_on_the_command_line(closed: httpx.Client, closed_server: LocalServer) -> None:
    def token(*arguments: str) -> str:
        command = [sys.executable, "-m", "local", "token", *arguments]
        home = {"LEDGER_HOME": str(closed_server.home)}
        return subprocess.run(command, cwd=ROOT, env=home, check=True, capture_output=True, text=True).stdout.strip()

    answer = closed.get("/closed", headers=bearer(token("bob", "--seconds", "60"))).json()
    assert answer["event"]["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] == "bob"
    assert_refused(closed, "/closed", token("bob", "--seconds", "-1"))
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


def test_the_server_that_batches_leaves_the_same_paths_open() -> None:
    routes = [route for function in read_template(ROOT / "template.yaml") for route in function.routes]
    for route in routes:
        if route.method != "ANY" and route.path is not None:
            path = re.sub(r"\{\w+\+?\}", "x", route.path).rstrip("/") or "/"
            assert bool(OPEN_PATHS.fullmatch(path)) is not route.needs_token, route.key


def test_head_goes_where_get_goes_with_the_same_token() -> None:
    routes = {route.key: route for function in read_template(ROOT / "template.yaml") for route in function.routes}
    got = {key[4:]: route.needs_token for key, route in routes.items() if route.method == "GET"}
    assert got
    assert {key[5:]: route.needs_token for key, route in routes.items() if route.method == "HEAD"} == got


@pytest.mark.parametrize("name", CLOSED)
def test_each_user_of_the_real_api_sees_their_own_records_only(name: str, database_home: Path) -> None:
    server = LocalServer(database_home, SERVER=name, AUTH="on", ENVIRONMENTS="1", WORKERS="1")
    try:
        server.start()
        issuer = read_issuer(database_home)
        anna = f"anna-of-{name}"
        tokens = {user: bearer(issuer.token(user, 600)) for user in (anna, "bob")}
        with httpx.Client(base_url=server.address, timeout=30) as client:
            digit = {"file": (ROOT / "local/samples/mnist_sample.png").read_bytes()}
            assert client.post("/prediction", files=digit).status_code == 401
            for_bob = client.post("/prediction", files=digit, headers=tokens[anna], data={"user_id": "bob"})
            assert for_bob.status_code == 403
            made = client.post("/prediction", files=digit, headers=tokens[anna])
            assert made.status_code == 201
            assert made.json()["user_id"] == anna

            path = f"/prediction/{made.json()['prediction_id']}"
            assert client.get(path).status_code == 401
            assert client.get(path, headers=tokens[anna]).json()["user_id"] == anna
            assert client.get(path, headers=tokens["bob"]).status_code == 404
            assert client.get(f"{path}/input", headers=tokens["bob"]).status_code == 404
            assert client.get("/predictions", headers=tokens[anna]).json()["predictions"] == [made.json()]
            assert client.get("/predictions", headers=tokens["bob"]).json()["predictions"] == []
            for path in OPEN:
                assert client.get(path).status_code == client.head(path).status_code == 200

            input_path = f"/prediction/{made.json()['prediction_id']}/input"
            for path in ("/predictions", "/model", input_path):
                assert client.head(path).status_code == 401
                got, head = (client.request(method, path, headers=tokens[anna]) for method in ("GET", "HEAD"))
                assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
                assert int(head.headers["content-length"]) == len(got.content) > 0
            assert client.head(input_path, headers=tokens["bob"]).status_code == 404
            carol = bearer(issuer.token("carol", 600, ["predictions:read-all"]))
            assert made.json() in client.get("/predictions", headers=carol).json()["predictions"]

        lines = re.findall("^curl .*", server.output, re.MULTILINE)
        assert len(lines) == 3
        for line in lines:
            answer = subprocess.run(
                ["bash", "-c", line.replace("curl ", "curl -sS --fail ")], cwd=ROOT, check=True, capture_output=True
            )
            assert b'"anna"' in answer.stdout
    finally:
        server.clean_up()
