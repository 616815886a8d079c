"""The console as it is served: what its page may do, what it loads, and how much that weighs. No browser is needed."""

import gzip
import hashlib
import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import pytest

from tests.support.repository import ROOT

pytestmark = pytest.mark.slow

DESCRIBE: Final = ROOT / "functions" / "describe"
CONSOLE: Final = DESCRIBE / "console"
OWN: Final = sorted(path for path in CONSOLE.rglob("*.js") if "vendor" not in path.parts)
MOST_BYTES: Final = 80_000
"""Of the first view of a browser that has nothing of it yet, compressed."""

FIRST_VIEW: Final = "views/predict.js"
PAGES: Final = ("/", "/console", "/console/", "/console/records?label=7&order=confidence", "/console/record/0190")

IMPORT: Final = re.compile(r"""^(?:import|export)\b[^;]*?\bfrom\s*["']([^"']+)["']""", re.MULTILINE)

EXPORT: Final = re.compile(
    r"^export\s+(?:async\s+)?(?:function\*?|const|let|class)\s+([\w$]+)|^export\s*\{([^}]*)\}", re.MULTILINE
)
"""A name that a module exports, or several."""

NAMED_IMPORT: Final = re.compile(r"""\{([^{}]*)\}\s*(?:from\s*|=\s*await\s+import\(\s*)["']([^"']+)["']""")
"""The names that a module, or a test in its Python, imports, and from where."""

CALLED: Final = re.compile(
    r"""(?:\b(?:get|blob|pages|inParts)\(\s*|\bsend\([^,]+,\s*|\bhref=|\bpath\s*=\s*(?:\([^)]*\)\s*=>\s*)?)["`](/[^"`\s]*)["`]"""
)
"""The paths that a module calls, links to, or calls `path`."""

MARKUP_WRITERS: Final = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "setHTML",
    "setHTMLUnsafe",
    "dangerouslySetInnerHTML",
    "createContextualFragment",
    "DOMParser",
    "srcdoc",
    "document.write",
    "eval(",
    "new Function",
    "javascript:",
)

# FastAPI leaves these out of the document that they serve.
UNDOCUMENTED: Final = {"/docs", "/openapi.json"}


class _Elements(HTMLParser):
    """Collects the elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._in_script = tag == "script" and "src" not in dict(attrs)

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"


def page(api: httpx.Client, path: str = "/console") -> httpx.Response:
    answer = api.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return answer


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    """Return the sources of each directive of a page's Content-Security-Policy."""
    directives = (directive.split() for directive in answer.headers["content-security-policy"].split("; "))
    return {name: sources for name, *sources in directives}


def loaded(answer: httpx.Response) -> list[str]:
    """Return the URLs of everything that the page itself loads."""
    elements = _Elements(answer.text).found
    urls = [
        attributes.get("src") or attributes.get("href") for tag, attributes in elements if tag in {"script", "link"}
    ]
    return [url for url in urls if url and url != "data:,"]  # no icon


def import_map(answer: httpx.Response) -> dict[str, str]:
    """Return where each module is, by the name that others import it by."""
    (text,) = _Elements(answer.text).scripts
    imports: dict[str, str] = json.loads(text)["imports"]
    return imports


def source(path: Path) -> str:
    return path.read_text("utf-8")


@pytest.mark.parametrize("path", PAGES)
def test_every_view_is_the_same_page(api: httpx.Client, path: str) -> None:
    answer = page(api, path)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text == page(api).text


