"""Review: one record after the other, by keyboard alone."""

import re
from collections import Counter
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.reviewing import answer_and_wait, current_record, judged, wait_until_judged, wait_until_saved
from tests.support.browsing import NARROW, Accessible, Scheme, Site, Visit, query_of, wait_until_it_hears
from tests.support.judging import midnight

TODAYS = "/console/review?version=1&goal=20"

DRAWN: Final = 200
"""Records of a random sample: of a thousand."""

FARTHEST: Final = 55.0
"""Pearson's chi-squared of eleven days or twelve: a fair sample is farther away once in ten million times."""


def least_sure(site: Site, **filters: str) -> list[str]:
    found = site.listed(has_ground_truth="false", status="succeeded", order="confidence", **filters)
    return [record["prediction_id"] for record in found]


def truths(site: Site, ids: list[str]) -> list[object]:
    with site.asked() as query:
        rows = query("SELECT prediction_id::text, ground_truth FROM predictions")
    found = dict(rows)
    return [found[own] for own in ids]


def test_twenty_records_are_labelled_by_keyboard_alone(digits: Site, visit: Visit) -> None:
    expected = least_sure(digits, version="1")[:20]
    before = judged(digits)
    page = visit(digits, "/console")
    page.get_by_role("navigation").wait_for()
    page.keyboard.press("Tab")  # to "Skip to the content", then the name, then the views
    tab_to(page, "Review")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Review")
    page.goto(TODAYS)
    current_record(page)

    keys = [str(number % 10) for number in range(20)]
    reviewed = [answer_and_wait(page, key) for key in keys]

    expect(page.get_by_text("20 of 20 reviewed")).to_be_visible()
    wait_until_judged(page, digits, before + 20)
    assert reviewed == expected
    assert truths(digits, expected) == keys


def tab_to(page: Page, name: str) -> None:
    for _ in range(20):
        if page.evaluate("() => document.activeElement.textContent") == name:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not lead to {name}")


def test_enter_says_that_the_prediction_is_correct_and_the_accuracy_so_far_is_told(digits: Site, visit: Visit) -> None:
    page = visit(digits, TODAYS)
    current_record(page)
    before = judged(digits)

    right = [answer_and_wait(page, "Enter") for _ in range(3)]
    with digits.api() as api:
        label = api.get(f"/prediction/{current_record(page)}").json()["label"]
    wrong = answer_and_wait(page, str((int(label) + 1) % 10))

    expect(page.get_by_text("3 of 4 right")).to_be_visible()
    expect(page.get_by_text("75%")).to_be_visible()
    wait_until_judged(page, digits, before + 4)
    with digits.asked() as query:
        rows = dict(query("SELECT prediction_id::text, correct FROM predictions WHERE correct IS NOT NULL"))
    assert [rows[own] for own in (*right, wrong)] == [True, True, True, False]


def test_it_is_told_how_fast_one_is(digits: Site, visit: Visit) -> None:
    page = visit(digits, TODAYS)
    current_record(page)
    before = judged(digits)

    for key in "12345":
        answer_and_wait(page, key)

    expect(page.get_by_text(re.compile(r"5 of 20 reviewed, [\d,]+ a minute"))).to_be_visible()
    wait_until_judged(page, digits, before + 5)


def test_what_is_skipped_is_left_as_it_was(digits: Site, visit: Visit) -> None:
    page = visit(digits, TODAYS)
    current_record(page)
    before = judged(digits)

    skipped = answer_and_wait(page, "s")
    judged_one = answer_and_wait(page, "4")

    wait_until_judged(page, digits, before + 1)
    assert truths(digits, [skipped, judged_one]) == [None, "4"]
    expect(page.get_by_text("1 skipped")).to_be_visible()


def test_the_last_one_is_taken_back(digits: Site, visit: Visit) -> None:
    page = visit(digits, TODAYS)
    current_record(page)
    before = judged(digits)
    said = answer_and_wait(page, "4")
    wait_until_judged(page, digits, before + 1)
    wait_until_it_hears(page)

    page.keyboard.press("u")

    wait_until_judged(page, digits, before)
    expect(page.get_by_role("link", name="Open")).to_have_attribute("href", re.compile(said))
    answer_and_wait(page, "9")
    wait_until_judged(page, digits, before + 1)
    assert truths(digits, [said]) == ["9"]


