"""The pages for a browser, and what they load."""

import httpx
import pytest


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/"])
def test_a_page_says_what_it_may_do(api: httpx.Client, path: str) -> None:
    answer = api.get(path, headers={"accept": "text/html"})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_the_root_is_a_page_or_json_as_the_caller_accepts(api: httpx.Client) -> None:
    for accept in ("text/html", "application/json"):
        answer = api.get("/", headers={"accept": accept})
        assert answer.headers["content-type"].startswith(accept)
        assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/docs/swagger-ui.css", "text/css"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/openapi.json", "application/json"),
    ],
)
def test_what_the_pages_load_is_taken_for_what_it_is(api: httpx.Client, path: str, kind: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["x-content-type-options"] == "nosniff"
