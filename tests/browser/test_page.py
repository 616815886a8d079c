"""The page at `/` is small, loads nothing from elsewhere, writes no markup, and calls only routes that exist."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from functions.describe.pages import html_page

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "functions" / "describe"
PAGE = (FOLDER / "page.html").read_text("utf-8")

# FastAPI leaves these two out of the document that they serve.
UNDOCUMENTED = {"/docs", "/openapi.json"}

MARKUP_WRITERS = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "setHTMLUnsafe",
    "createContextualFragment",
    "DOMParser",
    "srcdoc",
    "document.write",
    "eval(",
    "new Function",
)


class _Elements(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements() -> list[tuple[str, dict[str, str | None]]]:
    parser = _Elements()
    parser.feed(PAGE)
    return parser.found


def called_urls() -> list[str]:
    """Every absolute path that the page links to or that its script names, `${...}` left as it is."""
    paths = re.findall(r'["`](/[a-z][^"`]*)["`]', PAGE)
    return [path for path in paths if not path.startswith("/features/")]  # a JSON pointer


def documented() -> dict[str, dict[str, dict[str, list[dict[str, str]]]]]:
    paths: dict[str, dict[str, dict[str, list[dict[str, str]]]]]
    paths = json.loads((FOLDER / "openapi.json").read_text("utf-8"))["paths"]
    return paths


def policy(name: str) -> dict[str, str]:
    """Return the directives of a page's Content-Security-Policy."""
    header = html_page(name).headers["content-security-policy"]
    return dict(directive.split(maxsplit=1) for directive in header.split("; "))


def template_of(url: str) -> str:
    """Return a URL's path as the OpenAPI document writes it."""
    return re.sub(r"\$\{\w+\.(\w+)\}", r"{\1}", url.partition("?")[0])


def test_the_page_is_smaller_than_20_kb() -> None:
    assert len(PAGE.encode()) < 20_000


def test_nothing_is_loaded_from_another_host() -> None:
    assert not re.findall(r"\w+://\S*", PAGE)
    assert not re.findall(r"""["'`(=]\s*//\S+""", PAGE)  # whose scheme would be the page's own


def test_the_page_is_one_file() -> None:
    loading = [(tag, attributes) for tag, attributes in elements() if attributes.get("src")]
    links = [attributes["href"] for tag, attributes in elements() if tag == "link"]

    assert not loading
    assert links == ["data:,"]  # no icon
    assert "@import" not in PAGE
    assert "url(" not in PAGE


def test_the_browser_is_told_to_load_nothing_from_another_host() -> None:
    directives = policy("page.html")

    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    sources = {source for sources in directives.values() for source in sources.split()}
    assert {source for source in sources if not source.startswith("'sha256-")} <= {
        "'none'", "'self'", "blob:", "data:"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["page.html", "docs.html"])
def test_no_other_site_frames_a_page_and_only_its_own_scripts_run(name: str) -> None:
    directives = policy(name)
    scripts = re.findall(r"<script>(.*?)</script>", (FOLDER / name).read_text("utf-8"), re.DOTALL)
    assert len(scripts) == 1
    digest = b64encode(sha256(scripts[0].encode()).digest()).decode()

    assert set(directives["script-src"].split()) - {"'self'"} == {f"'sha256-{digest}'"}
    for directive in ("default-src", "frame-ancestors", "base-uri", "form-action"):
        assert directives[directive] == "'none'"
    assert html_page(name).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["page.html", "docs.html"])
def test_a_page_has_nothing_inline_that_its_policy_forbids(name: str) -> None:
    page = (FOLDER / name).read_text("utf-8")
    assert not re.findall(r"<[^>]*\s(?:on\w+|style)=", page)
    assert "javascript:" not in page


@pytest.mark.parametrize("name", MARKUP_WRITERS)
def test_what_the_server_says_cannot_become_markup(name: str) -> None:
    assert name not in PAGE


def test_every_url_that_the_page_calls_is_a_route() -> None:
    called = {template_of(url) for url in called_urls()}

    assert called >= {"/model", "/prediction", "/predictions", "/prediction/{prediction_id}/input", "/docs", "/health"}
    assert called <= {*documented(), *UNDOCUMENTED}


def test_every_query_that_the_page_sends_is_one_that_the_route_takes() -> None:
    asked = {
        (template_of(url), pair.partition("=")[0])
        for url in called_urls()
        for pair in url.partition("?")[2].split("&")
        if pair
    }
    taken = {
        (path, parameter["name"])
        for path in documented()
        for parameter in documented()[path].get("get", {}).get("parameters", [])
    }

    assert asked == {("/predictions", "limit")}
    assert asked <= taken


def test_every_field_has_a_label() -> None:
    labelled = {attributes.get("for") for tag, attributes in elements() if tag == "label"}
    fields = {attributes.get("id") for tag, attributes in elements() if tag in {"input", "select", "textarea"}}

    assert fields
    assert fields <= labelled


def test_the_script_finds_every_element_that_it_asks_for() -> None:
    there = {attributes["id"] for _, attributes in elements() if "id" in attributes}

    assert set(re.findall(r'\$\("([^"]+)"\)', PAGE)) - {"feature-all"} <= there
