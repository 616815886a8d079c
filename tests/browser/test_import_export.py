"""Import a file of truths, seen before any is written; and take out what a filter shows."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.reviewing import judged
from tests.support.browsing import Site, Visit, wait_until_it_hears


def a_csv(*rows: tuple[str, ...], header: tuple[str, ...] = ("inference_id", "label")) -> FilePayload:
    file = io.StringIO()
    csv.writer(file).writerows([header, *rows])
    return {"name": "truths.csv", "mimeType": "text/csv", "buffer": file.getvalue().encode()}


def unjudged(site: Site, count: int) -> list[str]:
    """Return the inference ids of records of which nobody has said what is true."""
    return [record["inference_id"] for record in site.listed(has_ground_truth="false", version="1")[:count]]


def choose(page: Page, file: FilePayload) -> None:
    wait_until_it_hears(page)  # the columns are guessed by what the model answers
    page.get_by_label("File of ground truths").set_input_files([file])


def outcome(page: Page, words: str) -> str:
    return page.get_by_role("group", name="Lines to show").get_by_role("button", name=words).inner_text()


def test_what_would_become_of_each_line_is_seen_before_any_is_written(digits: Site, visit: Visit) -> None:
    one, two = unjudged(digits, 2)
    known = digits.listed(correct="true", version="1")[0]
    page = visit(digits, "/console/import")
    before = judged(digits)

    choose(
        page,
        a_csv(
            (one, "3"),
            (two, "4"),
            (known["inference_id"], known["ground_truth"]),
            ("nobody knows", "5"),
            (one, "twelve"),
        ),
    )

    expect(page.get_by_text("Checked: 5 lines.")).to_be_visible()
    assert outcome(page, "new").endswith("2")
    assert outcome(page, "there already").endswith("1")
    assert outcome(page, "unknown id").endswith("1")
    lines = page.get_by_role("region", name="The lines", exact=True)
    page.get_by_role("button", name="unknown id").click()
    expect(lines).to_contain_text("nobody knows")
    assert judged(digits) == before

    page.get_by_role("button", name="Write 2 lines").click()

    expect(page.get_by_text("Written: 2 of 2 lines")).to_be_visible()
    assert judged(digits) == before + 2
    assert [record["ground_truth"] for name in (one, two) for record in digits.listed(inference_id=name)] == ["3", "4"]


def test_what_says_something_else_is_replaced_only_if_one_wants_it(digits: Site, visit: Visit) -> None:
    known = digits.listed(correct="true", version="1")[0]
    (new,) = unjudged(digits, 1)
    other = str((int(known["label"]) + 1) % 10)
    page = visit(digits, "/console/import")
    choose(page, a_csv((known["inference_id"], other), (new, "1")))

    page.get_by_role("checkbox", name=re.compile("^Replace")).uncheck()
    page.get_by_role("button", name="Write 1 line").click()

    expect(page.get_by_text("Written: 1 of 1 line")).to_be_visible()
    assert [record["ground_truth"] for record in digits.listed(inference_id=known["inference_id"])] == [known["label"]]


def test_a_file_whose_columns_have_other_names_is_asked_about(digits: Site, visit: Visit) -> None:
    (one,) = unjudged(digits, 1)
    page = visit(digits, "/console/import")
    choose(page, a_csv((one, "6"), header=("scan", "digit")))

    page.get_by_label("scan").select_option("inference_id")
    page.get_by_label("digit").select_option("label")
    page.get_by_role("button", name="Check the lines").click()

    expect(page.get_by_role("button", name="Write 1 line")).to_be_visible()


def test_lines_are_pasted(digits: Site, visit: Visit) -> None:
    (one,) = unjudged(digits, 1)
    page = visit(digits, "/console/import")
    page.get_by_label("File of ground truths").wait_for()
    wait_until_it_hears(page)

    page.evaluate(
        """text => {
          const data = new DataTransfer();
          data.setData("text", text);
          document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        f"inference_id\tlabel\n{one}\t6\n",
    )

    expect(page.get_by_role("button", name="Write 1 line")).to_be_visible()


def test_a_file_without_truths_is_refused_in_words(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/import")

    choose(page, {"name": "notes.csv", "mimeType": "text/csv", "buffer": b"\xff\xfe\x00\xd8"})

    expect(page.get_by_role("alert").or_(page.get_by_text("no ground truth")).first).to_be_visible()


def test_what_a_filter_shows_is_exported_as_csv(digits: Site, visit: Visit, tmp_path: Path) -> None:
    expected = digits.listed(correct="false", version="1")
    rows = list(csv.DictReader(io.StringIO(export(visit, digits, tmp_path, "CSV").removeprefix("\ufeff"))))

    assert [row["prediction_id"] for row in rows] == [record["prediction_id"] for record in expected]
    assert [row["label"] for row in rows] == [record["label"] for record in expected]
    assert [float(row["scores.3"]) for row in rows] == [record["prediction"][3] for record in expected]


def test_what_a_filter_shows_is_exported_as_json_lines(digits: Site, visit: Visit, tmp_path: Path) -> None:
    lines = export(visit, digits, tmp_path, "JSON Lines").splitlines()

    assert [json.loads(line) for line in lines] == digits.listed(correct="false", version="1")


@pytest.mark.parametrize("answer", ["<h1>Sign in to the hotel</h1>", '{"sign in": "at the hotel"}'])
def test_an_export_of_which_a_page_comes_from_something_in_between_says_so_and_goes_on(
    digits: Site, visit: Visit, tmp_path: Path, answer: str
) -> None:
    expected = digits.listed(correct="false", version="1")
    page = visit(digits, "about:blank")
    page.add_init_script("delete window.showSaveFilePicker")
    page.goto("/console/records?correct=false&version=1")
    page.locator("details.export > summary").click()
    page.get_by_label("Format").select_option("JSON Lines")
    page.route("**/predictions?*limit=1000*", lambda route: route.fulfill(body=answer))
    page.get_by_role("button", name="Export the records").click()
    expect(page.locator(".export").get_by_role("alert")).to_contain_text("What answered is not this server.")
    page.unroute("**/predictions?*limit=1000*")

    with page.expect_download() as download:
        page.locator(".export").get_by_role("button", name="Try again").click()
    download.value.save_as(tmp_path / "exported")

    assert [json.loads(line) for line in (tmp_path / "exported").read_text("utf-8").splitlines()] == expected


def export(visit: Visit, site: Site, folder: Path, form: str) -> str:
    page = visit(site, "about:blank")
    page.add_init_script("delete window.showSaveFilePicker")  # a browser that only downloads
    page.goto("/console/records?correct=false&version=1")
    page.locator("details.export > summary").click()
    page.get_by_label("Format").select_option(form)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export the records").click()
    download.value.save_as(folder / "exported")
    expect(page.get_by_text("Exported")).to_be_visible()
    return (folder / "exported").read_text("utf-8")
