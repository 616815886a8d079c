"""Serve the HTML pages and what they load, from files in the function's package."""

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from functions.describe.console_files import PREFIX, by_url, shell
from functions.describe.environment import environment
from functions.shared.api.negotiation import quality
from functions.shared.api.problems import Problem

router = APIRouter(tags=["description"])

HERE: Final = Path(__file__).parent

# A browser takes a file for what its content type says, and for nothing else.
NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}
"""A header."""

# `style` and `script` are elements of the page itself: their hashes stand for them.
_POLICIES: Final = {
    # Swagger UI writes style attributes, which no hash can stand for, and shows an image that it has got as a blob.
    "docs.html": (
        "style-src 'self' 'unsafe-inline'; script-src 'self' {script}; connect-src 'self'; img-src 'self' blob: data:"
    ),
}
_NOTHING_ELSE: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_INLINE: Final = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)

DOCS_ASSETS: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
"""What the page at `/docs` loads. The function serves it, so that the page works without a content delivery network."""


@router.get("/console", include_in_schema=False)
@router.get("/console/{view:path}", include_in_schema=False)
async def console() -> HTMLResponse:
    """The console. What of it is shown, the browser decides by the URL."""
    return console_page()


@router.get("/assets/{name:path}", include_in_schema=False)
async def console_asset(request: Request, name: str) -> Response:
    """A file of the console. Its name has its hash, so it is the same for ever."""
    file = by_url().get(PREFIX + name)
    if file is None:
        raise Problem(HTTPStatus.NOT_FOUND, "This path serves the files of the console, under the names in its page.")
    headers = NOSNIFF | {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    accept = request.headers.get("accept-encoding", "").strip()
    if accept and quality(accept, "gzip") > 0:
        return Response(file.compressed, media_type=file.media_type, headers=headers | {"Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.media_type, headers=headers)


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """An interactive page that shows the OpenAPI document."""
    return html_page("docs.html")


@router.get("/docs/{asset}", include_in_schema=False)
async def docs_asset(asset: str) -> Response:
    """A style sheet or a script of the page at `/docs`."""
    if asset not in DOCS_ASSETS:
        raise Problem(HTTPStatus.NOT_FOUND, f"This path serves {' and '.join(DOCS_ASSETS)} only.")
    content = (_assets() / asset).read_bytes()
    return Response(
        content, media_type=DOCS_ASSETS[asset], headers=NOSNIFF | {"Cache-Control": "public, max-age=86400"}
    )


def console_page(headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """Return the page that every view of the console is shown in.

    Parameters
    ----------
    headers
        More headers.
    """
    env = environment()
    return _page(*shell(env.sign_in, env.sending, env.connections), headers)


def html_page(name: str) -> HTMLResponse:
    """Return a page that runs its own scripts only, calls this server only, and is part of no other page.

    Parameters
    ----------
    name
        The file: `docs.html`.
    """
    return _page(*_read(name))


def _page(content: str, policy: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(content, headers={**NOSNIFF, "Content-Security-Policy": policy, **(headers or {})})


@cache
def _read(name: str) -> tuple[str, str]:
    """Return a page and its Content-Security-Policy (W3C, "Content Security Policy Level 3")."""
    content = (HERE / name).read_text("utf-8")
    hashes = {
        element: f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        for element, text in _INLINE.findall(content)
    }
    return content, f"{_NOTHING_ELSE}; {_POLICIES[name].format(**hashes)}"


@cache
def _assets() -> Path:
    # Find the package without importing it: the import would cost start-up time and give nothing.
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("fastapi_offline is not installed")
    return Path(spec.origin).parent / "static"
