"""What one has said and what is not stored yet: kept, told, sent once, and never as somebody else."""

import json

import pytest
from playwright.sync_api import Page, Route, expect

from local.gateway.issuer import read_issuer
from tests.browser.reviewing import (
    answer_and_wait,
    current_record,
    end_session,
    judged,
    send_now,
    stored,
    wait_until_judged,
    wait_until_saved,
)
from tests.browser.test_import_export import a_csv, choose
from tests.support.browsing import (
    NARROW,
    Accessible,
    Breakable,
    Scheme,
    Site,
    Visit,
    fill_in,
    settle,
    sign_in,
    some_record,
    wait_until,
    wait_until_it_hears,
)

ALL = "predictions:read-all"
TRUTHS = "ground-truth:write"
REVIEW = "/console/review?version=1"
UNJUDGED = {"has_ground_truth": "false", "model": "mnist", "version": "1"}
AWAY = ("503", "dialog beforeunload")
ENDED = ("401", "dialog beforeunload")
WRITES = "**/ground_truth"


def said_of(site: Site, own: str) -> list[list[object]]:
    """Return what was said of a record in all, the oldest first, and by whom."""
    with site.asked() as query:
        return query(
            "SELECT value, given_by FROM ground_truths WHERE prediction_id = :own::uuid ORDER BY created_at", own=own
        )


def unsaved(page: Page, count: int) -> None:
    """Wait until a page says that so many truths could not be stored."""
    words = f"{count} ground truth{'' if count == 1 else 's'} could not be stored yet"
    expect(page.get_by_role("region", name="Ground truths that are not stored")).to_contain_text(words)


def nothing_unsaved(page: Page) -> None:
    wait_until_saved(page)
    expect(page.get_by_role("region", name="Ground truths that are not stored")).to_have_count(0)


def open_record(visit: Visit, site: Site, own: str, *expecting: str) -> Page:
    page = visit(site, f"/console/record/{own}", expecting=expecting)
    page.get_by_role("group", name="The true label").wait_for()
    wait_until_it_hears(page)
    return page


def look_at(page: Page, view: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=view).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(view)


# --- The service goes away and comes back ---


def test_a_review_goes_on_while_the_database_is_away_and_each_truth_is_stored_once(
    breakable: Breakable, visit: Visit
) -> None:
    page = visit(breakable.site, REVIEW, expecting=AWAY)
    current_record(page)
    before = judged(breakable.site)

    breakable.take_database_away()
    said = [answer_and_wait(page, key) for key in ("1", "2", "3")]
    unsaved(page, 3)
    look_at(page, "Import")
    unsaved(page, 3)
    breakable.bring_database_back()

    wait_until_judged(page, breakable.site, before + 3)  # they are sent by themselves
    nothing_unsaved(page)
    assert [said_of(breakable.site, own) for own in said] == [[["1", None]], [["2", None]], [["3", None]]]


def test_what_is_not_stored_outlives_the_page(breakable: Breakable, visit: Visit) -> None:
    own = some_record(breakable.site, **UNJUDGED)["prediction_id"]
    page = open_record(visit, breakable.site, own, *AWAY)
    breakable.take_database_away()
    page.keyboard.press("3")
    unsaved(page, 1)

    page.reload()
    unsaved(page, 1)
    breakable.bring_database_back()
    send_now(page)

    nothing_unsaved(page)
    assert said_of(breakable.site, own) == [["3", None]]


def test_of_two_corrections_while_the_database_is_away_only_the_last_is_stored(
    breakable: Breakable, visit: Visit
) -> None:
    own = some_record(breakable.site, **UNJUDGED)["prediction_id"]
    page = open_record(visit, breakable.site, own, *AWAY)
    breakable.take_database_away()
    page.keyboard.press("3")
    unsaved(page, 1)
    page.keyboard.press("8")
    expect(page.get_by_text("Not stored yet").filter(has_text="truth 8")).to_be_visible()
    unsaved(page, 1)

    breakable.bring_database_back()
    send_now(page)

    expect(page.get_by_text("The truth is 8. Saved.")).to_be_visible()
    expect(page.get_by_role("button", name="8", exact=True)).to_have_attribute("aria-pressed", "true")
    assert said_of(breakable.site, own) == [["8", None]]


