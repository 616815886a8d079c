"""The local server answers requests to its own names only, and writes from its own pages and from programs only."""

import httpx
import pytest

from local.http.sites import Sites
from tests.support.local_server import Serve


def status(sites: Sites, method: str, **headers: str) -> int:
    """Return the status of a refusal; 200 if there is none."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    refusal = sites.refusal(method, pairs)
    return 200 if refusal is None else refusal.status


LOCAL = Sites("127.0.0.1")
EVERYWHERE = Sites("0.0.0.0", ["Ledger.example"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    ("sites", "host", "is_ours"),
    [
        (LOCAL, "localhost", True),
        (LOCAL, "LOCALHOST:3000", True),
        (LOCAL, "127.0.0.1:3000", True),
        (LOCAL, "[::1]:3000", True),
        (LOCAL, "evil.example", False),
        (LOCAL, "evil.example:3000", False),
        (LOCAL, "localhost.evil.example", False),
        (LOCAL, "localhost@evil.example", False),
        (LOCAL, "192.168.1.5:3000", False),
        (LOCAL, "", False),
        (LOCAL, "[", False),
        (Sites("192.168.1.5"), "192.168.1.5:3000", True),
        (Sites("192.168.1.5"), "192.168.1.6:3000", False),
        (Sites("ledger.local"), "ledger.local:3000", True),
        (EVERYWHERE, "192.168.1.5:3000", True),
        (EVERYWHERE, "[fe80::1]:3000", True),
        (EVERYWHERE, "ledger.example", True),
        (EVERYWHERE, "evil.example", False),
    ],
)
def test_a_request_to_another_name_is_refused(sites: Sites, host: str, method: str, *, is_ours: bool) -> None:
    assert status(sites, method, host=host) == (200 if is_ours else 421)


def test_a_request_with_two_names_is_refused_and_one_without_is_not() -> None:
    assert LOCAL.refusal("GET", [(b"host", b"localhost"), (b"host", b"localhost")]) is not None
    assert LOCAL.refusal("GET", []) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("headers", "is_answered"),
    [
        ({}, True),
        ({"origin": "http://localhost:3000", "sec_fetch_site": "same-origin"}, True),
        ({"origin": "http://localhost:3000"}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"origin": "https://ledger.example"}, True),
        ({"origin": "https://ledger.example:8443", "sec_fetch_site": "cross-site"}, True),
        ({"origin": "http://localhost:8080"}, False),
        ({"origin": "http://localhost:8080", "sec_fetch_site": "same-site"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://evil.example", "sec_fetch_site": "same-origin"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://["}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "of tomorrow"}, False),
    ],
    ids=str,
)
def test_a_write_from_a_page_of_another_site_is_refused(
    headers: dict[str, str], method: str, *, is_answered: bool
) -> None:
    sites = Sites("127.0.0.1", ["ledger.example"])
    assert status(sites, method, host="localhost:3000", **headers) == (200 if is_answered else 403)
    assert status(sites, "GET", host="localhost:3000", **headers) == 200


@pytest.mark.server
@pytest.mark.parametrize(
    ("headers", "code", "says"),
    [
        ({"host": "evil.example"}, 421, "ALLOWED_HOSTS"),
        ({"origin": "https://evil.example"}, 403, "'https://evil.example' must not write here"),
        ({"sec-fetch-site": "cross-site"}, 403, "must not write here"),
    ],
    ids=str,
)
def test_the_server_says_what_to_do_and_no_function_is_called(
    client: httpx.Client, headers: dict[str, str], code: int, says: str
) -> None:
    answer = client.post("/echo", headers=headers, content=b"{}")
    assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json")
    assert (answer.json()["status"], answer.json()["type"]) == (code, "about:blank")
    assert says in answer.json()["detail"]


@pytest.mark.server
def test_a_proxys_name_is_answered_once_it_is_allowed(serve: Serve) -> None:
    server = serve(ALLOWED_HOSTS="ledger.example").start()
    headers = {"host": "ledger.example", "origin": "https://ledger.example"}
    assert httpx.post(f"{server.address}/echo", headers=headers).status_code == 200
    assert httpx.post(f"{server.address}/echo", headers={**headers, "host": "evil.example"}).status_code == 421