@pytest.mark.parametrize("path", PAGES)
def test_the_page_may_load_from_its_own_server_only(api: httpx.Client, path: str) -> None:
    answer = page(api, path)
    directives = policy(answer)

    for directive in ("default-src", "frame-ancestors", "base-uri", "form-action"):
        assert directives[directive] == ["'none'"]
    assert directives["connect-src"] == ["'self'"]
    assert directives["style-src"] == ["'self'"]
    assert set(directives["img-src"]) <= {"'self'", "blob:", "data:"}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_one_script_in_the_page_is_the_import_map_whose_hash_the_policy_has(api: httpx.Client) -> None:
    answer = page(api)
    (text,) = _Elements(answer.text).scripts

    own, digest = policy(answer)["script-src"]

    assert own == "'self'"
    assert b64decode(digest.removeprefix("'sha256-").removesuffix("'")) == hashlib.sha256(text.encode()).digest()
    assert ("script", {"type": "importmap"}) in _Elements(answer.text).found


def test_the_page_has_nothing_inline_that_its_policy_forbids(api: httpx.Client) -> None:
    elements = _Elements(page(api).text).found

    assert "style" not in {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on") or name == "style"]


def test_what_the_page_loads_is_cached_for_ever_under_a_name_with_its_hash(api: httpx.Client) -> None:
    answer = page(api)
    urls = {*loaded(answer), *import_map(answer).values()}
    assert {path.relative_to(CONSOLE).as_posix() for path in OWN} <= {
        re.sub(r"\.[0-9a-f]{16}(?=\.js$)", "", url).removeprefix("/assets/") for url in urls
    }

    for url in urls:
        file = api.get(url)
        assert file.status_code == 200, url
        assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["content-type"].startswith("text/css" if url.endswith(".css") else "text/javascript")
        (told,) = re.findall(r"\.([0-9a-f]{16,64})\.", url)
        assert hashlib.sha256(file.content).hexdigest().startswith(told)


def test_what_the_page_loads_is_compressed_for_who_takes_it(api: httpx.Client) -> None:
    url = import_map(page(api))["preact"]

    plain = api.get(url, headers={"accept-encoding": "identity"})
    packed = api.get(url, headers={"accept-encoding": "br, gzip;q=0.5"})
    refused = api.get(url, headers={"accept-encoding": "gzip;q=0"})

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.content == plain.content == refused.content  # httpx has unpacked it
    assert "content-encoding" not in refused.headers
    assert {one.headers["vary"] for one in (plain, packed, refused)} == {"Accept-Encoding"}


@pytest.mark.parametrize(
    "path", ["app.js", "app.0000000000000000.js", "shell.html", "../pages.py", "vendor/vendor.json", ""]
)
def test_nothing_else_is_served_there(api: httpx.Client, path: str) -> None:
    assert api.get(f"/assets/{path}").status_code == 404


def test_a_cold_browser_gets_its_first_view_in_less_than_80_kb(api: httpx.Client) -> None:
    answer = page(api)
    modules = import_map(answer)
    wanted = {*loaded(answer), *reached(api, modules, urljoin("/assets/", FIRST_VIEW))}

    weights = {url: len(gzip.compress(api.get(url).content)) for url in wanted}
    weights["the page"] = len(answer.content)

    assert sum(weights.values()) < MOST_BYTES, weights


def reached(api: httpx.Client, modules: dict[str, str], first: str) -> set[str]:
    """Return the URLs of a module and of all that it imports."""
    found: dict[str, str] = {first: modules[first]}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        text = api.get(modules[name]).text
        for imported in IMPORT.findall(text):
            joined = urljoin(name, imported) if imported.startswith(".") else imported
            if joined not in found:
                found[joined] = modules[joined]
                waiting.append(joined)
    return set(found.values())


def test_every_import_is_of_a_file_that_is_there(api: httpx.Client) -> None:
    modules = import_map(page(api))
    missing = {
        (path.name, imported)
        for path in OWN
        for imported in IMPORT.findall(source(path))
        if urljoin(f"/assets/{path.relative_to(CONSOLE).as_posix()}", imported) not in modules
        and imported not in modules
    }

    assert missing == set()


def names_of(listed: str) -> set[str]:
    """Return the names in the braces of an import or export, as the module has them that exports them."""
    return {name.split()[0] for name in listed.split(",") if name.strip()}


def used(path: Path, asset: str) -> set[tuple[str, str]]:
    """Return each name that a file imports, after the module that has it. `asset` is the URL of the file."""
    return {
        (urljoin(asset, imported), name)
        for listed, imported in NAMED_IMPORT.findall(source(path))
        for name in names_of(listed)
    }


def test_what_is_exported_is_what_another_module_or_a_test_imports() -> None:
    tests = [
        path for folder in ("browser", "console", "benchmarks") for path in (ROOT / "tests" / folder).rglob("*.py")
    ]
    imported = {name for path in tests for name in used(path, "/assets/")}
    exported = set()
    own = set()
    for path in OWN:
        asset = f"/assets/{path.relative_to(CONSOLE).as_posix()}"
        own.add(asset)
        imported |= {name for name in used(path, asset) if name[0] != asset}
        for one, several in EXPORT.findall(source(path)):
            exported |= {(asset, name) for name in ({one} if one else names_of(several))}

    assert ("/assets/html.js", "html") in exported & imported
    assert exported == {(asset, name) for asset, name in imported if asset in own}


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(CONSOLE).as_posix())
def test_a_module_names_no_other_host_and_writes_no_markup(path: Path) -> None:
    text = source(path)

    assert [writer for writer in MARKUP_WRITERS if writer in text] == []
    assert [url for url in re.findall(r"\w+://\S*", text) if "www.w3.org" not in url] == []  # a namespace
    assert not re.findall(r"""["'`(=]\s*//\w\S+""", text)  # whose scheme would be the page's own


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.relative_to(CONSOLE).as_posix())
def test_every_url_that_a_module_calls_or_links_to_is_a_route_or_the_beginning_of_one(path: Path) -> None:
    routes = [parts_of(re.sub(r"\{[^}]*\}", "{}", route)) for route in (*documented(), *UNDOCUMENTED)]
    called = {
        re.sub(r"\$\{[^}]*\}", "{}", url.partition("?")[0])
        for url in CALLED.findall(source(path))
        if not url.startswith(("/console", "/assets"))
    }

    assert {url for url in called if not any(route[: len(parts_of(url))] == parts_of(url) for route in routes)} == set()


