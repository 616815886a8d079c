"""Which route matches a request."""

import pytest

from local.gateway.routing import Router
from local.template import Route

# The example of "Create routes for HTTP APIs in API Gateway", and the forms of route that this API adds.
ROUTES = [
    "GET /pets/dog/1",
    "GET /pets/dog/{id}",
    "GET /pets/{proxy+}",
    "ANY /{proxy+}",
    "GET /{kind}/list",
    "POST /pets",
    "ANY /pets",
    "GET /file.json",
]


def router(*keys: str) -> Router[str]:
    routes = [(Route("ANY", None) if key == "$default" else Route(*key.split(" ", 1)), key) for key in keys]
    return Router(routes)


@pytest.mark.parametrize(
    ("request_line", "route"),
    [
        ("GET /pets/dog/1", "GET /pets/dog/1"),
        ("GET /pets/dog/2", "GET /pets/dog/{id}"),
        ("GET /pets/cat/1", "GET /pets/{proxy+}"),
        ("POST /test/5", "ANY /{proxy+}"),
        ("POST /pets/dog/1", "ANY /{proxy+}"),
        ("POST /pets", "POST /pets"),
        ("DELETE /pets", "ANY /pets"),
        ("GET /pets/list", "GET /pets/{proxy+}"),
        ("GET /cats/list", "GET /{kind}/list"),
        ("GET /file.json", "GET /file.json"),
        ("GET /file-json", "ANY /{proxy+}"),
    ],
)
def test_the_most_specific_path_that_has_the_method_wins(request_line: str, route: str) -> None:
    match = router(*ROUTES).match(*request_line.split(" "))
    assert match is not None
    assert match.target == match.route_key == route


def test_variables_hold_one_segment_and_greedy_ones_hold_the_rest() -> None:
    routes = router("GET /a/{one}/{two}", "GET /b/{rest+}")
    one = routes.match("GET", "/a/x y/z")
    rest = routes.match("GET", "/b/x/y/")
    assert one is not None
    assert one.path_parameters == {"one": "x y", "two": "z"}
    assert rest is not None
    assert rest.path_parameters == {"rest": "x/y/"}


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /a",
        "GET /a/",
        "GET /a/b/c",
        "HEAD /a/b",
        "OPTIONS /a/b",
        "GET /c/",
        "POST /c",
        "GET /d",
        "GET /d/",
        "GET /",
    ],
)
def test_nothing_is_made_up(request_line: str) -> None:
    """A GET route does not answer HEAD, a trailing slash makes another path, and a variable is not empty."""
    assert router("GET /a/{id}", "GET /c", "GET /d/{rest+}").match(*request_line.split(" ")) is None


def test_the_default_route_takes_what_no_other_takes() -> None:
    routes = router("GET /a", "$default")
    for request_line, route in (("GET /a", "GET /a"), ("POST /a", "$default"), ("GET /b/c", "$default")):
        match = routes.match(*request_line.split(" "))
        assert match is not None
        assert match.route_key == route
