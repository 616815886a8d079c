"""What holds for every view: it can be read by everybody, fits a phone, and says in words that there is nothing."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browsing import NARROW, Accessible, Site, Visit, sign_in, some_record, unfold, wait_until

VIEWS = ("predict", "records", "record", "review", "models", "version", "import")
SCHEMES = ("light", "dark")

pytestmark = pytest.mark.parametrize("view", VIEWS)


def path_of(site: Site, view: str) -> str:
    """Return where a view is, of this site's record or model where it is of one."""
    if view == "record":
        return f"/console/record/{some_record(site)['prediction_id']}"
    if view == "version":
        with site.api() as api:
            model = api.get("/model").json()
        return f"/console/models/{model['name']}/{model['version']}"
    return f"/console/{view}"


def wait_until_shown(page: Page) -> None:
    """Wait until a view has loaded whatever it shows first."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.locator("#view").get_by_text(re.compile(r"^Loading"))).to_have_count(0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_in_a_view_of_digits(
    digits: Site, visit: Visit, accessible: Accessible, view: str, scheme: str
) -> None:
    page = visit(digits, path_of(digits, view), scheme=scheme)
    wait_until_shown(page)

    accessible(page)
    unfold(page)
    accessible(page)


@pytest.mark.parametrize("kind", ["patients", "tokens"])
def test_axe_finds_nothing_in_a_view_of_another_model(
    request: pytest.FixtureRequest, visit: Visit, accessible: Accessible, view: str, kind: str
) -> None:
    site: Site = request.getfixturevalue(kind)
    page = visit(site, path_of(site, view), viewport=NARROW)
    wait_until_shown(page)

    accessible(page)
    assert_fits(page)


def test_a_view_fits_a_narrow_phone(digits: Site, visit: Visit, view: str) -> None:
    page = visit(digits, path_of(digits, view), viewport=NARROW, has_touch=True)
    wait_until_shown(page)

    assert_fits(page)
    unfold(page)
    assert_fits(page)


def test_a_view_has_one_heading_that_its_title_names(digits: Site, visit: Visit, view: str) -> None:
    page = visit(digits, path_of(digits, view))
    wait_until_shown(page)

    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_count(1)
    expect(page).to_have_title(f"{heading.inner_text()} · onnx-ledger")


def test_everything_in_a_view_that_can_be_pressed_is_reached_by_the_keyboard(
    digits: Site, visit: Visit, view: str
) -> None:
    page = visit(digits, path_of(digits, view))
    wait_until_shown(page)

    unreachable = page.evaluate(
        """() => [...document.querySelectorAll("#view :is(a, button, input, select, textarea, summary)")]
          .filter((one) => one.checkVisibility() && !one.disabled)
          .filter((one) => one.tabIndex < 0 && one.type !== "radio" && !one.closest("[role=tablist], [role=toolbar]"))
          .map((one) => one.outerHTML)"""
    )
    assert unreachable == []


def test_the_first_link_leads_past_the_header(digits: Site, visit: Visit, view: str) -> None:
    page = visit(digits, path_of(digits, view))
    wait_until_shown(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    expect(page.locator("#view :focus")).to_have_count(1)


def test_a_view_of_an_empty_ledger_says_so(nothing: Site, visit: Visit, accessible: Accessible, view: str) -> None:
    if view == "record":
        path, expected = "/console/record/01900000-0000-7000-8000-000000000000", ("404",)
    else:
        path, expected = path_of(nothing, view), ("404",)
    page = visit(nothing, path, expecting=expected)
    wait_until_shown(page)

    accessible(page)
    if view not in {"predict", "import"}:
        expect(page.locator("#view")).to_contain_text(re.compile("No |no |Nothing|empty|never"))


def test_a_view_is_shown_to_who_has_signed_in_only(
    digits_signed: Site, visit: Visit, accessible: Accessible, view: str
) -> None:
    path = path_of_signed(digits_signed, view)
    page = visit(digits_signed, path)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    accessible(page)

    sign_in(page, "anna", "predictions:read-all", "ground-truth:write")

    wait_until_shown(page)
    assert page.url == digits_signed.address + path
    accessible(page)


def is_of_the_api(url: str) -> bool:
    return not re.search("/console|/assets/|^about:|^blob:|^data:", url)


def test_a_view_says_that_it_loads(digits: Site, visit: Visit, view: str) -> None:
    if view == "import":
        pytest.skip("it needs nothing before there is a file")
    path = path_of(digits, view)
    page = visit(digits, "about:blank")
    held: list[Route] = []
    page.route(is_of_the_api, lambda route: held.append(route))

    page.goto(path)

    expect(page.locator("#view").get_by_role("status").filter(has_text="Loading").first).to_be_visible()


def test_a_view_that_gets_no_answer_says_so_and_is_there_once_one_has_tried_again(
    digits: Site, visit: Visit, accessible: Accessible, view: str
) -> None:
    if view == "import":
        pytest.skip("it needs nothing before there is a file")
    path = path_of(digits, view)
    page = visit(digits, "about:blank", expecting=("ERR_FAILED",))
    page.route(is_of_the_api, lambda route: route.abort())
    page.goto(path)
    problems = page.locator("#view .failed[role=alert]")
    expect(problems.first).to_contain_text("The server cannot be reached.")
    accessible(page)
    page.unroute(is_of_the_api)

    def is_there() -> bool:
        """Press what is there to be pressed: each part of a view asks for itself."""
        page.eval_on_selector_all(
            "#view button", "all => all.filter((one) => one.textContent === 'Try again').forEach((one) => one.click())"
        )
        page.wait_for_load_state("networkidle")
        return problems.count() == 0

    wait_until(page, is_there)
    wait_until_shown(page)


def path_of_signed(site: Site, view: str) -> str:
    if view == "record":
        with site.asked() as query:
            [[own]] = query("SELECT prediction_id::text FROM predictions ORDER BY prediction_id DESC LIMIT 1")
        return f"/console/record/{own}"
    return "/console/models/mnist/1" if view == "version" else f"/console/{view}"


def assert_fits(page: Page) -> None:
    """Fail where a page must be scrolled sideways, and say which elements are too wide."""
    wide = page.evaluate(
        """() => document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
          [...document.querySelectorAll("body *")]
            .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .map((one) => `${one.tagName}.${one.className} ${Math.round(one.getBoundingClientRect().right)}`)"""
    )
    assert wide == []
