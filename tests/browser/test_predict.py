"""Predict: a person asks the model, in whatever way, and finds what was stored."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, JSHandle, Page, expect

from tests.support.browsing import NARROW, Accessible, Scheme, Site, Visit, wait_until_it_hears
from tests.support.judging import small_digits
from tests.support.repository import DIGIT
from tests.support.transformer import example


def png(number: int) -> bytes:
    images, _ = small_digits()
    file = io.BytesIO()
    Image.fromarray(images[number]).save(file, "png")
    return file.getvalue()


def a_file(number: int) -> FilePayload:
    return {"name": f"page {number}.png", "mimeType": "image/png", "buffer": png(number)}


def transfer(page: Page, content: bytes, name: str) -> JSHandle:
    """Return a file as it is dropped or pasted."""
    return page.evaluate_handle(
        """([bytes, name]) => {
          const made = new DataTransfer();
          made.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
          return made;
        }""",
        [list(content), name],
    )


def predict(page: Page) -> None:
    page.get_by_role("button", name="Predict", exact=True).click()


def answers(page: Page, count: int) -> list[str]:
    """Wait until there are so many answers, and return the ids under which they are stored, the newest first."""
    links = page.locator("#view a[href^='/console/record/']")
    expect(links).to_have_count(count)
    return [(link.get_attribute("href") or "").rpartition("/")[2] for link in links.all()]


def stored(site: Site, prediction_id: str) -> dict[str, object]:
    with site.api() as api:
        answer = api.get(f"/prediction/{prediction_id}")
    assert answer.status_code == 200
    found: dict[str, object] = answer.json()
    return found


def draw_a_one(page: Page) -> None:
    area = page.get_by_role("img", name=re.compile("Drawing area"))
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.8, steps=8)
    page.mouse.up()


def test_a_digit_that_is_drawn_is_predicted_and_stored(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/")
    draw_a_one(page)

    predict(page)

    (own,) = answers(page, 1)
    expect(page.get_by_role("status").first).to_contain_text("Answer: 1")
    expect(page.locator("ol.bars li")).to_have_count(10)
    assert stored(digits, own)["label"] == "1"
    page.get_by_role("link", name=own).click()
    expect(page).to_have_url(re.compile(f"/console/record/{own}"))


def test_several_files_at_once_are_each_predicted(digits: Site, visit: Visit) -> None:
    _, truths = small_digits()
    page = visit(digits, "/console/predict")

    page.locator("input[type=file]").first.set_input_files([a_file(number) for number in range(8)])

    expect(page.get_by_text("8 of 8 predicted.")).to_be_visible()
    records = [stored(digits, own) for own in answers(page, 8)]
    assert {record["filename"] for record in records} == {f"page {number}.png" for number in range(8)}
    by_name = {record["filename"]: record["label"] for record in records}
    assert sum(by_name[f"page {number}.png"] == truths[number] for number in range(8)) >= 6


def test_one_of_several_files_that_is_no_picture_is_named_and_the_others_are_stored(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/predict", expecting=("40[0-9]|415|422",))
    broken: FilePayload = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}

    page.locator("input[type=file]").first.set_input_files([a_file(1), broken, a_file(2)])

    expect(page.get_by_text("2 of 3 predicted, 1 failed.")).to_be_visible()
    failed = page.get_by_role("listitem").filter(has_text="notes.png")
    expect(failed.get_by_role("alert")).to_contain_text("image")
    assert len(answers(page, 2)) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_answers_and_refusals(
    digits: Site, visit: Visit, accessible: Accessible, scheme: Scheme
) -> None:
    page = visit(digits, "/console/predict", scheme=scheme, viewport=NARROW, expecting=("40[0-9]|415|422",))
    broken: FilePayload = {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}

    page.locator("input[type=file]").first.set_input_files([a_file(1), broken])

    expect(page.get_by_text("1 of 2 predicted, 1 failed.")).to_be_visible()
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_file_that_is_dropped_anywhere_is_predicted(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/predict")
    page.locator("input[type=file]").first.wait_for()
    wait_until_it_hears(page)

    page.dispatch_event("footer", "drop", {"dataTransfer": transfer(page, DIGIT.read_bytes(), "dropped.png")})

    (own,) = answers(page, 1)
    assert (stored(digits, own)["filename"], stored(digits, own)["label"]) == ("dropped.png", "7")


def test_a_picture_that_is_pasted_is_predicted(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/predict")
    page.locator("input[type=file]").first.wait_for()
    wait_until_it_hears(page)

    page.evaluate(
        "data => document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }))",
        transfer(page, DIGIT.read_bytes(), "image.png"),
    )

    (own,) = answers(page, 1)
    assert stored(digits, own)["label"] == "7"


def test_a_phone_offers_its_camera(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/predict", viewport=NARROW, has_touch=True, is_mobile=True)

    expect(page.get_by_label("take a photo")).to_have_attribute("capture", "environment")


def test_the_answers_are_still_there_when_one_comes_back(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/predict")
    page.locator("input[type=file]").first.set_input_files(DIGIT)
    (own,) = answers(page, 1)

    page.get_by_role("navigation").get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")
    page.go_back()

    assert answers(page, 1) == [own]


def test_what_got_no_answer_is_kept_and_stored_once_when_it_is_sent_again(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/predict", expecting=("ERR_INTERNET_DISCONNECTED",))
    draw_a_one(page)
    page.context.set_offline(True)
    predict(page)
    expect(page.get_by_role("alert").first).to_contain_text("cannot be reached")

    page.context.set_offline(False)
    predict(page)  # the drawing is still there

    (own,) = answers(page, 1)
    assert stored(digits, own)["label"] == "1"
    with digits.asked() as query:
        assert query("SELECT count(*) FROM predictions WHERE prediction_id >= :own::uuid", own=own) == [[1]]


def test_features_are_filled_in_with_what_is_usual_in_sight(patients: Site, visit: Visit) -> None:
    page = visit(patients, "/console/predict")
    page.get_by_role("button", name="Fill in typical values").click()
    age = page.get_by_label("age", exact=True)
    expect(age).not_to_have_value("")
    age.fill("131")
    expect(page.get_by_text("higher than usual")).to_be_visible()

    predict(page)

    (own,) = answers(page, 1)
    record = stored(patients, own)
    assert isinstance(record["predicted_value"], float)
    features = record["features"]
    assert isinstance(features, dict | list)
    assert 131 in (features.values() if isinstance(features, dict) else features)


def test_a_feature_that_is_refused_is_marked_and_nothing_that_was_typed_is_lost(patients: Site, visit: Visit) -> None:
    page = visit(patients, "/console/predict", expecting=("422",))
    page.get_by_role("button", name="Fill in typical values").click()
    page.get_by_label("age", exact=True).fill("old")
    typed = [field.input_value() for field in page.locator("#view form input").all()]

    predict(page)

    expect(page.get_by_label("age", exact=True)).to_have_attribute("aria-invalid", "true")
    assert [field.input_value() for field in page.locator("#view form input").all()] == typed
    page.get_by_label("age", exact=True).fill("50")
    predict(page)
    answers(page, 1)
    expect(page.get_by_label("age", exact=True)).to_have_attribute("aria-invalid", "false")


def test_tokens_are_written_as_json(tokens: Site, visit: Visit) -> None:
    page = visit(tokens, "/console/predict")
    field = page.get_by_label("The inputs, as JSON")
    field.fill(json.dumps(example([1, 7, 2]))[:-1])
    predict(page)
    expect(page.get_by_text("This is no JSON")).to_be_visible()

    field.fill(json.dumps(example([1, 7, 2])))
    predict(page)

    (own,) = answers(page, 1)
    assert stored(tokens, own)["inputs"] == example([1, 7, 2])


def test_a_picture_can_be_predicted_by_keyboard_alone(digits: Site, visit: Visit, tmp_path: Path) -> None:
    page = visit(digits, "/console/predict")
    # Asked for before the key, or a browser that is busy opens its own dialog, which nobody sees.
    page.on("filechooser", lambda _: None)
    (tmp_path / "seven.png").write_bytes(DIGIT.read_bytes())
    field = page.locator("input[type=file]").first
    field.focus()

    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Space")
    chosen.value.set_files(tmp_path / "seven.png")

    (own,) = answers(page, 1)
    assert stored(digits, own)["label"] == "7"
