"""Running servers with seeded ledgers, and a real browser that watches what each page does."""

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from functions.shared.ledger.database_url import parse_database_url
from tests.browser.chromium import open_browser
from tests.support.database import Query, connected, in_database, run
from tests.support.database_proxy import Proxy
from tests.support.local_server import LocalServer
from tests.support.ports import free_port
from tests.support.seeded import (
    DIGITS,
    PATIENTS,
    bring_back,
    finding_model,
    hostile_model,
    keep,
    seed_digits,
    seed_hostile,
    seed_patients,
    seed_tokens,
    token_model,
)

PATIENCE: Final = 60_000
"""Milliseconds for whatever a page has to show, on a machine that is busy with much else."""

MOST_SERVERS: Final = 3
"""That run at once, of a worker: each has connections to its PostgreSQL."""

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


Visit = Callable[..., Page]
"""Opens a page of a site in a browser of its own: `visit(site, "/console/records", scheme="dark")`."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's browser, started once a worker."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Return a function that opens a page as another person would, with nothing of what came before.

    The test fails if the browser's console has an error at its end, or a request left the server. `expecting` has
    patterns of what may be there.
    """
    watches: list[Watched] = []
    contexts: list[BrowserContext] = []

    def open_page(
        site: Site, path: str = "/", *, scheme: Scheme = "light", expecting: tuple[str, ...] = (), **more: Any
    ) -> Page:
        options = {"viewport": WIDE, "locale": "en-GB", "timezone_id": "UTC", "reduced_motion": "reduce", **more}
        context = chromium.new_context(base_url=site.address, color_scheme=scheme, accept_downloads=True, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        watches.append(Watched(site, list(expecting)))
        watches[-1].watch(context)
        page = context.new_page()
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for watched in watches:
        watched.check()


@dataclass(frozen=True)
class _Kind:
    """A ledger, and the model that is served with it."""

    model: Callable[[Path], Path]
    seed: Callable[[str, Path, Path], None]


_KINDS: Final = {
    "digits": _Kind(lambda _: DIGITS, lambda url, _, folder: seed_digits(url, folder)),
    "patients": _Kind(lambda _: PATIENTS, lambda url, _model, _folder: seed_patients(url)),
    "tokens": _Kind(token_model, lambda url, model, _: seed_tokens(url, model)),
    "hostile": _Kind(hostile_model, lambda url, model, _: seed_hostile(url, model)),
    "finding": _Kind(finding_model, lambda _url, _model, _folder: None),
    "nothing": _Kind(lambda _: DIGITS, lambda _url, _model, _folder: None),
}

Serve = Callable[..., Site]
"""Returns the site of a kind of ledger: `serve("digits", AUTH="on")`. The same call gets the same site."""


@pytest.fixture(scope="session")
def serve(postgres: str) -> Iterator[Serve]:
    """Return a function that starts a server with a ledger of a kind, once a worker.

    The folder is not in pytest's temporary folder, which PostgreSQL's system user cannot read if we are root.
    """
    from infra.migrations import upgrade

    servers: list[LocalServer] = []
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-") as name:
        folder = Path(name)

        @cache
        def filled(kind: str) -> tuple[str, Path]:
            """Return the name of a database that is copied for each server, and the model's package."""
            database = f"filled_{kind}"
            run(postgres, f"CREATE DATABASE {database}")
            url = in_database(postgres, database)
            upgrade(url)
            model = _KINDS[kind].model(folder / f"model_{kind}")
            _KINDS[kind].seed(url, model, folder / f"more_{kind}")
            keep(url)
            return database, model

        running: dict[tuple[object, ...], tuple[LocalServer, Site]] = {}  # that asked for last is the last
        numbers = count()

        def start(kind: str, **environment: str) -> Site:
            key = (kind, *sorted(environment.items()))
            running[key] = running.pop(key) if key in running else make(kind, environment)
            while len(running) > MOST_SERVERS:
                server, _ = running.pop(next(iter(running)))
                server.clean_up()
            return running[key][1]

        def make(kind: str, environment: Mapping[str, str]) -> tuple[LocalServer, Site]:
            template, model = filled(kind)
            number = next(numbers)
            run(postgres, f"CREATE DATABASE served_{number} TEMPLATE {template}")
            url = in_database(postgres, f"served_{number}")
            settings = {"SERVER": "batching", "WORKERS": "1", "ENVIRONMENTS": "1", "LOG_LEVEL": "ERROR", **environment}
            server = LocalServer(folder / f"home-{number}", MODEL=str(model), **{"DATABASE_URL": url, **settings})
            servers.append(server)
            return server, Site(server.start(), url)

        yield start
        for server in servers:
            server.clean_up()


def _of(serve: Serve, kind: str, **environment: str) -> Site:
    site = serve(kind, **environment)
    bring_back(site.url)
    return site


@pytest.fixture
def digits(serve: Serve) -> Site:
    """Digits of eleven days, some of them blurred or inverted, most of them judged. No sign-in."""
    return _of(serve, "digits")


@pytest.fixture
def digits_signed(serve: Serve) -> Site:
    """The same behind a sign-in, served as on Lambda."""
    return _of(serve, "digits", SERVER="lambda", AUTH="on")


@pytest.fixture
def patients(serve: Serve) -> Site:
    """Patients of three days, on the last of which their blood sugar was higher. A regression, by named features."""
    return _of(serve, "patients")


@pytest.fixture
def tokens(serve: Serve) -> Site:
    """Token lists, and a model that takes named tensors."""
    return _of(serve, "tokens")


@pytest.fixture
def hostile(serve: Serve) -> Site:
    """Records whose every text is a script where it is taken for markup."""
    return _of(serve, "hostile")


@pytest.fixture
def finding(serve: Serve) -> Site:
    """An empty ledger, and a model that finds things in pictures, whose labels are scripts."""
    return _of(serve, "finding")


@pytest.fixture
def nothing(serve: Serve) -> Site:
    """A ledger that is empty."""
    return _of(serve, "nothing")


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


@pytest.fixture
def breakable(digits: Site) -> Iterator[Breakable]:
    """A server of its own, whose connections to the ledger go through a proxy."""
    with tempfile.TemporaryDirectory(prefix="onnx-ledger-") as name:
        folder = Path(name)
        proxy = Proxy(parse_database_url(digits.url), folder)
        server = LocalServer(
            folder / "home",
            DATABASE_URL=proxy.url,
            MODEL=str(DIGITS),
            PORT=str(free_port()),
            SERVER="batching",
            LOG_LEVEL="ERROR",
        )
        made = Breakable(Site(server, digits.url), folder, proxy)
        try:
            server.start()
            yield made
        finally:
            server.clean_up()
            made.proxy.close()


Accessible = Callable[[Page], None]
"""Fails where axe-core finds a violation in a page."""


@pytest.fixture(scope="session")
def accessible() -> Accessible:
    """Return a function that fails where axe-core finds a violation in a page."""
    axe = Axe()

    def check(page: Page) -> None:
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()

    return check


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
