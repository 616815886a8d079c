"""The page at `/docs`, whose Content-Security-Policy the browser enforces."""

import json

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browsing import Site, Visit, token_of
from tests.support.repository import DIGIT


def unfold(page: Page, name: str) -> Locator:
    """Open an operation, and return what is shown of it."""
    operation = page.locator(f"[id$='-{name}']")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".btn.execute").wait_for()
    return operation


def execute(operation: Locator) -> int:
    """Send the request, and return the status of its answer."""
    operation.locator(".btn.execute").click()
    return int(operation.locator(".live-responses-table .response-col_status").nth(1).inner_text().split()[0])


def authorize(page: Page, token: str) -> None:
    page.locator(".scheme-container .btn.authorize").click()
    page.locator(".modal-ux input").fill(token)
    page.locator(".modal-ux .btn.authorize").click()
    page.locator(".modal-ux .btn-done").click()


@pytest.mark.parametrize("auth", ["off", "on"])
def test_a_person_predicts_from_the_page(request: pytest.FixtureRequest, visit: Visit, auth: str) -> None:
    site: Site = request.getfixturevalue("digits" if auth == "off" else "digits_signed")
    page = visit(site, "/docs", viewport={"width": 1200, "height": 1600})
    page.locator(".opblock").first.wait_for()
    expect(page.locator(".scheme-container .btn.authorize")).to_have_count(1 if auth == "on" else 0)
    if auth == "on":
        authorize(page, token_of(site, "anna"))

    assert execute(unfold(page, "get_model")) == 200
    one, many = unfold(page, "predict"), unfold(page, "predict_many")
    many.locator(".json-schema-form-item-add").first.click()
    many.locator("input[type=file]").nth(1).wait_for()
    expect(one.locator("input[type=file]")).to_have_count(1)
    expect(many.locator("input[type=file]")).to_have_count(2)
    one.locator("input[type=file]").set_input_files(DIGIT)
    many.locator("input[type=file]").nth(0).set_input_files(DIGIT)
    many.locator("input[type=file]").nth(1).set_input_files(DIGIT)
    assert [execute(one), execute(many)] == [201, 201]
    shown = json.loads(one.locator(".live-responses-table .highlight-code pre").first.inner_text())
    assert shown["label"] == "7"
    stored = unfold(page, "get_input")
    stored.locator("[placeholder=prediction_id]").fill(shown["prediction_id"])
    assert execute(stored) == 200
    picture = stored.locator(".live-responses-table img")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 28


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_light_or_dark_as_the_person_has_it(digits: Site, visit: Visit, scheme: str) -> None:
    page = visit(digits, "/docs", scheme=scheme)
    page.locator(".opblock").first.wait_for()

    shown = channels(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    assert min(shown) > 200 if scheme == "light" else max(shown) < 60


def channels(color: str) -> list[int]:
    """Return red, green and blue of `rgb(28, 32, 34)`; a page without a colour is white."""
    values = [int(value) for value in color.partition("(")[2].rstrip(")").split(",")]
    return [255] * 3 if values[3:] == [0] else values[:3]
