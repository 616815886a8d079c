"""Signing in at the local issuer: who sees what, where one comes back to, and what a session leaves behind."""

import json
import re
import time

import pytest
from playwright.sync_api import expect

from tests.browser.reviewing import answer_and_wait, current_record, end_session, judged, stored, wait_until_judged
from tests.support.browsing import Site, Visit, fill_in, shown_records, sign_in, wait_until_it_hears

ALL = "predictions:read-all"
TRUTHS = "ground-truth:write"


def test_a_colleague_who_opens_a_link_sees_the_same_after_signing_in(digits_signed: Site, visit: Visit) -> None:
    path = "/console/records?model=mnist&version=1&correct=false&order=confidence"
    page = visit(digits_signed, path)

    sign_in(page, "carol", ALL)

    assert page.url == digits_signed.address + path
    expect(page.get_by_role("heading", level=1)).to_have_text("Records")
    page.locator("#view a[href*='/console/record/']").first.wait_for()
    with digits_signed.asked() as query:
        rows = query(
            "SELECT prediction_id::text FROM predictions JOIN models USING (model_id) "
            "WHERE version = '1' AND NOT correct ORDER BY confidence, prediction_id DESC"
        )
    shown = shown_records(page)
    assert shown
    assert shown == [own for [own] in rows][: len(shown)]


def test_one_sees_ones_own_records_only_unless_a_scope_says_more(digits_signed: Site, visit: Visit) -> None:
    page = visit(digits_signed, "/console/records")

    sign_in(page, "bob")

    page.locator("#view a[href*='/console/record/']").first.wait_for()
    with digits_signed.asked() as query:
        own = {one for [one] in query("SELECT prediction_id::text FROM predictions WHERE user_id = 'bob'")}
    shown = shown_records(page)
    assert shown
    assert set(shown) <= own


def test_the_record_of_somebody_else_is_as_one_that_is_not_there(digits_signed: Site, visit: Visit) -> None:
    with digits_signed.asked() as query:
        [[other]] = query("SELECT prediction_id::text FROM predictions WHERE user_id = 'anna' LIMIT 1")
    page = visit(digits_signed, f"/console/record/{other}", expecting=("404",))

    sign_in(page, "bob")

    expect(page.get_by_role("alert").first).to_be_visible()
    expect(page.locator("#view")).not_to_contain_text("anna")


def test_what_is_predicted_belongs_to_who_is_signed_in(digits_signed: Site, visit: Visit) -> None:
    from tests.support.repository import DIGIT

    page = visit(digits_signed, "/console/predict")
    sign_in(page, "dora")
    page.locator("input[type=file]").first.set_input_files(DIGIT)
    page.get_by_role("button", name="Predict", exact=True).click()

    expect(page.get_by_text("Stored as").first).to_be_visible()

    with digits_signed.asked() as query:
        assert query("SELECT label FROM predictions WHERE user_id = 'dora'") == [["7"]]


def test_signing_out_forgets_the_tokens(digits_signed: Site, visit: Visit) -> None:
    page = visit(digits_signed, "/console/records")
    sign_in(page, "anna")
    expect(page.get_by_role("banner")).to_contain_text("anna")
    assert stored(page)["value"]["access_token"]

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_text("You are signed out")).to_be_visible()
    assert page.evaluate("() => Object.keys(sessionStorage).length + Object.keys(localStorage).length") == 0
    page.goto("/console/records")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_without_its_tokens_the_page_asks_the_api_for_nothing(digits_signed: Site, visit: Visit) -> None:
    """As while one signs out: the API would refuse each request, and each would show as an error in the console."""
    page = visit(digits_signed, "/console/records")
    sign_in(page, "anna")
    page.locator("#view a[href*='/console/record/']").first.wait_for()
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.evaluate("() => sessionStorage.clear()")
    page.get_by_role("navigation").get_by_role("link", name="Models").click()

    expect(page.get_by_role("alert").filter(has_text="Your session has ended").first).to_be_visible()
    assert not [url for url in asked if "/assets/" not in url]


