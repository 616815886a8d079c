"""Records: the list, its filters, what is new in it, and what is done with several of them."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browsing import (
    NARROW,
    Accessible,
    Scheme,
    Site,
    Visit,
    query_of,
    settle,
    shown_records,
    wait_until_it_hears,
)
from tests.support.judging import midnight, post_digits, small_digits


def ids_of(site: Site, **filters: str) -> list[str]:
    return [record["prediction_id"] for record in site.listed(**filters)]


def wait_for_list(page: Page) -> None:
    page.locator("#view a[href*='/console/record/']").first.wait_for()
    page.wait_for_load_state("networkidle")
    wait_until_it_hears(page)


def expect_records(page: Page, expected: list[str]) -> None:
    """Wait until a page shows these records, or the first of them, in their order."""
    shown: list[str] = []
    for _ in range(600):
        shown = shown_records(page)
        if shown and shown == expected[: len(shown)]:
            return
        page.wait_for_timeout(100)
    assert shown == expected[: len(shown)]


def test_the_newest_are_first_and_the_list_goes_on_until_its_end(digits: Site, visit: Visit) -> None:
    expected = ids_of(digits, label="4")
    assert len(expected) > 60, "more than a page, or the test shows little"
    page = visit(digits, "/console/records?label=4")
    wait_for_list(page)

    for _ in range(300):
        if len(shown_records(page)) >= len(expected):
            break
        page.mouse.wheel(0, 5000)
        page.keyboard.press("End")
        page.wait_for_timeout(200)

    assert shown_records(page) == expected


def test_a_filter_is_in_the_url_and_back_takes_it_back(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records")
    wait_for_list(page)

    page.get_by_label("Predicted label").select_option("7")
    page.wait_for_url(re.compile("label=7"))
    expect_records(page, ids_of(digits, label="7"))
    page.get_by_label("Right or wrong").select_option("wrong")
    page.wait_for_url(re.compile("correct=false"))
    expect_records(page, ids_of(digits, label="7", correct="false"))

    page.go_back()
    expect(page.get_by_label("Right or wrong")).to_have_value("")
    expect_records(page, ids_of(digits, label="7"))
    page.go_back()
    expect(page.get_by_label("Predicted label")).to_have_value("")
    expect_records(page, ids_of(digits))
    page.go_forward()
    expect_records(page, ids_of(digits, label="7"))


@pytest.mark.parametrize(
    "filters",
    [
        {"correct": "false"},
        {"has_ground_truth": "false", "order": "confidence"},
        {"ground_truth": "8", "label": "8"},
        {"min_confidence": "0.3", "max_confidence": "0.7"},
        {"version": "0", "user_id": "anna"},
        {"inference_id": "scan 0007"},
        {"status": "succeeded", "model": "mnist"},
    ],
    ids=lambda filters: "-".join(filters),
)
def test_a_link_made_by_hand_shows_what_the_api_lists(digits: Site, visit: Visit, filters: dict[str, str]) -> None:
    page = visit(digits, "/console/records?" + "&".join(f"{name}={value}" for name, value in filters.items()))

    expect_records(page, ids_of(digits, **filters))


def test_a_span_of_time_is_chosen_and_typed(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records")
    wait_for_list(page)
    page.get_by_label("Time", exact=True).select_option("Last 7 days")
    page.wait_for_url(re.compile("since="))
    expect_records(page, ids_of(digits, since=query_of(page)["since"]))

    times = [record["created_at"] for record in digits.listed(version="0")]
    page.get_by_label("From", exact=True).fill("")
    page.get_by_label("From", exact=True).blur()
    page.wait_for_url(lambda url: "since=" not in url)
    page.get_by_label("Before", exact=True).fill(f"{max(times)[:10]}T00:00:00")
    page.get_by_label("Before", exact=True).press("Enter")

    page.wait_for_url(re.compile("until="))
    assert query_of(page)["until"] == f"{max(times)[:10]}T00:00:00.000Z"
    expect_records(page, ids_of(digits, until=query_of(page)["until"]))


@pytest.mark.parametrize("time", ["09:00:00Z", "09:00:12.345678Z", "09:00Z"])
def test_who_only_goes_through_the_times_changes_none(digits: Site, visit: Visit, time: str) -> None:
    since = f"{midnight(30):%Y-%m-%d}T{time}"
    page = visit(digits, f"/console/records?since={since}")
    wait_for_list(page)

    for name in ("From", "Before"):
        page.get_by_label(name, exact=True).focus()
    page.get_by_label("Model", exact=True).focus()

    settle(page)
    assert query_of(page) == {"since": since}


def test_what_is_pressed_is_seen_in_colours_of_ones_own(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records", forced_colors="active")
    wait_for_list(page)

    for name in ("Order", "Show as"):
        pressed, other = (
            page.get_by_role("group", name=name)
            .get_by_role("button", pressed=state)
            .evaluate("one => getComputedStyle(one).backgroundColor")
            for state in (True, False)
        )
        assert pressed != other


def test_counts_are_told_of_years(digits: Site, visit: Visit) -> None:
    since = midnight(3650)
    page = visit(digits, f"/console/records?since={since:%Y-%m-%d}")
    wait_for_list(page)

    expect(page.locator(".filters .counted")).to_contain_text(f"{since.year}, 00:00:00 to")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_filter_says_how_many_records_it_would_leave(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records")
    wait_for_list(page)
    with digits.api() as api:
        labels = api.get("/statistics").json()["total"]["labels"]

    for label in ("0", "7"):
        expect(page.get_by_label("Predicted label").get_by_role("option", name=f"{label} (")).to_have_text(
            f"{label} ({labels[label]:,})"
        )


def test_a_filter_that_the_api_refuses_is_said_in_words(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records?min_confidence=much", expecting=("422",))

    expect(page.get_by_role("alert").first).to_contain_text("min_confidence")


def test_the_slider_of_confidence_filters(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records")
    wait_for_list(page)

    page.get_by_label("Most confidence").focus()
    for most in ("0.9", "0.8", "0.7", "0.6", "0.5"):
        page.keyboard.press("PageDown")
        page.wait_for_url(re.compile(f"max_confidence={most}"))
        settle(page)  # the handle is where the URL says

    expect_records(page, ids_of(digits, max_confidence="0.5"))


def test_new_records_announce_themselves_without_moving_what_one_reads(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records?label=7")
    wait_for_list(page)
    before = shown_records(page)
    images, labels = small_digits()
    sevens = [at for at, label in enumerate(labels) if label == "7"][:3]
    with digits.api() as api:
        made = post_digits(api, images[sevens])
    new = [own for own, label in zip(made.ids, made.labels, strict=True) if label == "7"]
    assert new
    page.evaluate("() => scrollTo(0, 300)")  # a wheel scrolls some time later
    top = page.evaluate("() => scrollY")

    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")  # as when one comes back to the tab

    told = page.get_by_role("button", name=re.compile(rf"\b{len(new)} new"))
    expect(told).to_be_visible()
    assert shown_records(page)[: len(before)] == before
    assert page.evaluate("() => scrollY") == top
    told.click()
    expect_records(page, ids_of(digits, label="7"))
    assert shown_records(page)[: len(new)] == [*reversed(new)]


def test_several_records_are_labelled_together(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records?has_ground_truth=false&version=1")
    wait_for_list(page)
    chosen = shown_records(page)[:3]
    select(page, 3)

    page.get_by_role("region", name="Selected records").get_by_role("button", name="6", exact=True).click()

    expect(page.get_by_text("3 labelled.")).to_be_visible()
    assert truths(digits, chosen) == ["6", "6", "6"]
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("3 changed back.")).to_be_visible()
    assert truths(digits, chosen) == [None, None, None]


def test_several_records_are_deleted_after_one_has_said_so_twice(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records?version=1")
    wait_for_list(page)
    shown = shown_records(page)
    select(page, 4)
    many = page.get_by_role("region", name="Selected records")
    many.get_by_role("button", name=re.compile("^Delete")).click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    assert ids_of(digits, version="1")[:4] == shown[:4]

    many.get_by_role("button", name=re.compile("^Delete")).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 4 records").click()

    expect(page.get_by_text("4 deleted.")).to_be_visible()
    assert ids_of(digits, version="1")[0] == shown[4]
    assert not set(shown[:4]) & set(shown_records(page))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_what_is_done_with_several_records(
    digits: Site, visit: Visit, accessible: Accessible, scheme: Scheme
) -> None:
    page = visit(digits, "/console/records?has_ground_truth=false&version=1", scheme=scheme, viewport=NARROW)
    wait_for_list(page)
    select(page, 2)
    many = page.get_by_role("region", name="Selected records")
    accessible(page)
    many.get_by_role("button", name=re.compile("^Delete")).click()
    accessible(page)
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()

    many.get_by_role("button", name="6", exact=True).click()

    expect(page.get_by_text("2 labelled.")).to_be_visible()
    accessible(page)


def test_back_from_a_record_one_is_where_one_was(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records?label=4")
    wait_for_list(page)
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")  # a wheel scrolls some time later
    page.wait_for_function("() => scrollY > 0")
    wait_for_list(page)
    visible = page.locator("#view a[href*='/console/record/']").last

    visible.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Record")
    assert query_of(page)["label"] == "4"
    page.go_back()

    wait_for_list(page)
    page.wait_for_function("() => scrollY > 0")


@pytest.mark.parametrize(
    ("locale", "some"), [("en-GB", r"^\d+, [12], \d+(\.\d+)?, "), ("de-DE", r"^\d+; [12]; \d+(,\d+)?; ")]
)
def test_the_numbers_of_a_list_are_told_apart_in_every_language(
    patients: Site, visit: Visit, locale: str, some: str
) -> None:
    page = visit(patients, "/console/records", locale=locale)

    expect(page.locator("td .preview").first).to_have_text(re.compile(some))


def test_features_are_listed_as_rows(patients: Site, visit: Visit) -> None:
    page = visit(patients, "/console/records")
    wait_for_list(page)

    assert page.get_by_role("table").get_by_role("row").count() > 20
    assert shown_records(page)[:10] == ids_of(patients)[:10]


def select(page: Page, count: int) -> None:
    boxes = page.locator("#view").get_by_role("checkbox", name=re.compile("^Select"))
    for number in range(count):
        boxes.nth(number).check()


def truths(site: Site, ids: list[str]) -> list[object]:
    with site.asked() as query:
        return [
            query("SELECT ground_truth FROM predictions WHERE prediction_id = :own::uuid", own=own)[0][0] for own in ids
        ]
