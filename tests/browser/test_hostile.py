"""Other people's text is text: a label, a name, a user or metadata that is a script where it is taken for markup."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.support.browsing import Site, Visit, settle, some_record, unfold
from tests.support.repository import DIGIT
from tests.support.seeded import HOSTILE

SVG = b"""
<svg xmlns="http://www.w3.org/2000/svg" onload="document.title='ran'"><script>document.title='ran'</script></svg>
"""


def look_around(page: Page) -> None:
    """Wait until a view has shown what it has, and go over it as a mouse does."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.wait_for_load_state("networkidle")
    unfold(page)
    page.eval_on_selector_all(
        "#view *", "all => all.forEach((one) => one.dispatchEvent(new MouseEvent('mouseover', { bubbles: true })))"
    )
    settle(page)


def assert_nothing_ran(page: Page) -> None:
    """Fail if a script ran, or could: what runs changes the title."""
    assert "ran" not in page.title().split()
    found = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll("#view *")];
          const html = (one) => one.outerHTML.slice(0, 200);
          return [
            ...all.filter((one) => one.matches("script, iframe, object, embed")),
            ...all.filter((one) => one.matches("img") && !/^(blob:|data:)/.test(one.src)),
            ...all.filter((one) => one.matches("a") && !/^(https?|blob):$/.test(one.protocol)),
            ...all.filter((one) => one.getAttributeNames().some((name) => name.startsWith("on"))),
          ].map(html);
        }"""
    )
    assert found == []


@pytest.mark.parametrize("view", ["predict", "records", "review", "models", "models/mnist/1", "import"])
def test_no_view_runs_what_a_record_says(hostile: Site, visit: Visit, view: str) -> None:
    page = visit(hostile, f"/console/{view}")

    look_around(page)

    assert_nothing_ran(page)


def test_a_label_that_turns_the_direction_of_writing_turns_no_figure_beside_it(hostile: Site, visit: Visit) -> None:
    page = visit(hostile, "/console/records?show=grid")

    answer = page.locator(".tile .answer b").first
    expect(answer).to_be_visible()

    assert answer.evaluate("one => getComputedStyle(one).unicodeBidi") == "isolate"


@pytest.mark.parametrize("number", range(0, len(HOSTILE), 3))
def test_a_record_is_shown_as_it_is_and_runs_nothing(hostile: Site, visit: Visit, number: int) -> None:
    record = some_record(hostile, inference_id=HOSTILE[number])
    page = visit(hostile, f"/console/record/{record['prediction_id']}")

    look_around(page)

    assert_nothing_ran(page)
    for text in (record["label"], record["ground_truth"], record["inference_id"], record["user_id"]):
        expect(page.locator("#view")).to_contain_text(text)


@pytest.mark.parametrize("text", HOSTILE[:5], ids=range(5))
def test_a_filter_in_the_url_runs_nothing(hostile: Site, visit: Visit, text: str) -> None:
    page = visit(hostile, f"/console/records?label={quote(text)}&user_id={quote(text)}&inference_id={quote(text)}")

    look_around(page)

    assert_nothing_ran(page)


@pytest.mark.parametrize(
    "path", ["<script>document.title='ran'</script>", "%3Cimg src=x onerror=document.title='ran'%3E"]
)
def test_a_path_runs_nothing(hostile: Site, visit: Visit, path: str) -> None:
    page = visit(hostile, f"/console/{path}")

    expect(page.get_by_role("heading", level=1)).to_have_text("No such page")

    assert_nothing_ran(page)


def test_a_file_whose_name_is_a_script_is_predicted_under_its_name(hostile: Site, visit: Visit) -> None:
    name = "<img src=x onerror=document.title='ran'>.png"
    page = visit(hostile, "/console/predict")
    file: FilePayload = {"name": name, "mimeType": "image/png", "buffer": DIGIT.read_bytes()}
    page.locator("input[type=file]").first.set_input_files([file])
    link = page.locator("#view a[href^='/console/record/']")
    link.wait_for()
    expect(page.locator("#view")).to_contain_text(name)

    link.click()
    expect(page.locator("#view")).to_contain_text(name)
    look_around(page)

    assert_nothing_ran(page)


def test_a_drawing_with_a_script_is_refused_in_words(hostile: Site, visit: Visit) -> None:
    page = visit(hostile, "/console/predict", expecting=("40[0-9]|415|422",))
    file: FilePayload = {"name": "drawing.svg", "mimeType": "image/svg+xml", "buffer": SVG}

    page.locator("input[type=file]").first.set_input_files([file])

    expect(page.get_by_role("alert")).to_contain_text(re.compile("image|PNG", re.IGNORECASE))
    look_around(page)
    assert_nothing_ran(page)


def test_a_stored_input_opened_by_itself_is_no_document_of_this_server(hostile: Site) -> None:
    record = some_record(hostile)

    with hostile.api(accept="text/html,*/*") as api:
        answer = api.get(f"/prediction/{record['prediction_id']}/input")

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
