"""`local/events/` has an event for each route, as the gateway makes it."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from infra.build import function_folder
from local.gateway.routing import Router
from local.sample_events import FOLDER, USER, Request, sample_event, sample_files, wrong_files
from local.template import read_template

ROOT = Path(__file__).parents[2]
FUNCTIONS = read_template(ROOT / "template.yaml")
EVENTS = {name: json.loads(text) for name, text in sample_files().items()}
HTTP_EVENTS = {name: event for name, event in EVENTS.items() if "routeKey" in event}


def test_the_files_are_what_the_gateway_makes_of_the_requests() -> None:
    assert wrong_files(FOLDER) == []


def test_a_file_that_was_changed_added_or_removed_by_hand_is_named(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "stray.json").write_text("{}")
    (tmp_path / "docs.json").unlink()
    assert wrong_files(tmp_path) == ["docs.json", "model.json", "stray.json"]


def test_every_route_has_an_event_but_those_that_only_refuse_answer_head_or_take_a_trailing_slash() -> None:
    wanted = {
        route.key
        for function in FUNCTIONS
        for route in function.routes
        if route.path is not None
        and route.method not in {"ANY", "HEAD"}
        and (route.path == "/" or not route.path.endswith("/"))
    }
    assert {event["routeKey"] for event in HTTP_EVENTS.values()} == wanted


def test_every_function_that_no_route_calls_has_an_event() -> None:
    wanted = {function_folder(function.logical_id) for function in FUNCTIONS if not function.routes}
    assert {name.removesuffix(".json") for name in EVENTS.keys() - HTTP_EVENTS.keys()} == wanted


def test_the_image_arrives_as_the_bytes_of_the_sample() -> None:
    event = json.loads((FOLDER / "predict_raw.json").read_bytes())
    assert event["isBase64Encoded"]
    assert base64.b64decode(event["body"]) == (ROOT / "local" / "samples" / "mnist_sample.png").read_bytes()


def test_only_the_routes_that_ask_for_a_token_come_with_a_user() -> None:
    users = {
        name: event["requestContext"].get("authorizer", {}).get("jwt", {}).get("claims", {}).get("sub")
        for name, event in HTTP_EVENTS.items()
    }
    assert {name for name, user in users.items() if user is None} == {
        "console.json",
        "console_asset.json",
        "console_view.json",
        "describe.json",
        "docs.json",
        "docs_asset.json",
        "health.json",
        "openapi.json",
        "page.json",
        "v2.json",
        "v2_ready.json",
    }
    assert set(users.values()) == {None, USER}


def test_a_request_that_no_route_matches_has_no_event() -> None:
    router = Router((route, function) for function in FUNCTIONS for route in function.routes)
    with pytest.raises(LookupError, match="no route matches GET /nowhere"):
        sample_event(Request("GET", "/nowhere"), router)
