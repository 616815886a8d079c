"""Running servers with seeded ledgers, and a real browser that watches what each page does."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from functions.shared.ledger.database_url import parse_database_url
from tests.browser.chromium import open_browser
from tests.support.browsing import PATIENCE, WIDE, Accessible, Breakable, Scheme, Serve, Site, Visit, Watched
from tests.support.database import in_database, run
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

MOST_SERVERS: Final = 3
"""That run at once, of a worker: each has connections to its PostgreSQL."""


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


@pytest.fixture(scope="session")
def accessible() -> Accessible:
    """Return a function that fails where axe-core finds a violation in a page."""
    axe = Axe()

    def check(page: Page) -> None:
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()

    return check
