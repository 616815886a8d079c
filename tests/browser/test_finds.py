"""What a detection found is drawn over the picture, and is in a table for those who do not see it."""

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.test_hostile import assert_nothing_ran, look_around
from tests.support.browsing import NARROW, Accessible, Scheme, Site, Visit
from tests.support.seeded import FINDS, HOSTILE, red

SCHEMES: tuple[Scheme, ...] = ("light", "dark")
THREE = 3
"""A picture so red has three finds: one in the picture, one outside of it, one that is larger than it."""


def predicted(site: Site, strength: int) -> str:
    """Have a picture predicted, and return the id of its record."""
    with site.api() as api:
        answer = api.post("/prediction", files={"file": ("red.png", red(strength), "image/png")})
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["prediction"]) == strength * FINDS // 255
    found: str = answer.json()["prediction_id"]
    return found


def boxes(page: Page) -> Locator:
    return page.locator("#view .boxed svg rect.box")


def rows(page: Page) -> Locator:
    return page.get_by_role("group", name="The finds").locator("tbody tr")


def place(box: Locator) -> tuple[float, ...]:
    return tuple(float(box.get_attribute(name) or "nan") for name in ("x", "y", "width", "height"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_boxes_of_a_record_are_where_the_model_saw_them(
    finding: Site, visit: Visit, accessible: Accessible, scheme: Scheme
) -> None:
    page = visit(finding, f"/console/record/{predicted(finding, THREE)}", scheme=scheme)

    expect(rows(page)).to_have_count(3)
    expect(boxes(page)).to_have_count(2)
    # 128 x 64 pixels are 64 x 32 of the model's, below 16 that are filled up. The larger is drawn first.
    whole, inner = (place(box) for box in boxes(page).all())
    assert inner == (16, 16, 32, 32)
    assert whole == (0, 8, 128, 20)
    expect(page.locator("#view .boxed svg")).to_have_attribute("viewBox", "0 0 128 64")
    expect(page.get_by_text("1 box is not drawn.")).to_be_visible()
    texts = page.locator("#view .boxed svg text")
    expect(texts.last).to_have_text(f"{HOSTILE[0][:40]}… 99%")
    accessible(page)


def test_the_boxes_lie_over_the_picture_whatever_its_size(finding: Site, visit: Visit) -> None:
    page = visit(finding, f"/console/record/{predicted(finding, THREE)}", viewport=NARROW)
    expect(boxes(page)).to_have_count(2)

    assert_over_the_picture(page)
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Zoom")).to_have_attribute("aria-pressed", "true")
    assert_over_the_picture(page)


def assert_over_the_picture(page: Page) -> None:
    picture, drawing = (page.locator(f"#view .boxed {name}").bounding_box() for name in ("img", "svg"))
    assert picture is not None
    assert drawing is not None
    assert tuple(drawing.values()) == pytest.approx(tuple(picture.values()), abs=1)


def test_a_row_that_is_chosen_marks_its_box_and_a_box_its_row(
    finding: Site, visit: Visit, accessible: Accessible
) -> None:
    page = visit(finding, f"/console/record/{predicted(finding, THREE)}")
    expect(boxes(page)).to_have_count(2)
    first = page.get_by_role("button", name=HOSTILE[0], exact=True)

    first.focus()
    page.keyboard.press("Enter")

    expect(first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#view .boxed .find.chosen")).to_have_count(1)
    assert place(page.locator("#view .boxed .find.chosen rect.box")) == (16, 16, 32, 32)
    accessible(page)

    page.get_by_role("button", name=HOSTILE[1], exact=True).click()
    expect(page.get_by_text("The box that is chosen is outside of the picture.")).to_be_visible()
    expect(page.locator("#view .boxed .find.chosen")).to_have_count(0)

    boxes(page).last.click()
    expect(first).to_have_attribute("aria-pressed", "true")
    first.click()
    expect(page.locator("#view .chosen")).to_have_count(0)


@pytest.mark.parametrize("strength", [THREE, 255], ids=["three finds", "300 finds"])
def test_a_label_that_is_a_script_is_text_in_the_picture_and_in_the_table(
    finding: Site, visit: Visit, strength: int
) -> None:
    page = visit(finding, f"/console/record/{predicted(finding, strength)}")
    expect(rows(page)).to_have_count(strength * FINDS // 255)

    look_around(page)

    assert_nothing_ran(page)
    assert page.locator("#view .boxed svg :is(script, foreignObject, a, image)").count() == 0
    expect(rows(page).first).to_contain_text(HOSTILE[0])


def test_where_nothing_is_found_it_is_said_and_the_picture_is_shown(
    finding: Site, visit: Visit, accessible: Accessible
) -> None:
    page = visit(finding, f"/console/record/{predicted(finding, 0)}")

    expect(page.get_by_role("img", name="The input: red.png")).to_be_visible()
    expect(page.get_by_text("0 finds")).to_be_visible()
    expect(page.locator("#view .boxed")).to_have_count(0)
    accessible(page)


def test_of_300_finds_all_are_drawn_and_only_the_surest_are_named_in_the_picture(
    finding: Site, visit: Visit, accessible: Accessible
) -> None:
    page = visit(finding, f"/console/record/{predicted(finding, 255)}")

    expect(rows(page)).to_have_count(FINDS)
    missing = page.locator("#view figcaption").get_by_text("not drawn")
    expect(missing).to_be_visible()
    left_out = int((missing.text_content() or "").split()[0])
    expect(boxes(page)).to_have_count(FINDS - left_out)
    expect(page.locator("#view .boxed svg text")).to_have_count(30)
    accessible(page)

    rows(page).last.get_by_role("button").click()
    expect(page.locator("#view .boxed svg text")).to_have_count(min(1, page.locator("#view .boxed .chosen").count()))


def test_what_is_found_in_a_picture_that_was_just_sent_is_drawn(
    finding: Site, visit: Visit, accessible: Accessible
) -> None:
    page = visit(finding, "/console/predict")
    file: FilePayload = {"name": "red.png", "mimeType": "image/png", "buffer": red(THREE)}

    page.locator("input[type=file]").first.set_input_files([file])

    expect(page.get_by_role("status").first).to_contain_text("Answer: 3 finds")
    expect(boxes(page)).to_have_count(2)
    page.get_by_role("button", name=HOSTILE[0], exact=True).click()
    assert place(page.locator("#view .boxed .find.chosen rect.box")) == (16, 16, 32, 32)
    accessible(page)
    assert_nothing_ran(page)


def test_a_record_of_a_model_that_is_not_served_has_its_table_alone(finding: Site, visit: Visit) -> None:
    own = predicted(finding, THREE)
    with finding.asked() as query:
        query("UPDATE models SET version = 'earlier'")
    page = visit(finding, f"/console/record/{own}")

    expect(page.get_by_text("The boxes are not drawn: how a picture is seen")).to_be_visible()
    expect(rows(page)).to_have_count(3)
    expect(boxes(page)).to_have_count(0)
