"""HEAD is answered as GET is, without the body."""

import httpx
import pytest

from functions.describe.console_files import by_url
from local.gateway.routing import Router
from local.template import read_template
from tests.support.event_transport import EventTransport
from tests.support.repository import ROOT

UNKNOWN = "019a0000-0000-7000-8000-000000000000"
SPAN = "since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z"

PATHS = [
    "/",
    "/model",
    "/health",
    "/openapi.json",
    "/docs",
    "/docs/swagger-ui.css",
    "/docs/nothing",
    "/console",
    "/console/records",
    next(iter(by_url())),
    "/assets/nothing",
    "/v2",
    "/v2/health/ready",
    "/v2/models/mnist",
    "/v2/models/mnist/config/",
    "/v2/models/nothing",
    "/v1/models",
    "/v1/models/mnist",
    f"/statistics?{SPAN}",
    "/statistics?since=yesterday",
    "/models",
    f"/models/mnist/versions/1/performance?{SPAN}",
    f"/models/mnist/versions/1/drift?{SPAN}",
    "/models/mnist/versions/nothing/drift",
    "/predictions",
    "/predictions/",
    "/predictions?limit=0",
    "/prediction/{}",
    "/prediction/{}/",
    "/prediction/{}/input",
    "/prediction/{}/output/nothing",
    "/prediction/{}/ground_truth",
    f"/prediction/{UNKNOWN}/ground_truth",
    f"/deletion/{UNKNOWN}",
    f"/prediction/{UNKNOWN}",
    "/prediction/no-id",
]


@pytest.fixture
def clients(environment: pytest.MonkeyPatch) -> dict[str | None, httpx.Client]:
    """A client of each of two users, and one without a token."""
    environment.setenv("AUTH", "on")
    users = ("anna", "bob", None)
    return {user: httpx.Client(transport=EventTransport(user), base_url="https://api.example") for user in users}


@pytest.mark.parametrize("user", ["anna", "bob", None])
@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_status_and_headers_of_get_and_no_body(
    clients: dict[str | None, httpx.Client], digit: bytes, path: str, user: str | None
) -> None:
    made = clients["anna"].post("/prediction", content=digit, headers={"content-type": "image/png"}).json()
    path = path.format(made["prediction_id"])

    as_it_is = {"accept-encoding": "identity"}  # httpx would unpack what it gets, and not say how long that was
    got, head = clients[user].get(path, headers=as_it_is), clients[user].head(path, headers=as_it_is)

    assert (head.status_code, head.headers.multi_items()) == (got.status_code, got.headers.multi_items())
    assert int(head.headers["content-length"]) == len(got.content) > 0
    assert head.content == b""


@pytest.mark.parametrize("path", ["/prediction", "/upload", "/nowhere"])
def test_there_is_no_head_where_there_is_no_get(clients: dict[str | None, httpx.Client], path: str) -> None:
    assert clients["anna"].head(path).status_code == clients["anna"].get(path).status_code in {404, 405}


def test_every_route_that_answers_get_is_among_them() -> None:
    routes = [route for function in read_template(ROOT / "template.yaml") for route in function.routes]
    router = Router((route, route.key) for route in routes)
    tried = {match.route_key for path in PATHS if (match := router.match("GET", path.partition("?")[0]))}
    assert {route.key for route in routes if route.method == "GET" and not route.key.endswith("/")} <= tried