def test_a_token_is_renewed_before_it_expires_and_nobody_notices(digits_signed: Site, visit: Visit) -> None:
    page = visit(digits_signed, "/console/records")
    sign_in(page, "anna")
    page.locator("#view a[href*='/console/record/']").first.wait_for()
    kept = stored(page)
    soon = int(time.time()) + 30
    page.evaluate(
        "([key, value]) => sessionStorage.setItem(key, value)",
        [kept["key"], json.dumps({**kept["value"], "expires_at": soon})],
    )

    page.get_by_role("navigation").get_by_role("link", name="Models").click()

    expect(page.get_by_role("table", name="Models and versions")).to_be_visible()
    assert stored(page)["value"]["expires_at"] > soon + 60
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("banner")).to_contain_text("anna")


@pytest.mark.parametrize(("scope", "buttons"), [("predictions:read-all", 0), ("predictions:delete-all", 1)])
def test_deleting_is_offered_to_who_may(digits_signed: Site, visit: Visit, scope: str, buttons: int) -> None:
    with digits_signed.asked() as query:
        [[other]] = query("SELECT prediction_id::text FROM predictions WHERE user_id = 'anna' LIMIT 1")
    page = visit(digits_signed, f"/console/record/{other}")

    sign_in(page, "bob", ALL, *({scope} - {ALL}))

    expect(page.get_by_role("button", name="Download the input")).to_be_visible()
    expect(page.get_by_role("button", name="Delete", exact=True)).to_have_count(buttons)


def test_another_tab_knows_nothing_of_the_token_and_no_url_has_it(digits_signed: Site, visit: Visit) -> None:
    page = visit(digits_signed, "/console/records")
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    sign_in(page, "anna")
    page.locator("#view a[href*='/console/record/']").first.wait_for()
    token = stored(page)["value"]["access_token"]

    assert not [url for url in asked if token in url]
    assert "code=" not in page.url
    other = page.context.new_page()
    other.goto(f"{digits_signed.address}/console/records")
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_session_that_ends_in_the_middle_of_a_review_loses_nothing(digits_signed: Site, visit: Visit) -> None:
    path = "/console/review?version=1"
    page = visit(digits_signed, path, expecting=("401",))
    sign_in(page, "anna", ALL, TRUTHS)
    before = judged(digits_signed)
    answer_and_wait(page, "3")
    wait_until_judged(page, digits_signed, before + 1)

    end_session(digits_signed, page, "anna")
    said = answer_and_wait(page, "5")
    over = page.get_by_role("alert").filter(has_text="session has ended")
    expect(over).to_be_visible()
    assert judged(digits_signed) == before + 1
    where = current_record(page)
    with page.expect_popup() as opened:
        over.get_by_role("button", name="Sign in").click()
    fill_in(opened.value, "anna", ALL, TRUTHS)
    expect(over).to_have_count(0)

    wait_until_judged(page, digits_signed, before + 2)  # it is sent by itself
    assert current_record(page) == where
    expect(page.get_by_text("2 of 50 reviewed")).to_be_visible()
    with digits_signed.asked() as query:
        assert query("SELECT ground_truth FROM predictions WHERE prediction_id = :own::uuid", own=said) == [["5"]]


def test_a_user_without_the_scope_cannot_change_what_is_true_of_others_records(
    digits_signed: Site, visit: Visit
) -> None:
    with digits_signed.asked() as query:
        [[other]] = query(
            "SELECT prediction_id::text FROM predictions WHERE user_id = 'anna' ORDER BY prediction_id DESC LIMIT 1"
        )
    before = judged(digits_signed)
    page = visit(digits_signed, f"/console/record/{other}", expecting=("403", "404", "422"))
    sign_in(page, "bob", ALL)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("group", name="The true label").wait_for()
    wait_until_it_hears(page)

    page.keyboard.press("3")

    expect(page.get_by_role("alert").first).to_contain_text("refused, and not stored")
    assert judged(digits_signed) == before


def test_without_an_authorizer_nothing_of_signing_in_shows(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/records")
    page.locator("#view a[href*='/console/record/']").first.wait_for()

    expect(page.get_by_text(re.compile("sign (in|out)", re.IGNORECASE))).to_have_count(0)
    assert page.evaluate("() => typeof oidc") == "undefined"
