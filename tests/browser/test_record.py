"""Record: what one record was sent and answered, what is true, and how one goes on from it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from model_artifacts.patients import FEATURE_NAMES
from tests.support.browsing import (
    NARROW,
    Accessible,
    Scheme,
    Site,
    Visit,
    query_of,
    settle,
    some_record,
    wait_until,
    wait_until_it_hears,
)
from tests.support.repository import DIGIT
from tests.support.seeded import HOSTILE

UNJUDGED = {"has_ground_truth": "false", "model": "mnist", "version": "1"}


def open_record(visit: Visit, site: Site, own: str, query: str = "", **options: Any) -> Page:
    page = visit(site, f"/console/record/{own}{query}", **options)
    expect(page.get_by_role("region", name="Answer")).to_be_visible()
    wait_until_it_hears(page)
    return page


def truth_of(site: Site, own: str) -> object:
    with site.asked() as query:
        [[truth]] = query("SELECT ground_truth FROM predictions WHERE prediction_id = :own::uuid", own=own)
    return truth


def id_of(page: Page) -> str:
    return page.url.partition("?")[0].rpartition("/")[2]


def press(page: Page, key: str) -> None:
    """Press a key that leads to another record, and wait until it is shown."""
    before = id_of(page)
    page.keyboard.press(key)
    page.wait_for_url(lambda url: before not in url)
    expect(page.get_by_role("region", name="Answer")).to_be_visible()
    settle(page)


def test_a_wrong_prediction_is_put_right_by_one_key(digits: Site, visit: Visit) -> None:
    record = some_record(digits, **UNJUDGED)
    other = str((int(record["label"]) + 1) % 10)
    page = open_record(visit, digits, record["prediction_id"])

    page.keyboard.press(other)

    expect(page.get_by_role("region", name="Truth")).to_contain_text("the prediction is wrong")
    expect(page.get_by_role("button", name=other, exact=True)).to_have_attribute("aria-pressed", "true")
    assert truth_of(digits, record["prediction_id"]) == other


def test_a_right_prediction_is_confirmed_by_one_key(digits: Site, visit: Visit) -> None:
    record = some_record(digits, **UNJUDGED)
    page = open_record(visit, digits, record["prediction_id"])

    page.keyboard.press("c")

    expect(page.get_by_role("region", name="Truth")).to_contain_text("the prediction is right")
    assert truth_of(digits, record["prediction_id"]) == record["label"]


def test_of_many_labels_the_right_one_is_searched_by_keyboard_alone(hostile: Site, visit: Visit) -> None:
    record = some_record(hostile, inference_id=HOSTILE[0])
    page = open_record(visit, hostile, record["prediction_id"])
    page.keyboard.press("/")
    page.keyboard.type("IFRAME")
    expect(page.get_by_role("status").filter(has_text="1 found")).to_contain_text(HOSTILE[4])

    page.keyboard.press("Enter")

    expect(page.get_by_role("button", name=HOSTILE[4], exact=True)).to_have_attribute("aria-pressed", "true")
    assert truth_of(hostile, record["prediction_id"]) == HOSTILE[4]


def test_the_truth_has_a_history_with_comments_and_can_be_withdrawn(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own)
    comment = page.get_by_label(re.compile("^Comment"))
    comment.fill("3 at first sight")  # what is typed there are no keys of the view
    comment.press("Escape")
    page.keyboard.press("3")
    expect(comment).to_have_value("")
    page.keyboard.press("8")
    expect(page.get_by_text("The truth is 8. Saved.")).to_be_visible()

    page.get_by_role("button", name="Withdraw the truth").click()

    history = page.locator("ol.history li")
    expect(history).to_have_count(3)
    expect(history.nth(0)).to_contain_text("withdrawn")
    expect(history.nth(1)).to_contain_text("8")
    expect(history.nth(2)).to_contain_text("3 at first sight")
    assert truth_of(digits, own) is None


def test_j_and_k_go_through_the_list_that_a_record_was_opened_from(digits: Site, visit: Visit) -> None:
    filters = {"correct": "false", "version": "1"}
    ids = [record["prediction_id"] for record in digits.listed(**filters)]
    page = open_record(visit, digits, ids[1], "?correct=false&version=1")

    press(page, "j")
    assert id_of(page) == ids[2]
    press(page, "j")
    assert id_of(page) == ids[3]
    for expected in (ids[2], ids[1], ids[0]):
        press(page, "k")
        assert id_of(page) == expected
    page.keyboard.press("k")
    expect(page.get_by_text("This is the first of the list.")).to_be_visible()
    assert query_of(page) == filters


def test_j_follows_the_least_sure_first_where_the_list_does(digits: Site, visit: Visit) -> None:
    ids = [record["prediction_id"] for record in digits.listed(order="confidence", version="1")[:4]]
    page = open_record(visit, digits, ids[0], "?order=confidence&version=1")

    for expected in ids[1:]:
        press(page, "j")
        assert id_of(page) == expected
    press(page, "k")
    assert id_of(page) == ids[2]


def test_back_leads_to_the_record_before(digits: Site, visit: Visit) -> None:
    ids = [record["prediction_id"] for record in digits.listed(label="7")[:2]]
    page = open_record(visit, digits, ids[0], "?label=7")
    press(page, "j")

    page.go_back()
    expect(page).to_have_url(re.compile(ids[0]))
    page.go_forward()
    expect(page).to_have_url(re.compile(ids[1]))


def test_the_input_is_downloaded_byte_for_byte(digits: Site, visit: Visit, tmp_path: Path) -> None:
    own = some_record(digits)["prediction_id"]
    page = open_record(visit, digits, own)

    with page.expect_download() as download:
        page.get_by_role("button", name="Download the input").click()

    download.value.save_as(tmp_path / "input")
    with digits.api() as api:
        assert (tmp_path / "input").read_bytes() == api.get(f"/prediction/{own}/input").content


def test_the_same_input_is_predicted_again_as_a_record_of_its_own(digits: Site, visit: Visit) -> None:
    record = some_record(digits)
    page = open_record(visit, digits, record["prediction_id"])

    page.get_by_role("button", name="Predict again").click()

    said = page.get_by_role("status").filter(has_text="Predicted again")
    made = said.get_by_role("link").inner_text()
    assert made != record["prediction_id"]
    assert some_record(digits)["prediction_id"] == made
    assert some_record(digits)["label"] == record["label"]


def test_a_record_is_deleted_only_after_one_has_said_so_twice(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own, expecting=("404",))
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    with digits.api() as api:
        assert api.get(f"/prediction/{own}").status_code == 200

    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete it").click()

    page.wait_for_url(lambda url: own not in url)
    with digits.api() as api:
        assert api.get(f"/prediction/{own}").status_code == 404
    page.goto(f"/console/record/{own}")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("link", name="See the records")).to_be_visible()


def test_a_record_that_somebody_has_deleted_is_not_shown_any_more(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own, expecting=("404", "422"))
    with digits.api() as api:
        assert api.delete(f"/prediction/{own}").status_code == 204

    page.keyboard.press("3")

    expect(page.get_by_role("alert").filter(has_text="There is no prediction with this id.")).to_be_visible()
    expect(page.get_by_role("link", name="See the records")).to_be_visible()
    expect(page.get_by_role("heading", name="Input")).to_have_count(0)


def test_a_small_picture_is_zoomed(digits: Site, visit: Visit) -> None:
    page = open_record(visit, digits, some_record(digits)["prediction_id"])
    picture = page.get_by_role("img", name="The input")
    expect(picture).to_be_visible()
    picture.evaluate("image => image.decode()")
    before = picture.bounding_box()

    page.get_by_role("button", name="Zoom").click()

    assert before is not None
    wait_until(page, lambda: (picture.bounding_box() or before)["width"] > before["width"])


def test_features_stand_beside_the_range_of_the_baseline(patients: Site, visit: Visit) -> None:
    page = open_record(visit, patients, some_record(patients)["prediction_id"])

    row = page.get_by_role("row", name=re.compile("^blood_sugar"))

    expect(row).to_contain_text(re.compile(r"\d+ to \d+"))


def test_a_number_is_put_right_by_typing_it(patients: Site, visit: Visit) -> None:
    own = some_record(patients, has_ground_truth="false")["prediction_id"]
    page = open_record(visit, patients, own)
    page.keyboard.press("t")
    page.keyboard.type("a lot")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This is no number")).to_be_visible()

    page.get_by_label("The true value").fill("151.5")
    page.keyboard.press("Enter")

    expect(page.get_by_role("region", name="Truth")).to_contain_text("151.5")
    assert truth_of(patients, own) == 151.5


@pytest.mark.parametrize(
    ("typed", "shown"),
    [("20261129", "20,261,129"), ("-1234567.5", "-1,234,568"), ("151.5234567", "151.523"), ("0.1", "0.1")],
)
def test_a_large_number_keeps_its_digits_before_the_point(patients: Site, visit: Visit, typed: str, shown: str) -> None:
    page = open_record(visit, patients, some_record(patients, has_ground_truth="false")["prediction_id"])

    page.get_by_label("The true value").fill(typed)
    page.keyboard.press("Enter")

    expect(page.get_by_text(f"The truth is {shown}.", exact=True)).to_be_visible()
    expect(page.get_by_text(f"The truth is {shown}. Saved.")).to_be_visible()


def test_a_number_that_is_typed_while_another_is_stored_is_not_lost(patients: Site, visit: Visit) -> None:
    own = some_record(patients, has_ground_truth="false")["prediction_id"]
    page = open_record(visit, patients, own)
    held: list[Route] = []
    page.route(f"{patients.address}/ground_truth", lambda route: held.append(route))
    field = page.get_by_label("The true value")
    field.fill("150")
    field.press("Enter")
    wait_until(page, lambda: len(held) == 1)

    field.fill("155")
    held[0].continue_()

    expect(page.get_by_text("The truth is 150. Saved.")).to_be_visible()
    expect(field).to_have_value("155")


def test_the_comment_on_a_truth_that_is_refused_is_not_lost(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own, expecting=("422",))
    refusal = {"title": "Unprocessable Content", "status": 422, "detail": "Not today."}
    page.route(f"{digits.address}/ground_truth", lambda route: route.fulfill(status=422, json=refusal))
    comment = page.get_by_label(re.compile("^Comment"))
    comment.fill("3 at first sight")
    comment.press("Escape")

    page.keyboard.press("3")

    expect(page.get_by_role("alert")).to_contain_text("Not today.")
    expect(comment).to_have_value("3 at first sight")


@pytest.mark.parametrize("written", ["{}", "{{{}}}", "urn:uuid:{}"])
def test_an_id_in_capitals_is_that_of_the_same_record(digits: Site, visit: Visit, written: str) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, written.format(own.upper()))

    page.keyboard.press("c")

    expect(page.get_by_role("region", name="Truth")).to_contain_text("the prediction is right")


def test_who_has_gone_on_while_a_record_is_deleted_stays_where_one_is(digits: Site, visit: Visit) -> None:
    own = some_record(digits, **UNJUDGED)["prediction_id"]
    page = open_record(visit, digits, own)
    held: list[Route] = []
    page.route(f"**/prediction/{own}", lambda route: held.append(route))
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    wait_until(page, lambda: len(held) == 1)

    page.get_by_role("navigation").get_by_role("link", name="Import").click()
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        held[0].continue_()
    page.wait_for_load_state("networkidle")
    settle(page)

    assert page.url == f"{digits.address}/console/import"


def test_how_long_ago_a_record_was_made_goes_on(digits: Site, visit: Visit) -> None:
    page = visit(digits, "about:blank")
    page.clock.install()
    page.goto(f"/console/record/{some_record(digits)['prediction_id']}")
    head = page.locator("header.record-head")
    expect(head).to_contain_text(re.compile("ago|now"))
    before = head.inner_text()

    page.clock.fast_forward(5 * 24 * 3600 * 1000)

    expect(head).not_to_have_text(before)
    expect(head).to_contain_text(re.compile(r"[56] days ago"))


def test_an_answer_of_something_in_between_is_told_from_that_of_the_api(digits: Site, visit: Visit) -> None:
    own = some_record(digits)["prediction_id"]
    page = visit(digits, "about:blank")
    page.route(f"**/prediction/{own}", lambda route: route.fulfill(body="<h1>Sign in to the hotel</h1>"))

    page.goto(f"/console/record/{own}")

    expect(page.get_by_role("alert")).to_contain_text("What answered is not this server.")


def test_a_value_that_is_that_of_half_the_baseline_is_not_said_to_be_unusual(patients: Site, visit: Visit) -> None:
    with patients.api() as api:
        records = [api.get(f"/prediction/{one['prediction_id']}").json() for one in patients.listed()[:20]]
    sex = FEATURE_NAMES.index("sex")
    of_each = {record["features"][sex]: record["prediction_id"] for record in records}
    assert set(of_each) == {1, 2}
    for own in of_each.values():
        page = open_record(visit, patients, own)
        expect(page.get_by_role("row", name=re.compile("^sex"))).not_to_contain_text("than usual")


def test_tensors_are_shown_by_name(tokens: Site, visit: Visit) -> None:
    page = open_record(visit, tokens, some_record(tokens)["prediction_id"])

    expect(page.get_by_role("region", name="Input")).to_contain_text("attention_mask")
    expect(page.get_by_role("region", name="Answer")).to_contain_text("logits")


def test_the_raw_json_is_what_the_api_answers(digits: Site, visit: Visit) -> None:
    own = some_record(digits)["prediction_id"]
    page = open_record(visit, digits, own)
    page.get_by_text("Raw JSON").click()

    shown = json.loads(page.get_by_role("group", name="The record as the API answers it").inner_text())

    with digits.api() as api:
        assert shown == api.get(f"/prediction/{own}").json()


def test_a_record_says_by_what_it_was_predicted_and_in_what_time(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/predict")
    page.locator("input[type=file]").first.set_input_files(DIGIT)
    page.locator("ol.answers a").first.click()
    facts = page.get_by_role("region", name="Facts")

    with digits.api() as api:
        expect(facts).to_contain_text(api.get("/model").json()["sha256"])
    expect(facts).to_contain_text("mnist 1")
    expect(facts).to_contain_text(re.compile(r"Running the model[\d.,]+ m?s"))
    expect(page.get_by_role("region", name="Answer").locator("ol.bars li")).to_have_count(10)


def test_an_id_that_is_none_is_refused_in_words(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/record/seven", expecting=("422", "404"))

    expect(page.get_by_role("alert").first).to_contain_text(re.compile("UUID|no such", re.IGNORECASE))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_dialogs_of_a_record(
    digits: Site, visit: Visit, accessible: Accessible, scheme: Scheme
) -> None:
    page = open_record(visit, digits, some_record(digits)["prediction_id"], scheme=scheme, viewport=NARROW)
    page.get_by_role("button", name="Keys").click()
    accessible(page)
    page.get_by_role("button", name="Close").click()

    page.get_by_role("button", name="Delete", exact=True).click()

    accessible(page)


def test_what_the_keys_do_is_shown_by_one_of_them(digits: Site, visit: Visit) -> None:
    page = open_record(visit, digits, some_record(digits)["prediction_id"])

    page.keyboard.press("?")

    dialog = page.get_by_role("dialog", name="Keys")
    for words in ("the next record of the list", "the truth is 7"):
        expect(dialog).to_contain_text(words)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
