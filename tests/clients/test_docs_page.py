"""The page at `/docs` in a real browser, which enforces its Content-Security-Policy."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ClientPython, ServeModel, run, token_of
from tests.support.repository import DIGIT, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.server]

SCRIPT = Path(__file__).with_name("browse_docs.py")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def browser() -> str:
    """The path of a browser that the system has."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser here: install one of {', '.join(BROWSERS)}")
    return found


@pytest.mark.parametrize("auth", ["off", "on"])
def test_a_person_predicts_from_the_page(
    serve_model: ServeModel, client_python: ClientPython, browser: str, tmp_path: Path, auth: str
) -> None:
    server = serve_model(ROOT / "model_artifacts" / "mnist", AUTH=auth)
    token = token_of(server, "anna") if auth == "on" else ""

    python = client_python("browser")
    seen: dict[str, Any] = json.loads(
        run(python, str(SCRIPT), server.address, browser, token, str(DIGIT), cwd=tmp_path)
    )

    assert seen["errors"] == []
    assert seen["authorize"] == (1 if auth == "on" else 0)
    assert seen["files"] == [1, 2]
    assert (seen["model"], seen["predicted"], seen["label"]) == (200, [201, 201], "7")
    assert (seen["input"], seen["width"]) == (200, 28)
    assert min(channels(seen["light"])) > 200
    assert max(channels(seen["dark"])) < 60


def channels(color: str) -> list[int]:
    """Return red, green and blue of `rgb(28, 32, 34)`; a page without a colour is white."""
    values = [int(value) for value in color.partition("(")[2].rstrip(")").split(",")]
    return [255] * 3 if values[3:] == [0] else values[:3]
