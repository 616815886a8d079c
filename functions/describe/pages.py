"""Serve the OpenAPI document and the page that shows it, from files in the function's package."""

from functools import cache
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from functions.shared.api.problems import Problem

router = APIRouter(tags=["description"])

HERE: Final = Path(__file__).parent

DOCS_ASSETS: Final = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
"""What the page at `/docs` loads. The function serves it, so that the page works without a content delivery network."""


@router.get("/openapi.json", include_in_schema=False)
async def openapi() -> Response:
    """The OpenAPI 3.1 document of all routes, generated from the code."""
    return Response((HERE / "openapi.json").read_bytes(), media_type="application/json")


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """An interactive page that shows the OpenAPI document."""
    return HTMLResponse((HERE / "docs.html").read_text("utf-8"))


@router.get("/docs/{asset}", include_in_schema=False)
async def docs_asset(asset: str) -> Response:
    """A style sheet or a script of the page at `/docs`."""
    if asset not in DOCS_ASSETS:
        raise Problem(HTTPStatus.NOT_FOUND, f"This path serves {' and '.join(DOCS_ASSETS)} only.")
    content = (_assets() / asset).read_bytes()
    return Response(content, media_type=DOCS_ASSETS[asset], headers={"Cache-Control": "public, max-age=86400"})


@cache
def _assets() -> Path:
    # Find the package without importing it: the import would cost start-up time and give nothing.
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("fastapi_offline is not installed")
    return Path(spec.origin).parent / "static"
