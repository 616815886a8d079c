"""Use the page at `/docs` in a real browser as a person would, and print what is seen there as JSON.

    python browse_docs.py URL BROWSER TOKEN IMAGE

It runs in the environment of `requirements/browser.txt`, and so imports nothing of ours. An empty TOKEN is not entered.
"""

import json
import sys
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

_HEALTHY = 10_000  # milliseconds for whatever the page has to show


def open_page(browser: Browser, url: str, scheme: Any, seen: dict[str, Any]) -> Page:
    """Open the page with a colour scheme, and note what the browser complains of."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 1600})
    page.set_default_timeout(_HEALTHY)
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))
    page.on("console", lambda message: seen["errors"].append(message.text) if message.type == "error" else None)
    page.goto(f"{url}/docs")
    page.wait_for_selector(".opblock")
    seen[scheme] = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return page


def unfold(page: Page, name: str) -> Any:
    """Open an operation, and return what is shown of it."""
    operation = page.locator(f"[id$='-{name}']")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".btn.execute").wait_for()
    return operation


def execute(operation: Any) -> int:
    """Send the request, and return the status of its answer."""
    operation.locator(".btn.execute").click()
    return int(operation.locator(".live-responses-table .response-col_status").nth(1).inner_text().split()[0])


def main(url: str, executable: str, token: str, image: str) -> None:
    """Look at the page and use it."""
    seen: dict[str, Any] = {"errors": []}
    with sync_playwright() as playwright:
        # Nobody but root runs Chromium without its sandbox, and root cannot run it with one.
        browser = playwright.chromium.launch(executable_path=executable, chromium_sandbox=False)
        open_page(browser, url, "dark", seen).close()
        page = open_page(browser, url, "light", seen)
        seen["authorize"] = page.locator(".btn.authorize").count()
        if token:
            page.locator(".scheme-container .btn.authorize").click()
            page.locator(".modal-ux input").fill(token)
            page.locator(".modal-ux .btn.authorize").click()
            page.locator(".modal-ux .btn-done").click()
        seen["model"] = execute(unfold(page, "get_model"))
        one, many = unfold(page, "predict"), unfold(page, "predict_many")
        many.locator(".json-schema-form-item-add").click()
        many.locator("input[type=file]").nth(1).wait_for()
        seen["files"] = [one.locator("input[type=file]").count(), many.locator("input[type=file]").count()]
        one.locator("input[type=file]").set_input_files(image)
        many.locator("input[type=file]").nth(0).set_input_files(image)
        many.locator("input[type=file]").nth(1).set_input_files(image)
        seen["predicted"] = [execute(one), execute(many)]
        shown = json.loads(one.locator(".live-responses-table .highlight-code pre").first.inner_text())
        seen["label"] = shown["label"]
        stored = unfold(page, "get_input")
        stored.locator("[placeholder=prediction_id]").fill(shown["prediction_id"])
        seen["input"] = execute(stored)
        picture = stored.locator(".live-responses-table img")
        picture.wait_for()
        seen["width"] = picture.evaluate("image => image.decode().then(() => image.naturalWidth)")
        browser.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
