"""With an authorizer, the token says who the user is, and each user sees their own records and no others."""

import json
from typing import Any

import httpx
import pytest

from functions.shared.api.auth import Caller
from functions.shared.api.scopes import Scope
from local.template import read_template
from tests.support.event_transport import EventTransport
from tests.support.repository import ROOT

UNKNOWN = "019a0000-0000-7000-8000-000000000000"

OF_USERS: dict[str, dict[str, Any]] = {
    "POST /prediction": {"content": b"x", "headers": {"content-type": "image/png"}},
    "POST /predictions": {"json": {"instances": []}},
    "POST /v2/models/{name}/infer": {"json": {"inputs": []}},
    "POST /v2/models/{name}/versions/{version}/infer": {"json": {"inputs": []}},
    "POST /v1/models/{name}": {"json": {"instances": []}},
    "GET /predictions": {},
    "DELETE /predictions": {"params": {"until": "2100-01-01T00:00:00Z"}},
    "GET /prediction/{prediction_id}": {},
    "DELETE /prediction/{prediction_id}": {},
    "GET /prediction/{prediction_id}/input": {},
    "GET /prediction/{prediction_id}/output/{name+}": {},
    "GET /prediction/{prediction_id}/ground_truth": {},
    "PUT /prediction/{prediction_id}/ground_truth": {"json": {"label": "7"}},
    "DELETE /prediction/{prediction_id}/ground_truth": {},
    "POST /ground_truth": {"json": {"items": []}},
    "GET /deletion/{deletion_id}": {},
    "GET /statistics": {},
    "GET /models": {},
    "GET /models/{name}/versions/{version}/performance": {},
    "GET /models/{name}/versions/{version}/drift": {},
    "POST /upload": {"json": {"contenttype": "image/png", "size": 1}},
    "GET /v2/models/{rest+}": {},
    "GET /v1/models": {},
    "GET /v1/models/{rest+}": {},
}
"""Requests by the routes that ask for a token, each as its route wants it."""

IN_PATHS = {
    "/v1/models/{name}": "/v1/models/mnist:predict",
    "{name}": "mnist",
    "{version}": "1",
    "{rest+}": "mnist",
    "{name+}": "y",
    "{deletion_id}": UNKNOWN,
}
"""What stands for the variables of their paths."""

OF_THE_MODEL = {"GET /model"}
"""Routes that ask for a token, and tell everybody who has one the same."""


@pytest.fixture
def clients(environment: pytest.MonkeyPatch) -> dict[str | None, httpx.Client]:
    """A client of each of two users, and one without a token."""
    environment.setenv("AUTH", "on")
    users = ("anna", "bob", None)
    return {user: httpx.Client(transport=EventTransport(user), base_url="https://api.example") for user in users}


def predict(client: httpx.Client, digit: bytes, **data: str) -> httpx.Response:
    return client.post("/prediction", files={"file": ("seven.png", digit, "image/png")}, data=data)


def test_the_record_belongs_to_the_tokens_user(clients: dict[str, httpx.Client], digit: bytes) -> None:
    assert predict(clients["anna"], digit).json()["user_id"] == "anna"
    assert predict(clients["anna"], digit, user_id="anna").json()["user_id"] == "anna"


def test_another_user_in_the_body_is_refused(clients: dict[str, httpx.Client], digit: bytes) -> None:
    answer = predict(clients["anna"], digit, user_id="bob")

    assert answer.status_code == 403
    assert clients["anna"].get("/predictions").json()["predictions"] == []
    assert clients["anna"].get("/predictions?user_id=bob").status_code == 403


def test_somebody_elses_record_answers_as_an_unknown_one(clients: dict[str, httpx.Client], digit: bytes) -> None:
    prediction_id = predict(clients["anna"], digit).json()["prediction_id"]

    for suffix in ("", "/input"):
        theirs = clients["bob"].get(f"/prediction/{prediction_id}{suffix}")
        nobodys = clients["bob"].get(f"/prediction/{UNKNOWN}{suffix}")
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.content == nobodys.content
        assert clients["anna"].get(f"/prediction/{prediction_id}{suffix}").status_code == 200


def test_a_list_holds_ones_own_records_only(clients: dict[str, httpx.Client], digit: bytes) -> None:
    anna = predict(clients["anna"], digit).json()
    predict(clients["bob"], digit)

    assert clients["anna"].get("/predictions").json()["predictions"] == [anna]