def test_what_was_said_in_a_review_is_corrected_in_the_record_while_the_database_is_away(
    breakable: Breakable, visit: Visit
) -> None:
    page = visit(breakable.site, REVIEW, expecting=AWAY)
    current_record(page)
    before = judged(breakable.site)
    breakable.take_database_away()
    one, two = answer_and_wait(page, "1"), answer_and_wait(page, "2")
    unsaved(page, 2)

    page.get_by_text("Which", exact=True).click()
    page.get_by_role("region", name="Ground truths that are not stored").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Record")
    breakable.bring_database_back()
    page.get_by_role("group", name="The true label").or_(page.get_by_role("button", name="Try again")).first.wait_for()
    page.reload()
    page.get_by_role("group", name="The true label").wait_for()
    wait_until_it_hears(page)
    page.keyboard.press("7")

    expect(page.get_by_text("The truth is 7. Saved.")).to_be_visible()
    wait_until_judged(page, breakable.site, before + 2)
    assert said_of(breakable.site, one)[-1] == ["7", None]
    assert said_of(breakable.site, two) == [["2", None]]


def test_several_records_are_labelled_once_the_database_is_back(breakable: Breakable, visit: Visit) -> None:
    page = visit(breakable.site, "/console/records?has_ground_truth=false&version=1", expecting=AWAY)
    boxes = page.locator("#view").get_by_role("checkbox", name="Select")
    boxes.nth(2).wait_for()
    before = judged(breakable.site)
    for number in range(3):
        boxes.nth(number).check()
    many = page.get_by_role("region", name="Selected records")
    many.get_by_role("button", name="6", exact=True).wait_for()
    breakable.take_database_away()

    many.get_by_role("button", name="6", exact=True).click()
    expect(many).to_contain_text("0 labelled, 3 kept until they can be stored.")
    unsaved(page, 3)
    breakable.bring_database_back()
    send_now(page)

    expect(many).to_contain_text("3 labelled.")
    nothing_unsaved(page)
    assert judged(breakable.site) == before + 3


def test_an_import_goes_on_by_itself_once_the_database_is_back(breakable: Breakable, visit: Visit) -> None:
    site = breakable.site
    ids = [record["prediction_id"] for record in site.listed(**UNJUDGED)[:3]]
    page = visit(site, "/console/import", expecting=AWAY)
    choose(page, a_csv(*((one, "7") for one in ids), header=("prediction_id", "label")))
    page.get_by_role("button", name="Write 3 lines").wait_for()
    breakable.take_database_away()

    page.get_by_role("button", name="Write 3 lines").click()
    unsaved(page, 3)
    look_at(page, "Predict")
    breakable.bring_database_back()
    look_at(page, "Import")

    expect(page.get_by_text("Written: 3 of 3 lines, 3 predictions changed.")).to_be_visible(timeout=60_000)
    assert [said_of(site, own) for own in ids] == [[["7", None]]] * 3


# --- One request, and what becomes of it ---


def test_a_truth_whose_answer_is_lost_is_stored_once(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own, "ERR_FAILED")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route(WRITES, lose)
    page.keyboard.press("3")
    unsaved(page, 1)
    assert said_of(digits, own) == [["3", None]]
    page.unroute(WRITES)
    send_now(page)

    nothing_unsaved(page)
    assert said_of(digits, own) == [["3", None]]


def test_what_was_corrected_while_it_was_on_its_way_is_not_sent_again(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own, "ERR_FAILED")
    held: list[Route] = []
    page.route(WRITES, lambda route: held.append(route), times=1)
    with page.expect_request(WRITES):
        page.keyboard.press("3")
    page.keyboard.press("8")
    settle(page)

    wait_until(page, lambda: bool(held))
    held[0].abort()

    nothing_unsaved(page)
    assert said_of(digits, own) == [["8", None]]


def test_what_the_service_refuses_is_told_wherever_one_is_and_the_others_are_stored(digits: Site, visit: Visit) -> None:
    page = visit(digits, REVIEW, expecting=("ERR_INTERNET_DISCONNECTED", "422"))
    current_record(page)
    before = judged(digits)
    page.context.set_offline(True)
    gone, kept = answer_and_wait(page, "1"), answer_and_wait(page, "2")
    unsaved(page, 2)
    with digits.api() as api:
        assert api.delete(f"/prediction/{gone}").status_code == 204

    page.context.set_offline(False)

    told = page.get_by_role("alert").filter(has_text="1 ground truth was refused, and not stored")
    expect(told).to_contain_text("there is no prediction with this id")
    expect(told.get_by_role("link")).to_have_attribute("href", f"/console/record/{gone}")
    wait_until_judged(page, digits, before + 1)
    assert said_of(digits, kept) == [["2", None]]
    expect(page.get_by_text("1 of 50 reviewed")).to_be_visible()
    told.get_by_role("button", name="Close").click()
    nothing_unsaved(page)


