"""What a person sees while the database or the server is away, and that nothing of theirs is lost."""

from playwright.sync_api import expect

from tests.support.browsing import Breakable, Visit, shown_records, wait_until


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


def test_the_server_goes_away_and_comes_back(breakable: Breakable, visit: Visit) -> None:
    page = visit(breakable.site, "/console/records", expecting=("ERR_CONNECTION", "ERR_EMPTY"))
    page.locator("#view a[href*='/console/record/']").first.wait_for()

    breakable.take_server_away()
    page.get_by_role("navigation").get_by_role("link", name="Models").click()
    expect(page.get_by_role("alert").first).to_contain_text("cannot be reached")
    breakable.bring_server_back()
    page.get_by_role("button", name="again").first.click()

    expect(page.get_by_role("table", name="Models and versions")).to_be_visible()
