"""The Accept header decides as RFC 9110 says."""

import pytest

from functions.shared.api.negotiation import accepts, quality, require_accepts
from functions.shared.api.problems import Problem

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept", [None, "", "*/*", "application/json", "application/*", "text/html, */*;q=0.1", BROWSER]
)
def test_json_is_admitted(accept: str | None) -> None:
    assert accepts(accept, "application/json")


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/json;q=0", "*/*, application/json; q=0.0"])
def test_json_is_not_admitted(accept: str) -> None:
    with pytest.raises(Problem, match="application/json") as caught:
        require_accepts(accept)

    assert caught.value.status == 406


def test_a_browser_would_rather_have_html() -> None:
    assert quality(BROWSER, "text/html") > quality(BROWSER, "application/json") > 0


def test_the_most_exact_range_decides() -> None:
    assert quality("application/*;q=0.2, application/json;q=0.9, */*", "application/json") == pytest.approx(0.9)
