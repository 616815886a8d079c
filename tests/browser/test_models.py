"""Models: what a version did, how right it was, and what has changed."""

import re

from playwright.sync_api import Page, expect

from tests.support.browsing import Site, Visit, query_of, shown_records, wait_until
from tests.support.judging import midnight

VERSION = "/console/models/mnist/1"


def wait_for_figures(page: Page) -> None:
    page.locator("table.matrix a").first.wait_for()
    page.wait_for_load_state("networkidle")


def test_the_models_lead_to_the_figures_of_each_version(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/models")
    versions = page.get_by_role("table", name="Models and versions")
    expect(versions.get_by_role("row")).to_have_count(3)

    versions.get_by_role("link", name="mnist 0").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("mnist 0")
    assert page.url == f"{digits.address}/console/models/mnist/0"


def test_a_cell_of_the_confusion_matrix_leads_to_exactly_its_records(digits: Site, visit: Visit) -> None:
    page = visit(digits, VERSION)
    wait_for_figures(page)
    cell = page.locator("table.matrix td.mistake a").first
    told = re.match(r"(\d+) predicted (\d) where (\d) is true", cell.get_attribute("aria-label") or "")
    assert told is not None
    count, label, truth = told.groups()

    cell.click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Records")
    assert (query_of(page)["label"], query_of(page)["ground_truth"]) == (label, truth)
    with digits.asked() as query:
        rows = query(
            "SELECT prediction_id::text FROM predictions JOIN models USING (model_id) "
            "WHERE version = '1' AND label = :label AND ground_truth #>> '{}' = :truth",
            label=label,
            truth=truth,
        )
    wait_until(page, lambda: sorted(shown_records(page)) == sorted(own for [own] in rows))
    assert len(rows) == int(count)


def test_the_days_on_which_digits_looked_different_are_named(digits: Site, visit: Visit) -> None:
    span = f"{midnight(9):%Y-%m-%d}/{midnight(5):%Y-%m-%d}"
    page = visit(digits, f"{VERSION}?baseline={span}")
    told = page.get_by_role("region", name="What drifted").get_by_role("table")
    expect(told).to_be_visible()

    text = told.inner_text()

    for days_ago in (2, 1):
        assert f"{midnight(days_ago):%-d %b %Y}" in text
    assert f"{midnight(4):%-d %b %Y}" not in text


def test_what_drifted_leads_to_the_records_of_its_window(digits: Site, visit: Visit) -> None:
    page = visit(digits, VERSION)
    newest = page.get_by_role("region", name="What drifted").get_by_role("link").first
    count = int(newest.inner_text())

    newest.click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Records")
    assert len(digits.listed(**query_of(page))) == count


def test_two_versions_are_set_side_by_side(digits: Site, visit: Visit) -> None:
    page = visit(digits, VERSION)
    page.get_by_label("Compare with").select_option("0")

    beside = page.get_by_role("table", name="Version 1 beside version 0")
    expect(beside.get_by_role("row", name=re.compile("^Accuracy"))).to_be_visible()
    assert query_of(page)["compare"] == "0"
    with digits.api() as api:
        found = api.get("/models/mnist/versions/0/performance").json()["classification"]["accuracy"]
    expect(beside).to_contain_text(f"{100 * found:.1f}".removesuffix(".0"))


def test_a_span_of_time_is_in_the_url_and_back_takes_it_back(digits: Site, visit: Visit) -> None:
    page = visit(digits, VERSION)
    wait_for_figures(page)
    page.get_by_role("group", name="Time").get_by_role("button", name="7 days").click()
    page.wait_for_url(re.compile("since="))

    page.go_back()

    page.wait_for_url(digits.address + VERSION)
    expect(page.get_by_role("button", name="30 days")).to_have_attribute("aria-pressed", "true")


def test_a_version_has_each_chart(digits: Site, visit: Visit) -> None:
    page = visit(digits, VERSION)
    wait_for_figures(page)
    page.get_by_label("Compare with").select_option("0")
    page.get_by_role("table", name="Version 1 beside version 0").wait_for()
    page.wait_for_load_state("networkidle")

    drawn = [text.strip() for text in page.locator("#view figcaption").all_inner_texts()]

    for label in (
        "Predictions by status",
        "Running the model (ms)",
        "Confidence",
        "Accuracy over time",
        "Accuracy of each version, of all time, with its 95 % interval",
        "Calibration",
    ):
        assert any(text.startswith(label) for text in drawn), (label, drawn)
    expect(page.get_by_role("table", name="Latency overall")).to_contain_text("p99")
    expect(page.get_by_role("list", name="Share of each label over time")).to_be_visible()
    expect(page.get_by_role("region", name="Drift", exact=True)).to_contain_text("threshold")


def test_a_chart_has_a_table_behind_it(digits: Site, visit: Visit) -> None:
    page = visit(digits, VERSION)
    wait_for_figures(page)
    charts = page.locator("#view figure.chart")
    expect(charts.nth(4)).to_be_visible()
    page.wait_for_load_state("networkidle")

    for chart in charts.all():
        summary = chart.locator("summary")
        expect(summary).to_have_count(1)
        summary.focus()
        page.keyboard.press("Enter")
        expect(chart.get_by_role("row").nth(1)).to_be_visible()


def test_a_regression_has_errors_in_place_of_a_confusion_matrix(patients: Site, visit: Visit) -> None:
    page = visit(patients, "/console/models/diabetes/1")

    with patients.api() as api:
        found = api.get("/models/diabetes/versions/1/performance").json()["regression"]["mae"]
    accuracy = page.get_by_role("region", name="Accuracy").first
    expect(accuracy).to_contain_text("MAE")
    expect(accuracy).to_contain_text(f"{found:.2f}"[:4])


def test_a_model_that_was_never_served_is_named_in_the_refusal(digits: Site, visit: Visit) -> None:
    page = visit(digits, "/console/models/mnist/9", expecting=("404",))

    expect(page.get_by_role("alert").first).to_contain_text("9")


def test_a_view_that_breaks_says_so_and_the_others_go_on(digits: Site, visit: Visit) -> None:
    page = visit(digits, "about:blank", expecting=("TypeError",))
    page.route(re.compile("//[^/]+/models$"), lambda route: route.fulfill(json={"models": [None]}), times=1)
    page.goto("/console/models")
    expect(page.get_by_role("alert").first).to_contain_text("broke")

    page.get_by_role("navigation").get_by_role("link", name="Import").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Import")