def test_without_a_token_there_is_nothing_to_predict_or_read(
    clients: dict[str | None, httpx.Client], digit: bytes
) -> None:
    prediction_id = predict(clients["anna"], digit).json()["prediction_id"]

    for answer in (
        predict(clients[None], digit),
        predict(clients[None], digit, user_id="anna"),
        clients[None].get("/predictions"),
        clients[None].get(f"/prediction/{prediction_id}"),
        clients[None].get(f"/prediction/{prediction_id}/input"),
        clients[None].head(f"/prediction/{prediction_id}"),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("required", ["on", "off"])
@pytest.mark.parametrize("subject", ["", "\x00", "\ud800", "a\nb", "x" * 2700, 0, 0.0, False, [], {}, 7], ids=repr)
def test_a_token_that_names_no_user_is_refused_and_never_taken_for_everybodys(
    environment: pytest.MonkeyPatch, digit: bytes, subject: object, required: str
) -> None:
    environment.setenv("AUTH", required)
    anna, nobody = (
        httpx.Client(transport=EventTransport(user), base_url="https://api.example") for user in ("anna", subject)
    )
    prediction_id = predict(anna, digit).json()["prediction_id"]

    for answer in (
        predict(nobody, digit),
        nobody.get("/predictions"),
        nobody.get(f"/prediction/{prediction_id}"),
        nobody.get(f"/prediction/{prediction_id}/input"),
        nobody.post("/upload", json={"contenttype": "image/png", "size": 1}),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "names no user" in answer.json()["detail"]


def test_no_route_takes_a_token_that_names_no_user(environment: pytest.MonkeyPatch, digit: bytes) -> None:
    environment.setenv("AUTH", "off")  # where a request without a token would do everything
    anna = httpx.Client(transport=EventTransport("anna"), base_url="https://api.example")
    prediction_id = predict(anna, digit).json()["prediction_id"]

    for subject in ("", 0, False):
        nobody = httpx.Client(transport=EventTransport(subject), base_url="https://api.example")
        for route, request in OF_USERS.items():
            method, _, url = route.partition(" ")
            for variable, value in IN_PATHS.items():
                url = url.replace(variable, value)
            answer = nobody.request(method, url.replace("{prediction_id}", prediction_id), **request)
            assert answer.status_code == 401, route
            assert answer.headers["www-authenticate"] == "Bearer", route
            assert "names no user" in answer.text, route
    assert anna.get(f"/prediction/{prediction_id}").status_code == 200


def test_every_route_that_asks_for_a_token_is_among_them() -> None:
    routes = [route for function in read_template(ROOT / "template.yaml") for route in function.routes]
    asking = {route.key.rstrip("/") for route in routes if route.needs_token and route.method != "HEAD"}
    assert asking == OF_USERS.keys() | OF_THE_MODEL


NOBODY = [
    {},
    {"jwt": None},
    {"jwt": {}},
    {"jwt": {"claims": None}},
    {"jwt": {"claims": {}}},
    {"jwt": {"claims": {"sub": None}}},
    {"jwt": []},
    "",
    0,
    False,
    [],
]


@pytest.mark.parametrize("required", ["on", "off"])
@pytest.mark.parametrize("authorizer", NOBODY, ids=repr)
def test_an_authorizer_that_names_nobody_is_no_missing_authorizer(
    environment: pytest.MonkeyPatch, authorizer: object, required: str
) -> None:
    environment.setenv("AUTH", required)
    nobody = httpx.Client(transport=EventTransport(authorizer=authorizer), base_url="https://api.example")

    for path in ("/predictions", f"/prediction/{UNKNOWN}", f"/prediction/{UNKNOWN}/input"):
        assert nobody.get(path).status_code == 401


READ_ALL = "predictions:read-all"


def reader(**claims: object) -> httpx.Client:
    """Return a client whose token is carol's, with other claims."""
    return httpx.Client(transport=EventTransport("carol", **claims), base_url="https://api.example")


GRANTS: list[dict[str, object]] = [
    {"scope": READ_ALL},
    {"scope": f"openid {READ_ALL} profile"},
    {"scope": f"onnx-ledger/{READ_ALL}"},
    {"scope": f"openid onnx-ledger/{READ_ALL}"},
    {"scp": READ_ALL},
    {"scp": f"[openid {READ_ALL}]"},
    {"scp": ["openid", READ_ALL]},
]


@pytest.mark.parametrize("claims", GRANTS, ids=repr)
def test_a_scope_shows_everybodys_records(
    clients: dict[str, httpx.Client], digit: bytes, claims: dict[str, object]
) -> None:
    of_anna, of_bob = (predict(clients[user], digit).json() for user in ("anna", "bob"))
    carol = reader(**claims)

    assert carol.get("/predictions").json()["predictions"] == [of_bob, of_anna]
    assert carol.get("/predictions?user_id=anna").json()["predictions"] == [of_anna]
    assert carol.get(f"/prediction/{of_anna['prediction_id']}").json()["user_id"] == "anna"
    assert carol.get(f"/prediction/{of_anna['prediction_id']}/input").content == digit
    assert carol.get(f"/prediction/{UNKNOWN}").status_code == 404


OTHER_SCOPES: list[dict[str, object]] = [
    {},
    {"scope": ""},
    {"scope": None},
    {"scope": 7},
    {"scp": [None, 7, {}]},
    {"scope": "openid predictions"},
    {"scope": f"{READ_ALL}s x{READ_ALL} {READ_ALL}/x"},
    {"scope": READ_ALL.upper()},
    {"scope": f"another-api/{READ_ALL} https://api.example/{READ_ALL} /{READ_ALL}"},
    {"scope": "predictions:delete-all ground-truth:write"},
    {"roles": READ_ALL, "permissions": [READ_ALL]},
]


@pytest.mark.parametrize("claims", OTHER_SCOPES, ids=repr)
def test_nothing_else_shows_them(clients: dict[str, httpx.Client], digit: bytes, claims: dict[str, object]) -> None:
    path = f"/prediction/{predict(clients['anna'], digit).json()['prediction_id']}"
    carol = reader(**claims)
    own = predict(carol, digit).json()

    assert carol.get("/predictions").json()["predictions"] == [own]
    assert carol.get("/predictions?user_id=anna").status_code == 403
    for other in (path, f"{path}/input"):
        assert carol.get(other).status_code == 404
    assert carol.get(f"/prediction/{own['prediction_id']}").status_code == 200


def test_a_scope_to_read_lets_nobody_write_for_others(clients: dict[str, httpx.Client], digit: bytes) -> None:
    assert clients
    carol = reader(scope=READ_ALL)
    assert predict(carol, digit, user_id="anna").status_code == 403
    assert predict(carol, digit).json()["user_id"] == "carol"


def test_what_is_read_by_scope_is_logged_and_what_is_read_as_ones_own_is_not(
    clients: dict[str, httpx.Client], digit: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    carol = reader(scope=READ_ALL)
    own, of_anna = (predict(client, digit).json()["prediction_id"] for client in (carol, clients["anna"]))

    def logged(path: str) -> list[tuple[str, list[str]]]:
        capsys.readouterr()
        assert carol.get(path).status_code == 200
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [(line["read_by"], line["prediction_ids"]) for line in lines if "read_by" in line]

    for path in (f"/prediction/{of_anna}", f"/prediction/{of_anna}/input", "/predictions", "/predictions?user_id=anna"):
        assert logged(path) == [("carol", [of_anna])]
    for path in (f"/prediction/{own}", f"/prediction/{own}/input", "/predictions?user_id=carol"):
        assert logged(path) == []


@pytest.mark.parametrize("scope", list(Scope))
def test_a_caller_may_what_its_scopes_say_and_everything_where_there_is_no_authorizer(scope: Scope) -> None:
    assert Caller(None).may(scope)
    assert Caller(None).confined_to(scope) is None
    assert not Caller("anna", frozenset(Scope) - {scope}).may(scope)
    assert Caller("anna").confined_to(scope) == "anna"
    for name in (scope, f"onnx-ledger/{scope}"):
        assert Caller("anna", frozenset({name})).may(scope)
        assert Caller("anna", frozenset({name})).confined_to(scope) is None


def test_what_is_served_may_be_read_without_a_token(clients: dict[str | None, httpx.Client]) -> None:
    for path in ("/", "/health", "/openapi.json", "/docs"):
        assert clients[None].get(path).status_code == 200