def test_the_calls_are_found() -> None:
    found = {url for path in OWN for url in CALLED.findall(source(path))}
    assert {"/model", "/models", "/predictions", "/statistics", "/docs"} <= found


def parts_of(path: str) -> list[str]:
    return path.strip("/").split("/")


def documented() -> dict[str, Any]:
    paths: dict[str, Any] = json.loads((DESCRIBE / "openapi.json").read_text("utf-8"))["paths"]
    return paths


def test_the_style_sheet_loads_nothing() -> None:
    style = source(CONSOLE / "style.css")

    assert "@import" not in style
    assert [url for url in re.findall(r"url\(([^)]*)\)", style) if not url.strip("\"'").startswith("data:")] == []


def test_the_page_of_the_documents_runs_its_own_scripts_only(api: httpx.Client) -> None:
    answer = page(api, "/docs")
    directives = policy(answer)
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    own, digest = directives["script-src"]

    assert own == "'self'"
    assert b64decode(digest.removeprefix("'sha256-").removesuffix("'")) == hashlib.sha256(script.encode()).digest()
    for directive in ("default-src", "frame-ancestors", "base-uri", "form-action"):
        assert directives[directive] == ["'none'"]
    assert not re.findall(r"<[^>]*\s(?:on\w+|style)=", answer.text)
    assert "javascript:" not in answer.text


def test_the_pictures_of_the_console_are_small_and_in_the_readme() -> None:
    shown = set(re.findall(r"docs/screenshots/[\w-]+\.webp", source(ROOT / "README.md")))
    there = {path: path.stat().st_size for path in (ROOT / "docs" / "screenshots").iterdir()}

    assert shown == {path.relative_to(ROOT).as_posix() for path in there}
    assert max(there.values()) < 60_000
