"""HEAD is answered as GET is, without the body."""

import httpx
import pytest

from tests.support.event_transport import EventTransport

UNKNOWN = "019a0000-0000-7000-8000-000000000000"

PATHS = [
    "/",
    "/model",
    "/health",
    "/openapi.json",
    "/docs",
    "/docs/swagger-ui.css",
    "/docs/nothing",
    "/v2",
    "/v2/health/ready",
    "/v2/models/mnist",
    "/v2/models/mnist/config/",
    "/v2/models/nothing",
    "/v1/models/mnist",
    "/predictions",
    "/predictions/",
    "/predictions?limit=0",
    "/prediction/{}",
    "/prediction/{}/",
    "/prediction/{}/input",
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

    got, head = clients[user].get(path), clients[user].head(path)

    assert (head.status_code, head.headers.multi_items()) == (got.status_code, got.headers.multi_items())
    assert int(head.headers["content-length"]) == len(got.content) > 0
    assert head.content == b""


@pytest.mark.parametrize("path", ["/prediction", "/upload", "/nowhere"])
def test_there_is_no_head_where_there_is_no_get(clients: dict[str | None, httpx.Client], path: str) -> None:
    assert clients["anna"].head(path).status_code == clients["anna"].get(path).status_code in {404, 405}
