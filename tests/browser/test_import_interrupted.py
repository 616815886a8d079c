"""An import that is larger than a request, loses its connection, is left and come back to, or finds a record gone."""

from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from tests.browser.reviewing import judged, send_now
from tests.browser.test_import_export import a_csv, choose, outcome
from tests.support.browsing import NARROW, WIDE, Accessible, Scheme, Site, Visit

LOST = ("net::ERR_FAILED",)
UNKNOWN = [str(UUID(int=number)) for number in range(20_000)]


def new_ones(site: Site, count: int) -> list[str]:
    """Return the ids of records of which nobody has said what is true."""
    return [record["prediction_id"] for record in site.listed(has_ground_truth="false", version="1")[:count]]


def cut_off(page: Page) -> None:
    """Let no ground truth through."""
    page.route("**/ground_truth*", lambda route: route.abort())


def test_an_import_goes_on_where_the_connection_broke_and_counts_no_line_twice(digits: Site, visit: Visit) -> None:
    ids = new_ones(digits, 3)
    before = judged(digits)
    page = visit(digits, "/console/import", expecting=LOST)
    page.get_by_label("File of ground truths").wait_for()

    cut_off(page)
    rows = [(one, "7") for one in (*ids, *UNKNOWN)]
    choose(page, a_csv(*rows, header=("prediction_id", "label")))
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.unroute("**/ground_truth*")
    page.get_by_role("button", name="Try again").click()

    expect(page.get_by_text("Checked: 20,003 lines.")).to_be_visible(timeout=60_000)
    assert outcome(page, "new").endswith("3")
    assert outcome(page, "unknown id").endswith("20,000")
    cut_off(page)
    page.get_by_role("button", name="Write 3 lines").click()
    expect(page.get_by_text("3 ground truths could not be stored yet")).to_be_visible()
    assert judged(digits) == before
    page.unroute("**/ground_truth*")
    send_now(page)
    expect(page.get_by_text("Written: 3 of 3 lines, 3 predictions changed.")).to_be_visible(timeout=60_000)
    assert judged(digits) == before + 3


def test_an_import_is_as_it_was_for_who_looks_at_something_else_meanwhile(digits: Site, visit: Visit) -> None:
    ids = new_ones(digits, 2)
    page = visit(digits, "/console/import")
    choose(page, a_csv((ids[0], "7"), (ids[1], "twelve"), header=("prediction_id", "label")))
    page.get_by_role("button", name="label unknown to the model").click()
    page.get_by_role("region", name="The lines", exact=True).get_by_role("link").first.click()
    expect(page).to_have_url(f"{digits.address}/console/record/{ids[1]}")

    page.go_back()

    expect(page.get_by_text("Checked: 2 lines.")).to_be_visible()
    expect(page.get_by_role("button", name="Write 1 line")).to_be_visible()


def test_a_record_that_is_deleted_before_it_is_judged_is_told_and_the_others_are_written(
    digits: Site, visit: Visit
) -> None:
    ids = new_ones(digits, 3)
    page = visit(digits, "/console/import", expecting=("422",))
    choose(page, a_csv(*((one, "7") for one in ids), header=("prediction_id", "label")))
    page.get_by_role("button", name="Write 3 lines").wait_for()
    with digits.api() as api:
        assert api.delete(f"/prediction/{ids[1]}").status_code == 204

    page.get_by_role("button", name="Write 3 lines").click()

    expect(page.get_by_text("Written: 2 of 3 lines, 2 predictions changed. 1 line refused.")).to_be_visible()
    page.get_by_role("button", name="refused when it was written").click()
    expect(page.get_by_role("region", name="The lines", exact=True)).to_contain_text(
        "there is no prediction with this id"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_an_import_of_every_outcome_and_it_fits_a_phone(
    digits: Site, visit: Visit, accessible: Accessible, scheme: Scheme
) -> None:
    ids = new_ones(digits, 2)
    known = digits.listed(correct="true", version="1")[0]["prediction_id"]
    rows = [
        (ids[0], "7"),
        (ids[0], "7"),
        (ids[0], "8"),
        (ids[1], "twelve"),
        (known, "5"),
        (UNKNOWN[1], "7"),
        ("x", "7"),
    ]
    page = visit(digits, "/console/import", scheme=scheme, viewport=NARROW if scheme == "dark" else WIDE)
    choose(page, a_csv(*rows, header=("id", "truth")))
    expect(page.get_by_text("Checked: 7 lines.")).to_be_visible()

    for button in page.get_by_role("group", name="Lines to show").get_by_role("button").all():
        button.click()
        accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
