"""What a person sees while the database or the server is away, and that nothing of theirs is lost."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from functions.shared.ledger.database_url import parse_database_url
from tests.support.browsing import Site, Visit, shown_records, some_record, wait_until
from tests.support.database_proxy import Proxy
from tests.support.local_server import LocalServer
from tests.support.ports import free_port
from tests.support.seeded import DIGITS


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


def test_the_database_goes_away_and_comes_back(breakable: Breakable, visit: Visit) -> None:
    site = breakable.site
    page = visit(site, "/console/records?label=7", expecting=("503",))
    page.locator("#view a[href*='/console/record/']").first.wait_for()
    before = shown_records(page)[:20]

    breakable.take_database_away()
    page.reload()
    problem = page.locator("#view").get_by_role("alert").first
    expect(problem).to_contain_text("database")
    breakable.bring_database_back()

    def is_shown_again() -> bool:
        """Press what is there to be pressed: the filters have counts, too, and each says it when it has noticed."""
        if shown_records(page)[:20] == before:
            return True
        page.eval_on_selector_all(
            "#view button", "all => all.filter((one) => /again/i.test(one.textContent)).forEach((one) => one.click())"
        )
        page.wait_for_timeout(1000)
        return False

    wait_until(page, is_shown_again)


def test_a_truth_that_could_not_be_stored_is_said_and_stored_when_it_is_given_again(
    breakable: Breakable, visit: Visit
) -> None:
    site = breakable.site
    own = some_record(site, has_ground_truth="false")["prediction_id"]
    page = visit(site, f"/console/record/{own}", expecting=("503",))
    page.get_by_role("group", name="The true label").wait_for()

    breakable.take_database_away()
    page.keyboard.press("3")
    expect(page.locator("#view").get_by_role("alert").first).to_contain_text("database")
    breakable.bring_database_back()
    page.keyboard.press("3")

    expect(page.get_by_role("button", name="3", exact=True)).to_have_attribute("aria-pressed", "true")
    with site.asked() as query:
        rows = query("SELECT ground_truth #>> '{}' FROM predictions WHERE prediction_id = :own::uuid", own=own)
    assert rows == [["3"]]


def test_the_server_goes_away_and_comes_back(breakable: Breakable, visit: Visit) -> None:
    page = visit(breakable.site, "/console/records", expecting=("ERR_CONNECTION", "ERR_EMPTY"))
    page.locator("#view a[href*='/console/record/']").first.wait_for()

    breakable.take_server_away()
    page.get_by_role("navigation").get_by_role("link", name="Models").click()
    expect(page.get_by_role("alert").first).to_contain_text("cannot be reached")
    breakable.bring_server_back()
    page.get_by_role("button", name="again").first.click()

    expect(page.get_by_role("table", name="Models and versions")).to_be_visible()
