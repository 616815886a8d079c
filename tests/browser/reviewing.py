"""What tests do in a review."""

from playwright.sync_api import Page, expect

from tests.support.browsing import Site, settle


def current_record(page: Page) -> str:
    """Return the id of the record that a review shows."""
    link = page.get_by_role("region", name="Record to review").get_by_role("link", name="Open")
    return (link.get_attribute("href") or "").rpartition("/")[2]


def answer_and_wait(page: Page, key: str) -> str:
    """Press a key that judges the record that is shown, wait for the next one, and return the id of the first."""
    before = current_record(page)
    settle(page)
    page.keyboard.press(key)
    expect(page.locator(f"section.review a[href$='{before}']")).to_have_count(0)
    return before


def judged(site: Site) -> int:
    with site.asked() as query:
        [[count]] = query("SELECT count(*) FROM predictions WHERE ground_truth IS NOT NULL")
    return int(count)


def wait_until_judged(page: Page, site: Site, count: int) -> None:
    for _ in range(1200):
        if judged(site) == count:
            return
        page.wait_for_timeout(50)
    assert judged(site) == count
