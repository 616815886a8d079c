"""The pictures of the console that the README shows: `make screenshots`. `make test-browser` does not take them."""

import io
import re
from collections.abc import Callable
from typing import Final

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.support.browsing import NARROW, Site, Visit
from tests.support.repository import DIGIT, ROOT

FOLDER: Final = ROOT / "docs" / "screenshots"
MOST_BYTES: Final = 60_000
WIDTH: Final = 960  # pixels of a picture; a window is as wide


def predict(page: Page) -> None:
    page.locator("input[type=file]").first.set_input_files(DIGIT)
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_text("Stored as").first).to_be_visible()


TRUTHS: Final = "inference_id,label\nscan 1061,3\nscan 1062,4\nscan 0001,7\nscan 0002,9\nscan 9999,2\nscan 1063,twelve"


def check_truths(page: Page) -> None:
    field = page.get_by_label("File of ground truths")
    field.set_input_files(FilePayload(name="truths.csv", mimeType="text/csv", buffer=TRUTHS.encode()))
    expect(page.get_by_role("button", name=re.compile("^Write"))).to_be_visible()
    page.get_by_role("heading", name="truths.csv").scroll_into_view_if_needed()
    page.mouse.wheel(0, 600)
    page.wait_for_timeout(300)


def look(page: Page) -> None:
    """Change nothing."""


PICTURES: Final[dict[str, tuple[str, Callable[[Page], None]]]] = {
    "predict": ("/console/predict", predict),
    "records": ("/console/records?model=mnist&version=1", look),
    "record": ("/console/record/{mistake}?correct=false", look),
    "review": ("/console/review?has_ground_truth=false&order=confidence", look),
    "model": ("/console/models/mnist/1", look),
    "import": ("/console/import", check_truths),
}


@pytest.mark.parametrize("name", PICTURES)
def test_take(digits: Site, visit: Visit, name: str) -> None:
    path, prepare = PICTURES[name]
    page = visit(digits, path.format(mistake=mistake(digits)), viewport={"width": WIDTH, "height": 720})
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    prepare(page)
    save(page, name)


@pytest.mark.parametrize("name", ["records"])
def test_take_in_the_dark_on_a_phone(digits: Site, visit: Visit, name: str) -> None:
    path, _ = PICTURES[name]
    page = visit(digits, path, viewport=NARROW, scheme="dark", device_scale_factor=2)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    save(page, f"{name}-phone")


def mistake(site: Site) -> str:
    """Return a record that was wrong."""
    with site.api() as api:
        found: str = api.get("/predictions", params={"correct": "false", "limit": 1}).json()["predictions"][0][
            "prediction_id"
        ]
    return found


def save(page: Page, name: str) -> None:
    """Write what the window shows as WebP."""
    page.wait_for_load_state("networkidle")
    expect(page.locator("#view").get_by_text(re.compile(r"^Loading"))).to_have_count(0)
    page.eval_on_selector_all("#view img", "all => Promise.all(all.map((one) => one.decode().catch(() => null)))")
    page.wait_for_timeout(500)  # for what is drawn when it is in sight
    page.mouse.move(0, 0)
    taken = Image.open(io.BytesIO(page.screenshot()))
    FOLDER.mkdir(exist_ok=True)
    for quality in range(85, 30, -5):
        file = io.BytesIO()
        taken.save(file, "webp", quality=quality, method=6)
        if file.tell() < MOST_BYTES:
            break
    assert file.tell() < MOST_BYTES
    (FOLDER / f"{name}.webp").write_bytes(file.getvalue())
