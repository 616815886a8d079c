"""Reading functions and routes from a SAM template."""

from pathlib import Path

import pytest

from local.errors import CannotServeError
from local.settings import ROOT
from local.template import Function, Route, read_template
from tests.support.local_server import PROJECT


@pytest.fixture
def functions() -> dict[str, Function]:
    return {function.logical_id: function for function in read_template(PROJECT / "template.yaml")}


def read(folder: Path, text: str) -> tuple[Function, ...]:
    path = folder / "template.yaml"
    path.write_text(text)
    return read_template(path)


def test_functions_are_read_with_what_globals_say_of_all(functions: dict[str, Function]) -> None:
    assert set(functions) == {"Echo", "Behave", "Sleep", "Unreachable"}
    echo, behave = functions["Echo"], functions["Behave"]
    assert (echo.name, echo.handler, echo.timeout, echo.memory) == ("echo-function", "handlers.echo", 5, 256)
    assert (behave.name, behave.timeout, behave.memory) == ("Behave", 1, 256)


def test_variables_are_joined_with_those_of_all_and_references_resolved(functions: dict[str, Function]) -> None:
    assert functions["Echo"].environment == {
        "GREETING": "hello",  # a parameter's default
        "SECRET": None,  # a parameter without a default
        "ADDRESS": None,  # a value that only CloudFormation knows
        "COUNT": "3",
        "FLAG": "true",
    }


def test_routes_are_the_httpapi_events(functions: dict[str, Function]) -> None:
    assert [route.key for route in functions["Echo"].routes] == [
        "ANY /echo",
        "HEAD /echo",
        "GET /echo/{name}",
        "GET /echo/{rest+}",
    ]
    assert functions["Unreachable"].routes == ()


def test_an_event_without_path_and_method_is_the_default_route(tmp_path: Path) -> None:
    (function,) = read(
        tmp_path,
        """
        Resources:
          F:
            Type: AWS::Serverless::Function
            Properties: {Handler: f.handler, Events: {All: {Type: HttpApi}, Topic: {Type: SNS}}}
        """,
    )
    assert function.routes == (Route("ANY", None),)
    assert function.routes[0].key == "$default"
    assert (function.timeout, function.memory) == (3, 128)  # Lambda's defaults


@pytest.mark.parametrize(
    ("text", "problem"),
    [("Resources: [", "while parsing a flow node"), ("- a list", "it is not a SAM template: it has no Resources")],
)
def test_what_is_no_template_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(CannotServeError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'template.yaml'}: {problem}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ("{}", "Handler must be package.module.function"),
        ("{Handler: f.g, Timeout: soon}", "Timeout must be a number above 0"),
        (
            "{Handler: f.g, Events: {E: {Type: HttpApi, Properties: {Path: x, Method: GET}}}}",
            "an HttpApi event needs both a Path that starts with / and a Method, or neither",
        ),
    ],
)
def test_a_function_that_cannot_be_served_is_named(tmp_path: Path, properties: str, problem: str) -> None:
    with pytest.raises(CannotServeError) as raised:
        read(tmp_path, f"Resources: {{F: {{Type: 'AWS::Serverless::Function', Properties: {properties}}}}}")
    assert str(raised.value) == f"{tmp_path / 'template.yaml'}: F: {problem}"


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotServeError, match=r"other\.yaml: No such file or directory"):
        read_template(tmp_path / "other.yaml")


def test_the_projects_own_template_has_a_route_for_every_line_of_the_contract() -> None:
    routes = {route.key for function in read_template(ROOT / "template.yaml") for route in function.routes}
    assert routes >= {
        "POST /prediction",
        "GET /predictions",
        "GET /prediction/{prediction_id}",
        "GET /prediction/{prediction_id}/input",
        "GET /",
        "GET /model",
        "GET /health",
        "GET /openapi.json",
        "GET /docs",
    }