def test_one_goes_on_where_one_was_after_loading_the_page_again(digits: Site, visit: Visit) -> None:
    page = visit(digits, TODAYS)
    current_record(page)
    before = judged(digits)
    for key in ("1", "s", "2"):
        answer_and_wait(page, key)
    wait_until_judged(page, digits, before + 2)
    wait_until_saved(page)
    where = current_record(page)

    page.reload()

    expect(page.get_by_text("2 of 20 reviewed")).to_be_visible()
    assert current_record(page) == where


def test_a_random_sample_says_how_sure_its_accuracy_is(digits: Site, visit: Visit) -> None:
    page = visit(digits, TODAYS)
    page.get_by_role("button", name="Random sample").click()
    expect(page).to_have_url(re.compile("order=random"))
    current_record(page)

    for key in ("1", "2"):
        answer_and_wait(page, key)

    expect(page.get_by_text("95 % interval")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("button", name="Least sure first")).to_have_attribute("aria-pressed", "true")


def test_a_random_sample_is_taken_of_years(digits: Site, visit: Visit) -> None:
    # Those with a ground truth are too many to be read at once, so that they are counted.
    page = visit(digits, f"/console/review?order=random&has_ground_truth=true&since={midnight(3650):%Y-%m-%d}")

    expect(page.get_by_role("region", name="Record to review")).to_be_visible()


def test_a_filter_narrows_what_is_reviewed(digits: Site, visit: Visit) -> None:
    expected = least_sure(digits, label="8", version="1")
    page = visit(digits, f"{TODAYS}&label=8")

    assert current_record(page) == expected[0]
    page.get_by_role("link", name="Choose which records").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Records")
    assert query_of(page)["label"] == "8"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_review_that_is_done(
    digits: Site, visit: Visit, accessible: Accessible, scheme: Scheme
) -> None:
    page = visit(digits, "/console/review?version=1&goal=1", scheme=scheme, viewport=NARROW)
    current_record(page)
    before = judged(digits)
    answer_and_wait(page, "1")

    expect(page.get_by_role("heading", name="1 reviewed")).to_be_focused()
    accessible(page)
    wait_until_judged(page, digits, before + 1)


def test_what_could_not_be_sent_is_kept_and_sent_later(digits: Site, visit: Visit) -> None:
    page = visit(digits, TODAYS, expecting=("ERR_INTERNET_DISCONNECTED",))
    current_record(page)
    before = judged(digits)
    page.context.set_offline(True)

    said = [answer_and_wait(page, key) for key in ("1", "2")]
    expect(page.get_by_role("status").filter(has_text="2 ground truths could not be stored yet")).to_be_visible()
    assert judged(digits) == before
    page.context.set_offline(False)

    wait_until_judged(page, digits, before + 2)
    assert truths(digits, said) == ["1", "2"]


def test_features_are_reviewed_by_typing_numbers(patients: Site, visit: Visit) -> None:
    page = visit(patients, "/console/review?order=random")
    before = judged(patients)
    said = current_record(page)
    wait_until_it_hears(page)

    page.keyboard.press("t")
    page.keyboard.type("120.5")
    page.keyboard.press("Enter")

    expect(page.get_by_text("1 of 50 reviewed")).to_be_visible()
    wait_until_judged(page, patients, before + 1)
    assert truths(patients, [said]) == [120.5]


def test_each_record_has_the_same_chance_in_a_random_sample(digits: Site, visit: Visit) -> None:
    """The days have very different numbers of records, and most of a day's are within moments."""
    days = Counter(record["created_at"][:10] for record in digits.listed(status="succeeded"))
    assert max(days.values()) > 1.5 * min(days.values())
    page = visit(digits, "/console/review?order=random")
    current_record(page)

    drawn: list[str] = page.evaluate(
        """async (count) => {
          const { Sample } = await import("/assets/views/sample.js");
          const sample = new Sample("status=succeeded");
          const days = [];
          while (days.length < count) days.push(...(await sample.more()).map((one) => one.created_at.slice(0, 10)));
          return days;
        }""",
        DRAWN,
    )

    found, total = Counter(drawn), sum(days.values())
    expected = {day: len(drawn) * count / total for day, count in days.items()}
    assert found.keys() <= days.keys()
    distance = sum((found[day] - count) ** 2 / count for day, count in expected.items())
    assert distance < FARTHEST, (found, expected)
