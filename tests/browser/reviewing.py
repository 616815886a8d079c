"""What tests do in a review."""

import json
from typing import Any

from playwright.sync_api import Page, expect

from local.gateway.issuer import read_issuer
from tests.support.browsing import Site, wait_until_it_hears


def current_record(page: Page) -> str:
    """Return the id of the record that a review shows."""
    link = page.get_by_role("region", name="Record to review").get_by_role("link", name="Open")
    return (link.get_attribute("href") or "").rpartition("/")[2]


def answer_and_wait(page: Page, key: str) -> str:
    """Press a key that judges the record that is shown, wait for the next one, and return the id of the first."""
    before = current_record(page)
    wait_until_it_hears(page)
    page.keyboard.press(key)
    expect(page.locator(f"section.review a[href$='{before}']")).to_have_count(0)
    return before


def judged(site: Site) -> int:
    with site.asked() as query:
        [[count]] = query("SELECT count(*) FROM predictions WHERE ground_truth IS NOT NULL")
    return int(count)


def wait_until_saved(page: Page) -> None:
    """Wait until a page has heard that all is stored: only then it lets itself be left."""
    page.wait_for_function("() => !sessionStorage['onnx-ledger.unsaved']")


def send_now(page: Page) -> None:
    """Press the button that sends what is not stored yet, unless it has been sent by itself meanwhile."""
    page.eval_on_selector_all(
        "section.unsaved button", "all => all.find((one) => one.textContent === 'Send now')?.click()"
    )


def wait_until_judged(page: Page, site: Site, count: int) -> None:
    for _ in range(1200):
        if judged(site) == count:
            return
        page.wait_for_timeout(50)
    assert judged(site) == count


def stored(page: Page) -> dict[str, Any]:
    """Return what the tab's session storage has of the user."""
    found: dict[str, Any] = page.evaluate(
        """() => {
          const key = Object.keys(sessionStorage).find((name) => name.includes("user:"));
          return { key, value: key && JSON.parse(sessionStorage[key]) };
        }"""
    )
    return found


def end_session(site: Site, page: Page, user: str) -> None:
    """Have the tab's token expire, with nothing to renew it by, as after a night."""
    kept = stored(page)
    token = read_issuer(site.server.home).token(user, -60)
    changed = {**kept["value"], "access_token": token, "expires_at": 1}
    changed.pop("refresh_token", None)
    page.evaluate("([key, value]) => sessionStorage.setItem(key, value)", [kept["key"], json.dumps(changed)])