def test_what_one_drops_is_not_sent(digits: Site, visit: Visit) -> None:
    page = visit(digits, REVIEW, expecting=("ERR_INTERNET_DISCONNECTED",))
    current_record(page)
    before = judged(digits)
    page.context.set_offline(True)
    dropped, kept = answer_and_wait(page, "1"), answer_and_wait(page, "2")
    unsaved(page, 2)

    page.get_by_text("Which", exact=True).click()
    page.get_by_role("button", name="Drop it").first.click()
    unsaved(page, 1)
    page.context.set_offline(False)

    wait_until_judged(page, digits, before + 1)
    assert (said_of(digits, dropped), said_of(digits, kept)) == ([], [["2", None]])


# --- Whose it is ---


def say_after_the_session(site: Site, visit: Visit, path: str = REVIEW) -> tuple[Page, str]:
    """Have anna's session end in a review; return the page, and the record of which she said 5 then."""
    page = visit(site, path, expecting=ENDED)
    page.add_init_script("window.open = () => null")  # a browser that lets no window be opened
    page.reload()
    sign_in(page, "anna", ALL, TRUTHS)
    current_record(page)
    end_session(site, page, "anna")
    said = answer_and_wait(page, "5")
    unsaved(page, 1)
    return page, said


def sign_in_again(page: Page, user: str) -> None:
    """Sign in by the page itself, which is left for it."""
    page.get_by_role("alert").filter(has_text="session has ended").get_by_role("button", name="Sign in").click()
    fill_in(page, user, ALL, TRUTHS)
    expect(page.get_by_role("banner")).to_contain_text(user)


def test_what_was_said_after_the_session_is_stored_after_signing_in_by_a_redirect(
    digits_signed: Site, visit: Visit
) -> None:
    before = judged(digits_signed)
    page, said = say_after_the_session(digits_signed, visit)

    sign_in_again(page, "anna")

    wait_until_judged(page, digits_signed, before + 1)
    nothing_unsaved(page)
    assert said_of(digits_signed, said) == [["5", "anna"]]
    expect(page.get_by_text("1 of 50 reviewed")).to_be_visible()


def test_what_one_has_said_waits_for_oneself_and_is_not_sent_as_another(digits_signed: Site, visit: Visit) -> None:
    before = judged(digits_signed)
    page, said = say_after_the_session(digits_signed, visit)

    sign_in_again(page, "bob")
    waiting = page.get_by_text("1 ground truth of another user could not be stored")
    expect(waiting).to_be_visible()
    if current_record(page) == said:  # it has no truth yet
        answer_and_wait(page, "s")
    other = answer_and_wait(page, "2")
    wait_until_judged(page, digits_signed, before + 1)
    assert (said_of(digits_signed, said), said_of(digits_signed, other)) == ([], [["2", "bob"]])

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out")).to_be_visible()
    expect(waiting).to_be_visible()
    page.goto(REVIEW)
    sign_in(page, "anna", ALL, TRUTHS)

    wait_until_judged(page, digits_signed, before + 2)
    nothing_unsaved(page)
    assert said_of(digits_signed, said) == [["5", "anna"]]


def test_a_token_that_is_suddenly_that_of_another_user_sends_nothing(digits_signed: Site, visit: Visit) -> None:
    page = visit(digits_signed, REVIEW)
    sign_in(page, "anna", ALL, TRUTHS)
    current_record(page)
    before = judged(digits_signed)
    kept = stored(page)
    token = read_issuer(digits_signed.server.home).token("bob", 3600, (ALL, TRUTHS))
    changed = {**kept["value"], "access_token": token, "profile": {**kept["value"]["profile"], "sub": "bob"}}
    page.evaluate("([key, value]) => sessionStorage.setItem(key, value)", [kept["key"], json.dumps(changed)])

    said = answer_and_wait(page, "5")

    unsaved(page, 1)
    assert (judged(digits_signed), said_of(digits_signed, said)) == (before, [])


