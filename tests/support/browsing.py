"""What the tests of the console have in their hands: a site with a ledger, what its pages complained of, and a page."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx
from playwright.sync_api import BrowserContext, Dialog, Page, expect

from functions.shared.ledger.database_url import parse_database_url
from tests.support.database import Query, connected
from tests.support.database_proxy import Proxy
from tests.support.local_server import LocalServer

PATIENCE: Final = 60_000
"""Milliseconds for whatever a page has to show, on a machine that is busy with much else."""

expect.set_options(timeout=PATIENCE)

NARROW: Final = {"width": 360, "height": 740}
WIDE: Final = {"width": 1280, "height": 900}

Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Site:
    """A running server with a ledger that was filled.

    Attributes
    ----------
    server
        The server.
    url
        The URL of its database.
    query
        Asks the database itself.
    """

    server: LocalServer
    url: str

    @property
    def address(self) -> str:
        """Where it listens, such as `http://127.0.0.1:40001`."""
        return self.server.address

    def api(self, **headers: str) -> httpx.Client:
        """Return a client of its API."""
        return httpx.Client(base_url=self.address, headers=headers, timeout=PATIENCE / 1000)

    @cached_property
    def origins(self) -> frozenset[str]:
        """The origins that its pages may ask: its own, and its issuer's."""
        answer = httpx.get(f"{self.address}/console")
        (sources,) = re.findall(r"connect-src ([^;]*)", answer.headers["content-security-policy"])
        return frozenset((self.address, *sources.split()))

    def listed(self, **filters: str) -> list[dict[str, Any]]:
        """Return every record that meets filters of the list."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        with self.api() as api:
            while True:
                query = {"limit": "200", **filters, **({"cursor": cursor} if cursor else {})}
                answer = api.get("/predictions", params=query)
                assert answer.status_code == 200, answer.text
                found += answer.json()["predictions"]
                cursor = answer.json()["next_cursor"]
                if cursor is None:
                    return found

    @contextlib.contextmanager
    def asked(self) -> Iterator[Query]:
        """Ask the database itself."""
        with connected(self.url) as query:
            yield query


@dataclass
class Watched:
    """What a browser complained of while it showed a site's pages.

    Attributes
    ----------
    expected
        Patterns of complaints that the test makes on purpose, such as `503`.
    """

    site: Site
    expected: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        """Note what any page of a context complains of, and every request that leaves the server."""
        assert self.site.origins  # asked for before there is an event
        context.on("console", lambda message: self._note(message.text, message.type == "error"))
        context.on("weberror", lambda error: self._note(str(error.error)))
        context.on("request", lambda request: self._note(f"elsewhere: {request.url}", self._is_elsewhere(request.url)))
        context.on("dialog", self._dismiss)

    def check(self) -> None:
        """Fail if there was a complaint that nobody expected."""
        found = [one for one in self.complaints if not any(re.search(known, one) for known in self.expected)]
        assert not found, "\n".join(found)

    def _dismiss(self, dialog: Dialog) -> None:
        self._note(f"dialog {dialog.type}: {dialog.message}")
        if dialog.type == "beforeunload":  # who leaves the page, leaves it
            dialog.accept()
        else:
            dialog.dismiss()

    def _is_elsewhere(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme not in {"blob", "data"} and f"{parts.scheme}://{parts.netloc}" not in self.site.origins

    def _note(self, text: str, matters: bool = True) -> None:
        if matters:
            self.complaints.append(text)


Serve = Callable[..., Site]
"""Returns the site of a kind of ledger: `serve("digits", AUTH="on")`. The same call gets the same site."""

Visit = Callable[..., Page]
"""Opens a page of a site in a browser of its own: `visit(site, "/console/records", scheme="dark")`."""


@dataclass
class Breakable:
    """A site whose database and server can be taken away."""

    site: Site
    folder: Path
    proxy: Proxy

    def take_database_away(self) -> None:
        self.proxy.close()

    def bring_database_back(self) -> None:
        self.proxy = Proxy(parse_database_url(self.site.url), self.folder)

    def take_server_away(self) -> None:
        self.site.server.stop()

    def bring_server_back(self) -> None:
        self.site.server.start()


Accessible = Callable[[Page], None]
"""Fails where axe-core finds a violation in a page."""


def token_of(site: Site, user: str, *scopes: str) -> str:
    """Return a token of a user, as `python -m local token` prints it."""
    from local.gateway.issuer import read_issuer

    return read_issuer(site.server.home).token(user, 3600, scopes)


def sign_in(page: Page, user: str, *scopes: str) -> None:
    """Sign in at the local issuer, as somebody with these scopes beside what everybody may."""
    back = page.url
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    fill_in(page, user, *scopes)
    page.wait_for_url(back)


def fill_in(page: Page, user: str, *scopes: str) -> None:
    """Fill in the page of the local issuer."""
    page.get_by_label("Name").fill(user)
    for scope in scopes:
        page.locator(f"input[name='{scope}']").check()
    page.get_by_role("button", name="Sign in").click()


def some_record(site: Site, **filters: str) -> dict[str, Any]:
    """Return the newest record that meets filters of the list."""
    with site.api() as api:
        answer = api.get("/predictions", params={"limit": "1", **filters})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["predictions"][0]
    return found


def wait_until(page: Page, happens: Callable[[], bool]) -> None:
    """Wait for what `expect` cannot."""
    for _ in range(PATIENCE // 100):
        if happens():
            return
        page.wait_for_timeout(100)
    assert happens()


def settle(page: Page) -> None:
    """Wait until effects of what has just been rendered have run: from then on a view hears its keys."""
    for _ in range(2):
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)))")


def wait_until_it_hears(page: Page) -> None:
    """Wait until a view knows the model that is served, whose labels are its keys, and listens to keys and drops."""
    page.locator("header .state .muted").wait_for()
    settle(page)


def unfold(page: Page) -> None:
    """Open everything that is folded, such as the table behind a chart."""
    page.eval_on_selector_all("#view details", "all => all.forEach((one) => { one.open = true; })")
    settle(page)


def shown_records(page: Page) -> list[str]:
    """Return the ids of the records that a page links to, each once, in its order."""
    found: list[str] = page.eval_on_selector_all(
        "#view a[href*='/console/record/']",
        "links => links.map(link => new URL(link.href).pathname.split('/').at(-1))",
    )
    return list(dict.fromkeys(found))


def query_of(page: Page) -> dict[str, str]:
    """Return the query of a page's URL."""
    return dict(parse_qsl(urlsplit(page.url).query))
