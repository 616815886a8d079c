"""Predict and record where there is much at once: large pictures, quick keys."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.browsing import Accessible, Serve, Site, Visit, some_record, wait_until, wait_until_it_hears
from tests.support.repository import ROOT

DIGIT = ROOT / "local" / "samples" / "mnist_sample.png"

BUCKET: Final = re.compile("/uploads/inputs/")
"""The URLs that the API signs."""


def test_of_several_keys_in_a_row_the_last_holds(digits: Site, visit: Visit) -> None:
    record = some_record(digits, has_ground_truth="false", model="mnist", version="1")
    page = visit(digits, f"/console/record/{record['prediction_id']}")
    page.get_by_role("group", name="The true label").wait_for()
    wait_until_it_hears(page)

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


def photo(folder: Path, size: int) -> Path:
    """Make a picture of so many bytes."""
    content = DIGIT.read_bytes()
    path = folder / "photo.png"
    path.write_bytes(content + bytes(size - len(content)))
    return path


def choose(page: Page, path: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(path)


def stored(page: Page) -> Locator:
    """Return the links to what is stored."""
    return page.locator("ol.answers a[href^='/console/record/']")


def predictions_of(site: Site, filename: str) -> int:
    with site.asked() as query:
        [[count]] = query(
            "SELECT count(*) FROM predictions JOIN inputs USING (input_id) WHERE filename = :f", f=filename
        )
    assert isinstance(count, int)
    return count


def test_a_picture_that_is_larger_than_a_request_is_uploaded_and_predicted(
    digits: Site, visit: Visit, accessible: Accessible, tmp_path: Path
) -> None:
    large = photo(tmp_path, 8_200_000)
    page = visit(digits, "/console/predict")
    held: list[Route] = []
    page.route(BUCKET, lambda route: held.append(route))
    choose(page, large)

    expect(page.get_by_text("Uploading: 0 B of 8.2 MB")).to_be_visible()
    expect(page.get_by_role("progressbar", name="How much of photo.png is uploaded")).to_be_visible()
    expect(page.get_by_role("status").first).to_have_text("Uploading …")
    accessible(page)
    wait_until(page, lambda: bool(held))
    held[0].continue_()

    expect(page.get_by_role("status").first).to_contain_text("Answer: 7")
    stored(page).click()
    expect(page.get_by_role("img", name="The input: photo.png")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the input").click()
    assert download.value.path().read_bytes() == large.read_bytes()


def lose(route: Route) -> None:
    """End the connection before the bucket has anything."""
    route.abort("connectionreset")


def lose_answer(route: Route) -> None:
    """End the connection once the bucket has it all."""
    route.fetch()
    route.abort("connectionreset")


def refuse(route: Route) -> None:
    """Refuse it as S3 does once the URL has expired."""
    headers = {"Access-Control-Allow-Origin": "*"}
    route.fulfill(
        status=403, headers=headers, content_type="application/xml", body="<Error><Code>AccessDenied</Code></Error>"
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [(lose, "cannot be reached"), (lose_answer, "cannot be reached"), (refuse, "it answered 403")],
    ids=["it does not arrive", "its answer is lost", "it is refused"],
)
def test_an_upload_that_fails_is_said_so_and_the_picture_is_stored_once_when_it_is_sent_again(
    digits: Site, visit: Visit, tmp_path: Path, fault: Callable[[Route], None], words: str
) -> None:
    page = visit(digits, "/console/predict", expecting=("ERR_CONNECTION_RESET", "403", "412"))
    page.route(BUCKET, fault)
    choose(page, photo(tmp_path, 5_000_000))
    expect(page.get_by_role("alert").first).to_contain_text(words)
    expect(page.get_by_role("alert").first).to_contain_text("Nothing is stored.")
    expect(page.get_by_text("It may have been stored")).to_have_count(0)

    page.unroute(BUCKET)
    page.get_by_role("button", name="Try again").click()

    expect(stored(page)).to_have_count(1)
    assert predictions_of(digits, "photo.png") == 1


def test_a_bucket_that_does_not_answer_is_given_up(digits: Site, visit: Visit, tmp_path: Path) -> None:
    page = visit(digits, "/console/predict")
    page.clock.install()
    held: list[Route] = []
    page.route(BUCKET, lambda route: held.append(route))
    choose(page, photo(tmp_path, 5_000_000))
    wait_until(page, lambda: bool(held))

    page.clock.fast_forward(61_000)

    expect(page.get_by_role("alert").first).to_contain_text("does not answer. Nothing is stored.")
    page.unroute(BUCKET)
    page.get_by_role("button", name="Try again").click()
    expect(stored(page)).to_have_count(1)


def test_a_large_file_that_is_no_picture_is_refused_in_words(digits: Site, visit: Visit, tmp_path: Path) -> None:
    page = visit(digits, "/console/predict", expecting=("40[0-9]|415|422",))
    (tmp_path / "film.png").write_bytes(b"no picture" * 600_000)

    choose(page, tmp_path / "film.png")

    expect(page.get_by_role("alert").first).to_contain_text("image")
    assert predictions_of(digits, "film.png") == 0


def test_how_large_an_upload_may_be_is_said(digits: Site, visit: Visit, tmp_path: Path) -> None:
    page = visit(digits, "/console/predict", expecting=("413",))

    choose(page, photo(tmp_path, 20_000_001))

    expect(page.get_by_role("alert").first).to_contain_text("at most 20000000 are allowed")
    expect(page.get_by_role("button", name="Send a smaller copy")).to_be_visible()


def test_where_nothing_can_be_uploaded_it_is_said_how_large_a_picture_may_be_and_a_smaller_copy_is_offered(
    serve: Serve, visit: Visit, tmp_path: Path
) -> None:
    site = serve("nothing", UPLOADS_ORIGIN="")
    assert site.origins == {site.address, "'self'"}
    page = visit(site, "/console/predict")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.method))
    choose(page, photo(tmp_path, 8_000_000))
    expect(page.get_by_role("alert").first).to_contain_text(
        "it has 8 MB, and this server takes pictures of less than 4.5 MB"
    )
    assert "POST" not in requests  # 8 MB for nothing

    page.get_by_role("button", name="Send a smaller copy").click()

    smaller = page.locator("ol.answers > li").filter(has_text="photo (smaller).jpg")
    expect(smaller.get_by_role("link", name=re.compile("^01"))).to_be_visible()
    expect(page.get_by_text("1 of 2 predicted, 1 failed.")).to_be_visible()
