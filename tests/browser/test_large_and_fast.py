"""Predict and record where there is much at once: large pictures, quick keys."""

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.support.browsing import Site, Visit, some_record
from tests.support.repository import ROOT

DIGIT = ROOT / "local" / "samples" / "mnist_sample.png"


def test_of_several_keys_in_a_row_the_last_holds(digits: Site, visit: Visit) -> None:
    record = some_record(digits, has_ground_truth="false", model="mnist", version="1")
    page = visit(digits, f"/console/record/{record['prediction_id']}")
    page.get_by_role("group", name="The true label").wait_for()

    for key in "123456":
        page.keyboard.press(key)

    expect(page.get_by_text("The truth is 6. Saved.")).to_be_visible()
    expect(page.locator("ol.history li").first).to_contain_text("6")
    expect(page.get_by_role("button", name="6", exact=True)).to_have_attribute("aria-pressed", "true")
    with digits.api() as api:
        assert api.get(f"/prediction/{record['prediction_id']}").json()["ground_truth"] == "6"


def test_a_picture_that_is_too_large_for_one_answer_is_shown_and_saved_whole(
    digits: Site, visit: Visit, tmp_path: Path
) -> None:
    large = DIGIT.read_bytes() + bytes(4_300_000)  # what comes after a PNG's end is no part of the picture
    (tmp_path / "large.png").write_bytes(large)
    page = visit(digits, "/console/predict")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "large.png")

    page.locator("ol.answers a").first.click()

    expect(page.get_by_role("img", name="The input: large.png")).to_be_visible()
    expect(page.get_by_text(re.compile("28 . 28 pixels"))).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the input").click()
    assert download.value.path().read_bytes() == large


def test_of_a_picture_that_is_too_large_to_be_sent_a_smaller_copy_is_offered(
    digits: Site, visit: Visit, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(DIGIT.read_bytes() + bytes(8_000_000))
    page = visit(digits, "/console/predict", expecting=("413",))
    page.locator("input[type=file]").first.set_input_files(tmp_path / "photo.png")

    page.get_by_role("button", name="Send a smaller copy").click()

    smaller = page.locator("ol.answers > li").filter(has_text="photo (smaller).jpg")
    expect(smaller.get_by_role("link", name=re.compile("^01"))).to_be_visible()
    expect(page.get_by_text("1 of 2 predicted, 1 failed.")).to_be_visible()
