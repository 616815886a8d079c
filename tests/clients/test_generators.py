"""Clients that generators make from `/openapi.json` work without a hand edit."""

from pathlib import Path

import httpx
import pytest

from tests.clients.conftest import ClientPython, ServeModel, run
from tests.support.repository import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.server]

DIGITS = ROOT / "model_artifacts" / "mnist"


def test_openapi_python_client_reads_the_document(
    serve_model: ServeModel, client_python: ClientPython, tmp_path: Path
) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(httpx.get(f"{serve_model(DIGITS).address}/openapi.json").raise_for_status().content)

    python, folder = client_python("generators"), str(tmp_path / "client")
    command = ("-m", "openapi_python_client", "generate", "--path", str(document), "--output-path", folder)
    run(python, *command, cwd=tmp_path)