def test_who_signs_out_is_told_what_is_lost_and_then_it_is_forgotten(digits_signed: Site, visit: Visit) -> None:
    before = judged(digits_signed)
    page, said = say_after_the_session(digits_signed, visit)
    page.get_by_role("button", name="Sign out").click()
    asked = page.get_by_role("dialog", name="Sign out and lose 1 ground truth?")
    asked.get_by_role("button", name="Stay signed in").click()
    expect(asked).to_have_count(0)
    unsaved(page, 1)

    page.get_by_role("button", name="Sign out").click()
    asked.get_by_role("button", name="Sign out and forget").click()

    expect(page.get_by_text("You are signed out")).to_be_visible()
    nothing_unsaved(page)
    page.goto(REVIEW)
    sign_in(page, "anna", ALL, TRUTHS)
    other = answer_and_wait(page, "2")  # it would be sent after what was said before
    wait_until_judged(page, digits_signed, before + 1)
    assert said_of(digits_signed, other) == [["2", "anna"]]
    if other != said:
        assert said_of(digits_signed, said) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_what_is_told_of_it(
    digits_signed: Site, visit: Visit, accessible: Accessible, scheme: Scheme
) -> None:
    page = visit(digits_signed, REVIEW, scheme=scheme, viewport=NARROW, expecting=("ERR_INTERNET_DISCONNECTED", "422"))
    sign_in(page, "anna", ALL, TRUTHS)
    current_record(page)
    page.context.set_offline(True)
    gone = answer_and_wait(page, "1")
    answer_and_wait(page, "2")
    unsaved(page, 2)
    page.get_by_text("Which", exact=True).click()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.get_by_role("button", name="Sign out").click()
    accessible(page)
    page.get_by_role("button", name="Stay signed in").click()
    with digits_signed.asked() as query:
        query("DELETE FROM predictions WHERE prediction_id = :gone::uuid", gone=gone)
    page.context.set_offline(False)
    expect(page.get_by_role("alert").filter(has_text="was refused")).to_be_visible()
    accessible(page)


# --- What was said since ---


def have_said_earlier(page: Page) -> None:
    """Have what is not stored yet be said a minute earlier than it was, as far as the tab's storage tells."""
    page.evaluate(
        """() => {
          const all = JSON.parse(sessionStorage["onnx-ledger.unsaved"]);
          for (const one of all.kept) one.said -= 60_000;
          sessionStorage["onnx-ledger.unsaved"] = JSON.stringify(all);
        }"""
    )


def told_that_it_is_late(page: Page) -> None:
    told = page.get_by_role("alert").filter(has_text="1 ground truth was refused, and not stored")
    expect(told).to_contain_text("something else was said of this prediction since")


def test_the_copy_of_a_tab_does_not_undo_what_was_corrected_in_the_other(breakable: Breakable, visit: Visit) -> None:
    own = some_record(breakable.site, **UNJUDGED)["prediction_id"]
    page = open_record(visit, breakable.site, own, *AWAY, "ERR_FAILED", "412")
    breakable.take_database_away()
    page.keyboard.press("3")
    unsaved(page, 1)
    have_said_earlier(page)
    with page.expect_popup() as opened:
        page.evaluate("() => { window.open(location.href); }")  # a page that another opens gets a copy of its storage
    copy = opened.value
    unsaved(copy, 1)
    copy.route(WRITES, lambda route: route.abort())

    page.keyboard.press("8")
    expect(page.get_by_text("Not stored yet").filter(has_text="truth 8")).to_be_visible()
    breakable.bring_database_back()
    send_now(page)
    nothing_unsaved(page)
    copy.unroute(WRITES)
    send_now(copy)

    told_that_it_is_late(copy)
    assert said_of(breakable.site, own) == [["8", None]]


@pytest.mark.parametrize("taken_back", [False, True])
def test_what_a_colleague_has_said_since_is_not_undone(digits: Site, visit: Visit, *, taken_back: bool) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own, "ERR_FAILED", "412", "dialog beforeunload")
    if taken_back:
        page.keyboard.press("1")
        expect(page.get_by_text("The truth is 1. Saved.")).to_be_visible()
    page.route(WRITES, lambda route: route.abort())
    if taken_back:
        page.get_by_role("button", name="Withdraw the truth").click()
    else:
        page.keyboard.press("3")
    unsaved(page, 1)
    have_said_earlier(page)
    with digits.api() as api:
        assert api.put(f"/prediction/{own}/ground_truth", json={"label": "8"}).status_code == 200

    page.reload()
    unsaved(page, 1)
    page.unroute(WRITES)
    send_now(page)

    told_that_it_is_late(page)
    assert said_of(digits, own)[-1] == ["8", None]
    expect(page.get_by_role("button", name="8", exact=True)).to_have_attribute("aria-pressed", "true")


def test_a_correction_that_had_to_wait_for_what_it_corrects_is_not_late(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own)
    page.clock.install()
    held: list[Route] = []
    page.route(WRITES, lambda route: held.append(route), times=1)
    with page.expect_request(WRITES):
        page.keyboard.press("3")
    page.keyboard.press("8")
    settle(page)
    wait_until(page, lambda: bool(held))
    page.clock.fast_forward(30_000)
    held[0].continue_()

    nothing_unsaved(page)
    assert said_of(digits, own) == [["3", None], ["8", None]]
