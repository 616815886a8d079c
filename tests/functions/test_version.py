"""The project has one name and one version, wherever somebody reads them."""

import tomllib

import httpx

from tests.support.repository import ROOT


def test_the_project_its_api_and_its_openapi_document_have_one_name_and_one_version(api: httpx.Client) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    served = api.get("/").json()
    documented = api.get("/openapi.json").json()["info"]

    assert (served["name"], served["version"]) == (project["name"], project["version"])
    assert (documented["title"], documented["version"]) == (project["name"], project["version"])
