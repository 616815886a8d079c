"""template.yaml and the nested stacks: what a deployment would make, for every way to deploy that there is."""

import json
import re
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import pytest

from functions.migrate.function_users import FUNCTION_USERS
from functions.rollup.metrics import DIMENSIONS, OF_ALL
from functions.shared.api.scopes import RESOURCE_SERVER, Scope
from functions.shared.prediction.deletion import LONGEST_WITHOUT_A_ROW
from functions.shared.settings import (
    DeleteSettings,
    DescribeSettings,
    FunctionSettings,
    GetSettings,
    InferSettings,
    LedgerSettings,
    PredictSettings,
    RollupSettings,
    SweepSettings,
    UploadSettings,
    WorkerSettings,
)
from local.gateway.routing import Router
from local.template import Route
from tests.support.stack import REGION, ROOT, SHAPES, Stack, read, translated

pytestmark = pytest.mark.slow

SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:ledger-a1b2c3"

WAYS = {
    "aurora": {},
    "aurora-behind-a-proxy": {"DatabaseProxy": "true", "SignInAddresses": "https://ledger.example.org"},
    "a-database-of-ones-own": {"DatabaseSecretArn": SECRET},
    "a-database-in-a-network-of-ones-own": {
        "DatabaseSecretArn": SECRET,
        "SubnetIds": "subnet-1,subnet-2",
        "SecurityGroupIds": "sg-1",
    },
    "everything-else-different": {
        "Model": "s3://models/iris/3",
        "Issuer": "https://login.example.org/",
        "Audience": "ledger,console",
        "SignInClientId": "console",
        "SignInScope": "openid offline_access",
        "SignInOrigins": "https://tokens.example.org,https://keys.example.org",
        "CorsOrigins": "https://console.example.org,https://example.org",
        "Architecture": "arm64",
        "SnapStart": "None",
        "TrafficShifting": "AllAtOnce",
        "ReservedConcurrency": "50",
        "AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:alarms",
        "DeletionProtection": "false",
        "Asynchronous": "false",
        "KeepInputsInS3": "true",
        "QuotaPredictionsPerHour": "1000",
        "QuotaStoredMegabytes": "500",
        "QuotaQueuedPredictions": "100",
        "QuotaOpenUploads": "10",
        "AccuracyAlarm": "0.95",
        "FailureShareAlarm": "0.01",
        "DriftAlarm": "2",
    },
}

API: dict[str, type[FunctionSettings]] = {
    "PredictFunction": PredictSettings,
    "InferFunction": InferSettings,
    "ListPredictionsFunction": FunctionSettings,
    "GetPredictionFunction": GetSettings,
    "DescribeFunction": DescribeSettings,
    "UploadFunction": UploadSettings,
    "DeletePredictionsFunction": DeleteSettings,
    "GroundTruthFunction": FunctionSettings,
    "StatisticsFunction": FunctionSettings,
}
"""What each function of the API reads."""

ASYNCHRONOUS: dict[str, type[LedgerSettings]] = {"WorkerFunction": WorkerSettings}
"""What the function reads that is there only for asynchronous predictions."""

SETTINGS: dict[str, type[LedgerSettings]] = {
    **API,
    **ASYNCHRONOUS,
    "SweepFunction": SweepSettings,
    "RollupFunction": RollupSettings,
}

USERS = {
    "PredictFunction": "ledger_writer",
    "InferFunction": "ledger_writer",
    "WorkerFunction": "ledger_writer",
    "UploadFunction": "ledger_uploader",
    "ListPredictionsFunction": "ledger_reader",
    "GetPredictionFunction": "ledger_reader",
    "StatisticsFunction": "ledger_reader",
    "DescribeFunction": "ledger_reader",
    "SweepFunction": "ledger_eraser",
    "RollupFunction": "ledger_roller",
    "DeletePredictionsFunction": "ledger_eraser",
    "GroundTruthFunction": "ledger_judge",
}
"""As whom each function logs in to the ledger."""

READ_ELSEWHERE = {"LOG_LEVEL"}
"""What functions read without it being a setting: for the log."""


def with_head(routes: dict[str, str]) -> dict[str, str]:
    """Add a HEAD route for each GET route: HEAD goes where GET goes, with the same authorizer."""
    return routes | {f"HEAD{key[3:]}": function for key, function in routes.items() if key.startswith("GET ")}


WITH_A_TOKEN = with_head(
    {
        "POST /prediction": "PredictFunction",
        "POST /predictions": "PredictFunction",
        "POST /v2/models/{name}/infer": "InferFunction",
        "POST /v2/models/{name}/versions/{version}/infer": "InferFunction",
        "POST /v1/models/{name}": "InferFunction",
        "GET /v2/models/{rest+}": "DescribeFunction",
        "GET /v1/models": "DescribeFunction",
        "GET /v1/models/{rest+}": "DescribeFunction",
        "POST /upload": "UploadFunction",
        "GET /predictions": "ListPredictionsFunction",
        "GET /prediction/{prediction_id}": "GetPredictionFunction",
        "GET /prediction/{prediction_id}/input": "GetPredictionFunction",
        "GET /prediction/{prediction_id}/output/{name+}": "GetPredictionFunction",
        "GET /model": "DescribeFunction",
        "DELETE /prediction/{prediction_id}": "DeletePredictionsFunction",
        "DELETE /predictions": "DeletePredictionsFunction",
        "GET /deletion/{deletion_id}": "DeletePredictionsFunction",
        "PUT /prediction/{prediction_id}/ground_truth": "GroundTruthFunction",
        "GET /prediction/{prediction_id}/ground_truth": "GroundTruthFunction",
        "DELETE /prediction/{prediction_id}/ground_truth": "GroundTruthFunction",
        "POST /ground_truth": "GroundTruthFunction",
        "GET /statistics": "StatisticsFunction",
        "GET /models": "StatisticsFunction",
        "GET /models/{name}/versions/{version}/performance": "StatisticsFunction",
        "GET /models/{name}/versions/{version}/drift": "StatisticsFunction",
    }
)

WITHOUT_A_TOKEN = with_head(
    {
        "GET /": "DescribeFunction",
        "GET /health": "DescribeFunction",
        "GET /openapi.json": "DescribeFunction",
        "GET /docs": "DescribeFunction",
        "GET /docs/{asset}": "DescribeFunction",
        "GET /console": "DescribeFunction",
        "GET /console/{view+}": "DescribeFunction",
        "GET /assets/{name+}": "DescribeFunction",
        "GET /v2": "DescribeFunction",
        "GET /v2/health/{rest+}": "DescribeFunction",
    }
)

WRONG_METHODS = {
    "ANY /": "DescribeFunction",
    "ANY /prediction": "PredictFunction",
    "ANY /predictions": "ListPredictionsFunction",
    "ANY /upload": "UploadFunction",
    "ANY /prediction/{prediction_id}": "GetPredictionFunction",
    "ANY /prediction/{prediction_id}/input": "GetPredictionFunction",
    "ANY /prediction/{prediction_id}/output/{name+}": "GetPredictionFunction",
    "ANY /deletion/{deletion_id}": "DeletePredictionsFunction",
    "ANY /prediction/{prediction_id}/ground_truth": "GroundTruthFunction",
    "ANY /ground_truth": "GroundTruthFunction",
    "ANY /statistics": "StatisticsFunction",
    "ANY /models": "StatisticsFunction",
    "ANY /models/{name}/versions/{version}/performance": "StatisticsFunction",
    "ANY /models/{name}/versions/{version}/drift": "StatisticsFunction",
    "ANY /model": "DescribeFunction",
    "ANY /health": "DescribeFunction",
    "ANY /openapi.json": "DescribeFunction",
    "ANY /docs": "DescribeFunction",
    "ANY /console": "DescribeFunction",
    "ANY /console/{view+}": "DescribeFunction",
    "ANY /v2": "DescribeFunction",
    "ANY /v2/{rest+}": "DescribeFunction",
    "ANY /v1/{rest+}": "DescribeFunction",
}


def deployed(way: str) -> Stack:
    return Stack.deployed(**WAYS[way])


@pytest.fixture(params=WAYS)
def stack(request: pytest.FixtureRequest) -> Stack:
    """The stack, deployed in each way."""
    return deployed(request.param)


@pytest.fixture
def aurora() -> Stack:
    """The stack, deployed without saying anything."""
    return deployed("aurora")


def there(stack: Stack) -> set[str]:
    """Return the functions that use the ledger, as far as the stack has them."""
    return SETTINGS.keys() & stack.resources.keys()


def with_slashes(routes: dict[str, str]) -> dict[str, str]:
    """Add the same routes with a trailing slash.

    The root has one, an asset is a file, and a greedy variable takes it.
    """
    without = ("/", "{asset}", "+}")
    slashed = {f"{key}/": function for key, function in routes.items() if not key.endswith(without)}
    return routes | slashed


def operations(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return what the API does, by route key."""
    paths = stack.resources["HttpApi"]["Properties"]["Body"]["paths"]
    return {
        f"{'ANY' if method == 'x-amazon-apigateway-any-method' else method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def router(stack: Stack) -> Router[dict[str, Any]]:
    """Return what the API does, by the method and the path of a request."""
    keys = {key: key.split() for key in operations(stack)}
    return Router((Route(*keys[key]), operation) for key, operation in operations(stack).items())


def sample_path(path: str) -> str:
    """Return a path of the OpenAPI document with each variable filled in."""
    return re.sub(r"\{\w+\}", "x", path)


def environment(stack: Stack, function: str) -> dict[str, str]:
    variables: dict[str, str] = stack.resources[function]["Properties"]["Environment"]["Variables"]
    return variables


def statements(stack: Stack, role: str) -> list[dict[str, Any]]:
    """Return all that a role's policies say."""
    properties = stack.resources[role]["Properties"]
    managed = [name.strip("<>") for name in properties["ManagedPolicyArns"]]
    documents = [stack.resources[name]["Properties"]["PolicyDocument"] for name in managed]
    documents += [policy["PolicyDocument"] for policy in properties["Policies"]]
    return [statement for document in documents for statement in document["Statement"]]


def actions(statement: dict[str, Any]) -> set[str]:
    listed = statement["Action"]
    return {listed} if isinstance(listed, str) else set(listed)


class TestRoutes:
    """Which function answers what, and who must show a token."""

    def test_every_route_reaches_its_function_through_the_alias(self, aurora: Stack) -> None:
        reached = {
            key: operation["x-amazon-apigateway-integration"]["uri"].partition("functions/")[2].partition("/")[0]
            for key, operation in operations(aurora).items()
        }
        expected = with_slashes(WITH_A_TOKEN | WITHOUT_A_TOKEN | WRONG_METHODS)
        assert reached == {key: f"<{function}Aliaslive>" for key, function in expected.items()}

    def test_the_api_may_call_what_it_routes_to(self, aurora: Stack) -> None:
        permitted = [
            (properties["FunctionName"], properties["SourceArn"].partition("<HttpApi>/")[2])
            for properties in aurora.of_type("AWS::Lambda::Permission").values()
            if properties["Principal"] == "apigateway.amazonaws.com"
        ]
        for key, operation in operations(aurora).items():
            method, path = key.split()
            alias = re.search("<.*?>", operation["x-amazon-apigateway-integration"]["uri"])
            source = f"$default/{method}{path}"
            assert alias
            assert any(name == alias[0] and fnmatchcase(source, pattern) for name, pattern in permitted), source

    def test_every_documented_operation_has_a_route(self, aurora: Stack) -> None:
        documented = json.loads((ROOT / "functions/describe/openapi.json").read_text("utf-8"))["paths"]
        routes = router(aurora)
        for path, methods in documented.items():
            for method in methods:
                match = routes.match(method.upper(), sample_path(path))
                assert match, f"{method} {path}"
                assert match.route_key.startswith(method.upper()), f"{method} {path}"

    def test_a_documented_operation_asks_for_a_token_where_its_route_does(self, aurora: Stack) -> None:
        document = json.loads((ROOT / "functions/describe/openapi.json").read_text("utf-8"))
        assert document["components"]["securitySchemes"].keys() == {"Token"}
        routes = router(aurora)
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                match = routes.match(method.upper(), sample_path(path))
                assert match
                [required] = match.target["security"]
                assert bool(operation["security"]) == ("Token" in required), f"{method} {path}"
                assert "401" in operation["responses"] or not operation["security"]
                asked = {scope for one in operation["security"] for scope in one["Token"]}
                assert asked <= set(Scope)

    def test_events_have_payload_format_2(self, aurora: Stack) -> None:
        integrations = [operation["x-amazon-apigateway-integration"] for operation in operations(aurora).values()]
        assert {one["payloadFormatVersion"] for one in integrations} == {"2.0"}

    def test_a_token_is_required_but_for_the_description_and_wrong_methods(self, stack: Stack) -> None:
        security = {key: next(iter(operation["security"][0])) for key, operation in operations(stack).items()}
        closed = dict.fromkeys(with_slashes(WITH_A_TOKEN), "Token")
        assert security == closed | dict.fromkeys(with_slashes(WITHOUT_A_TOKEN | WRONG_METHODS), "NONE")

    def test_the_functions_know_that_a_token_has_been_required(self, stack: Stack) -> None:
        assert {environment(stack, function)["AUTH"] for function in API} == {"on"}

    def test_tokens_come_from_the_user_pool(self, aurora: Stack) -> None:
        assert self.authorizer(aurora)["jwtConfiguration"] == {
            "issuer": SHAPES["ProviderURL"],
            "audience": ["<UserPoolClient>"],
        }
        pool = aurora.nested["AuthStack"].resources["UserPool"]["Properties"]
        assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}

    def test_tokens_come_from_ones_own_issuer_where_there_is_one(self) -> None:
        stack = deployed("everything-else-different")
        assert self.authorizer(stack)["jwtConfiguration"] == {
            "issuer": "https://login.example.org/",
            "audience": ["ledger", "console"],
        }
        assert "AuthStack" not in stack.resources

    def test_the_user_pool_knows_the_scopes_that_functions_ask_for(self, aurora: Stack) -> None:
        [server] = aurora.nested["AuthStack"].of_type("AWS::Cognito::UserPoolResourceServer").values()
        assert server["Identifier"] == RESOURCE_SERVER
        assert {scope["ScopeName"] for scope in server["Scopes"]} == set(Scope)
        assert len(aurora.nested["AuthStack"].of_type("AWS::Cognito::UserPoolClient")) == 1

    def test_an_operators_program_gets_tokens_with_scopes_where_it_is_asked_for(self) -> None:
        stack = Stack.deployed(OperatorClient="true")
        pool = stack.nested["AuthStack"]
        client = pool.resources["OperatorAppClient"]["Properties"]
        assert set(client["AllowedOAuthScopes"]) == {f"{RESOURCE_SERVER}/{scope}" for scope in Scope}
        assert (client["AllowedOAuthFlows"], client["GenerateSecret"]) == (["client_credentials"], True)
        audience = self.authorizer(stack)["jwtConfiguration"]["audience"]
        assert audience == ["<UserPoolClient>", "<OperatorAppClient>"]
        assert "AllowedOAuthScopes" not in pool.resources["UserPoolClient"]["Properties"]

    def test_nobody_signs_in_on_the_console_before_its_address_is_known(self, aurora: Stack) -> None:
        assert not any(name.startswith("SIGN_IN_") for name in environment(aurora, "DescribeFunction"))
        assert DescribeSettings.from_environment(environment(aurora, "DescribeFunction")).sign_in is None
        assert aurora.nested["AuthStack"].of_type("AWS::Cognito::UserPoolDomain") == {}

    def test_the_console_signs_users_in_at_the_user_pool_and_comes_back_to_its_addresses(self) -> None:
        addresses = ("https://a1b2c3.execute-api.eu-central-1.amazonaws.com", "https://ledger.example.org")
        stack = Stack.deployed(SignInAddresses=",".join(addresses))
        pool = stack.nested["AuthStack"]
        client = pool.resources["ConsoleAppClient"]["Properties"]
        assert client["CallbackURLs"] == [f"{address}/console/signed-in" for address in addresses]
        assert client["LogoutURLs"] == [f"{address}/console/signed-out" for address in addresses]
        # A page can keep no secret, and a scope of its client would be every user's.
        assert (client["AllowedOAuthFlows"], client["GenerateSecret"]) == (["code"], False)
        assert client["AllowedOAuthScopes"] == ["openid", "email"]
        assert self.authorizer(stack)["jwtConfiguration"]["audience"] == ["<UserPoolClient>", "<ConsoleAppClient>"]
        [domain] = pool.of_type("AWS::Cognito::UserPoolDomain").values()
        settings = DescribeSettings.from_environment(environment(stack, "DescribeFunction"))
        assert settings.sign_in == {
            "authority": SHAPES["ProviderURL"],
            "client_id": "<ConsoleAppClient>",
            "scope": " ".join(client["AllowedOAuthScopes"]),
        }
        assert settings.sign_in_connections == (
            f"https://cognito-idp.{REGION}.amazonaws.com",
            f"https://{domain['Domain']}.auth.{REGION}.amazoncognito.com",
        )
        assert stack.outputs["SignInClientId"] == "<ConsoleAppClient>"

    def test_the_console_signs_users_in_at_ones_own_issuer_where_there_is_one(self) -> None:
        settings = DescribeSettings.from_environment(
            environment(deployed("everything-else-different"), "DescribeFunction")
        )
        assert settings.sign_in == {
            "authority": "https://login.example.org/",
            "client_id": "console",
            "scope": "openid offline_access",
        }
        origins = ("https://login.example.org", "https://tokens.example.org", "https://keys.example.org")
        assert settings.sign_in_connections == origins
        stack = Stack.deployed(Issuer="https://login.example.org/", Audience="ledger", SignInAddresses="https://x.org")
        assert not any(name.startswith("SIGN_IN_") for name in environment(stack, "DescribeFunction"))

    def test_the_api_needs_nothing_that_needs_its_address(self) -> None:
        stack = Stack.deployed(SignInAddresses="https://ledger.example.org")
        assert "AuthStack" in stack.needs("HttpApi")
        assert "HttpApi" not in stack.needs("AuthStack")

    @staticmethod
    def authorizer(stack: Stack) -> dict[str, Any]:
        body = stack.resources["HttpApi"]["Properties"]["Body"]
        [(name, scheme)] = body["components"]["securitySchemes"].items()
        assert name == "Token"
        authorizer: dict[str, Any] = scheme["x-amazon-apigateway-authorizer"]
        assert authorizer["type"] == "jwt"
        assert authorizer["identitySource"] == "$request.header.Authorization"
        return authorizer

    def test_no_other_origin_may_call_unless_it_is_named(self, aurora: Stack) -> None:
        assert "x-amazon-apigateway-cors" not in aurora.resources["HttpApi"]["Properties"]["Body"]
        cors = deployed("everything-else-different").resources["HttpApi"]["Properties"]["Body"][
            "x-amazon-apigateway-cors"
        ]
        assert cors["allowOrigins"] == ["https://console.example.org", "https://example.org"]
        assert cors["allowMethods"] == ["DELETE", "GET", "HEAD", "POST", "PUT"]
        assert "allowCredentials" not in cors

    def test_requests_are_limited_and_logged(self, aurora: Stack) -> None:
        stage = aurora.resources["HttpApiApiGatewayDefaultStage"]["Properties"]
        assert stage["StageName"] == "$default"
        assert stage["DefaultRouteSettings"] == {"ThrottlingRateLimit": 100, "ThrottlingBurstLimit": 200}
        assert stage["AccessLogSettings"]["DestinationArn"] == "<AccessLogs.Arn>"
        logged = json.loads(stage["AccessLogSettings"]["Format"])
        # What an erasure could not remove is not logged.
        assert not any(word in value for value in logged.values() for word in ("header", "query", "authorizer", "path"))


class TestFunctions:
    """How functions run, and what they are told."""

    def test_functions_run_on_the_python_that_the_packages_are_made_for(self, stack: Stack) -> None:
        functions = stack.of_type("AWS::Lambda::Function")
        assert functions.keys() == there(stack) | {"MigrateFunction"}
        assert {function["Runtime"] for function in functions.values()} == {"python3.13"}
        [architectures] = {tuple(function["Architectures"]) for function in functions.values()}
        assert architectures in {("x86_64",), ("arm64",)}

    def test_handlers_are_there(self, aurora: Stack) -> None:
        for function in aurora.of_type("AWS::Lambda::Function").values():
            module, _, name = function["Handler"].rpartition(".")
            assert name == "handler"
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file()

    def test_packages_are_made_by_the_makefile(self) -> None:
        template = read("template.yaml")
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                assert resource["Metadata"]["BuildMethod"] == "makefile"
        assert template["Globals"]["Function"]["CodeUri"] == "."

    def test_functions_get_the_variables_they_read_and_no_other(self, stack: Stack) -> None:
        for function in there(stack):
            fields = SETTINGS[function].model_fields
            given = environment(stack, function).keys()
            assert given <= {name.upper() for name in fields} | READ_ELSEWHERE, function
            required = {name.upper() for name, field in fields.items() if field.is_required()}
            assert required <= given, function
            assert len(given & {"DATABASE_URL", "DATABASE_SECRET_ARN"}) == 1, function

    def test_the_values_are_valid_settings(self, stack: Stack) -> None:
        for function in there(stack):
            settings = SETTINGS[function].from_environment(environment(stack, function))
            for name, value in environment(stack, function).items():
                if name not in READ_ELSEWHERE:
                    understood = getattr(settings, name.lower())
                    assert understood == type(understood)(value), (function, name)

    def test_the_migration_gets_the_address_and_nothing_else(self, stack: Stack) -> None:
        given = environment(stack, "MigrateFunction").keys()
        assert given in ({"LOG_LEVEL", "DATABASE_URL"}, {"LOG_LEVEL", "DATABASE_SECRET_ARN"})

    def test_a_password_is_in_no_variable(self, stack: Stack) -> None:
        for function in stack.of_type("AWS::Lambda::Function").values():
            url = function["Environment"]["Variables"].get("DATABASE_URL", "postgresql://user@host/ledger?auth=iam")
            assert ":" not in url.partition("//")[2].partition("@")[0]
            assert "auth=iam" in url

    def test_functions_behind_the_api_end_before_it_gives_up(self, stack: Stack) -> None:
        assert all(stack.resources[function]["Properties"]["Timeout"] <= 30 for function in API)

    def test_every_function_has_a_log_group_with_retention(self, stack: Stack) -> None:
        groups = stack.of_type("AWS::Logs::LogGroup")
        assert all(group["RetentionInDays"] == 30 for group in groups.values())
        used = [
            function["LoggingConfig"]["LogGroup"].strip("<>")
            for function in stack.of_type("AWS::Lambda::Function").values()
        ]
        assert sorted([*used, "AccessLogs"]) == sorted(groups)

    def test_functions_are_traced(self, stack: Stack) -> None:
        functions = stack.of_type("AWS::Lambda::Function").values()
        assert all(function["TracingConfig"] == {"Mode": "Active"} for function in functions)

    @pytest.mark.parametrize(
        ("way", "applies"), [("aurora", "PublishedVersions"), ("everything-else-different", "None")]
    )
    def test_functions_of_the_api_start_from_snapshots_if_wanted(self, way: str, applies: str) -> None:
        for function in API:
            assert deployed(way).resources[function]["Properties"]["SnapStart"] == {"ApplyOn": applies}
        assert deployed(way).resources["MigrateFunction"]["Properties"]["SnapStart"] == {"ApplyOn": "None"}

    def test_concurrency_is_reserved_if_wanted(self, aurora: Stack) -> None:
        assert "ReservedConcurrentExecutions" not in aurora.resources["PredictFunction"]["Properties"]
        limited = deployed("everything-else-different").resources["PredictFunction"]["Properties"]
        assert limited["ReservedConcurrentExecutions"] == "50"


class TestVersions:
    """How a new version comes to get traffic, and when it does not."""

    @staticmethod
    def version(stack: Stack, function: str) -> tuple[str, str]:
        [(name, properties)] = [
            (name, properties)
            for name, properties in stack.of_type("AWS::Lambda::Version").items()
            if properties["FunctionName"] == f"<{function}>"
        ]
        return name, properties["Description"]

    def test_new_code_is_a_new_version(self, aurora: Stack) -> None:
        for function in aurora.of_type("AWS::Lambda::Function"):
            assert self.version(Stack.deployed("b"), function)[0] != self.version(aurora, function)[0]

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            ("Release", "8f2c1d0"),
            ("Model", "s3://models/iris/3"),
            ("LogLevel", "DEBUG"),
            ("DatabaseProxy", "true"),
            ("DatabaseSecretArn", SECRET),
            ("Asynchronous", "false"),
            ("KeepInputsInS3", "true"),
            ("QuotaPredictionsPerHour", "1000"),
            ("QuotaStoredMegabytes", "500"),
            ("QuotaQueuedPredictions", "100"),
            ("QuotaOpenUploads", "10"),
        ],
    )
    def test_another_setting_is_a_new_version(self, aurora: Stack, parameter: str, value: str) -> None:
        changed = Stack.deployed(**{parameter: value})
        for function in changed.of_type("AWS::Lambda::Function"):
            assert self.version(changed, function)[1] != self.version(aurora, function)[1]
            # Lambda publishes nothing where the function is as it was, and CloudFormation then fails.
            assert changed.resources[function]["Properties"]["Description"] == self.version(changed, function)[1]

    def test_descriptions_fit_into_what_lambda_takes(self) -> None:
        declared = read("template.yaml")["Parameters"]
        longest = {
            "Release": "r" * declared["Release"]["MaxLength"],
            "Model": "m" * declared["Model"]["MaxLength"],
            "DatabaseSecretArn": "s" * declared["DatabaseSecretArn"]["MaxLength"],
            "LogLevel": "WARNING",
            **{name: str(one["MaxValue"]) for name, one in declared.items() if name.startswith("Quota")},
        }
        assert len(self.version(Stack.deployed(**longest), "PredictFunction")[1]) <= 256

    def test_snapshots_of_old_versions_are_not_kept_and_paid_for(self, aurora: Stack) -> None:
        versions = [one for one in aurora.resources.values() if one["Type"] == "AWS::Lambda::Version"]
        assert [version["DeletionPolicy"] for version in versions] == ["Delete"] * len(versions)

    @pytest.mark.parametrize(
        ("way", "configuration"),
        [
            ("aurora", "CodeDeployDefault.LambdaCanary10Percent5Minutes"),
            ("everything-else-different", "CodeDeployDefault.LambdaAllAtOnce"),
        ],
    )
    def test_traffic_moves_as_told_and_back_at_an_alarm(self, way: str, configuration: str) -> None:
        stack = deployed(way)
        for function in API:
            policy = stack.resources[f"{function}Aliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
            group = stack.resources[policy["DeploymentGroupName"]["Ref"]]["Properties"]
            assert group["DeploymentConfigName"] == configuration
            assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
            errors = f"{function.removesuffix('Function')}Errors"
            assert group["AlarmConfiguration"]["Alarms"] == [{"Name": f"<{errors}>"}, {"Name": "<ApiErrors>"}]
            alarm = stack.resources[errors]["Properties"]
            assert {"Name": "Resource", "Value": f"<{function}>:live"} in alarm["Dimensions"]
            assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", "Errors")

    def test_the_alarm_on_the_api_watches_what_the_access_logs_count(self, aurora: Stack) -> None:
        [transformation] = aurora.resources["ApiErrorCount"]["Properties"]["MetricTransformations"]
        alarm = aurora.resources["ApiErrors"]["Properties"]
        assert (transformation["MetricNamespace"], transformation["MetricName"]) == (
            alarm["Namespace"],
            alarm["MetricName"],
        )

    def test_alarms_tell_a_topic_if_there_is_one(self, aurora: Stack) -> None:
        assert all("AlarmActions" not in alarm for alarm in aurora.of_type("AWS::CloudWatch::Alarm").values())
        told = deployed("everything-else-different").of_type("AWS::CloudWatch::Alarm").values()
        assert all(alarm["AlarmActions"] == [WAYS["everything-else-different"]["AlarmTopicArn"]] for alarm in told)

    def test_a_model_raises_no_alarm_unless_a_threshold_is_given(self, aurora: Stack) -> None:
        about_models = {"LowAccuracy", "ManyFailures", "Drift"}
        assert not about_models & aurora.resources.keys()
        stack = deployed("everything-else-different")
        assert {
            name: (alarm["MetricName"], alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"])
            for name in about_models
            for alarm in [stack.resources[name]["Properties"]]
        } == {
            "LowAccuracy": ("accuracy", "Minimum", "LessThanThreshold", "0.95"),
            "ManyFailures": ("failure_share", "Maximum", "GreaterThanThreshold", "0.01"),
            "Drift": ("drifted_columns", "Maximum", "GreaterThanOrEqualToThreshold", "2"),
        }

    def test_the_alarms_of_models_watch_what_the_rollup_writes(self) -> None:
        stack = deployed("everything-else-different")
        [namespace] = {
            stack.resources[name]["Properties"]["Namespace"] for name in ("LowAccuracy", "ManyFailures", "Drift")
        }
        function = stack.resources["RollupFunction"]["Properties"]
        assert function["Environment"]["Variables"]["METRICS_NAMESPACE"] == namespace
        for name in ("LowAccuracy", "ManyFailures", "Drift"):
            alarm = stack.resources[name]["Properties"]
            # The log's member `service` is the name of the function.
            assert alarm["Dimensions"] == [{"Name": "service", "Value": "<RollupFunction>"}]
            written = OF_ALL if name == "ManyFailures" else DIMENSIONS
            assert tuple(one["Name"] for one in alarm["Dimensions"]) in written
            assert alarm["TreatMissingData"] == "notBreaching"

    @pytest.mark.parametrize("name", ["AccuracyAlarm", "FailureShareAlarm", "DriftAlarm"])
    def test_a_threshold_is_a_number_or_nothing(self, name: str) -> None:
        pattern = read("template.yaml")["Parameters"][name]["AllowedPattern"]
        fits = {
            value for value in ("", "0", "1", ".95", "0.95", "12", "95%", "-1", "1.5") if re.fullmatch(pattern, value)
        }
        assert (
            fits
            == {
                "AccuracyAlarm": {"", "1", ".95", "0.95"},
                "FailureShareAlarm": {"", "0", ".95", "0.95"},
                "DriftAlarm": {"", "1", "12"},
            }[name]
        )

    def test_nothing_depends_on_itself(self, stack: Stack) -> None:
        assert [name for name in stack.resources if name in stack.needs(name)] == []

    def test_migrations_run_before_any_function_changes(self, stack: Stack) -> None:
        for function in there(stack):
            assert {"Migration", "MigrateFunctionAliaslive"} <= stack.needs(function), function
        assert not stack.needs("Migration") & SETTINGS.keys()

    def test_migrations_run_again_with_each_version(self, stack: Stack) -> None:
        migration = stack.resources["Migration"]["Properties"]
        assert migration["Version"] == f"<{self.version(stack, 'MigrateFunction')[0]}>"
        assert migration["ServiceToken"] == "<MigrateFunctionAliaslive>"

    def test_a_migration_is_tried_once_and_given_up_after_it_can_no_longer_answer(self, aurora: Stack) -> None:
        invoked = aurora.resources["MigrateFunctionEventInvokeConfig"]["Properties"]
        assert (invoked["Qualifier"], invoked["MaximumRetryAttempts"]) == ("live", 0)
        waits = aurora.resources["Migration"]["Properties"]["ServiceTimeout"]
        assert waits > aurora.resources["MigrateFunction"]["Properties"]["Timeout"]

    def test_the_migration_makes_the_functions_user_only_in_a_database_that_the_stack_makes(self) -> None:
        made = {way: deployed(way).resources["Migration"]["Properties"]["MakeFunctionUsers"] for way in WAYS}
        assert {way for way, yes in made.items() if yes == "true"} == {
            "aurora",
            "aurora-behind-a-proxy",
            "everything-else-different",
        }


class TestRights:
    """What functions may do in the account: what they need, and no more."""

    WITHOUT_RESOURCES = frozenset(
        {
            "xray:PutTelemetryRecords",
            "xray:PutTraceSegments",
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
        }
    )
    """Actions that cannot be limited to a resource, or not before it is there."""

    def test_each_function_has_a_role_of_its_own(self, stack: Stack) -> None:
        roles = [function["Role"] for function in stack.of_type("AWS::Lambda::Function").values()]
        assert len(set(roles)) == len(roles)
        for role in roles:
            trusted = stack.resources[role.strip("<>").removesuffix(".Arn")]["Properties"]["AssumeRolePolicyDocument"]
            assert [one["Principal"] for one in trusted["Statement"]] == [{"Service": "lambda.amazonaws.com"}]

    def test_nothing_is_allowed_on_everything_that_could_be_limited(self, stack: Stack) -> None:
        for function in stack.of_type("AWS::Lambda::Function"):
            for statement in statements(stack, f"{function.removesuffix('Function')}Role"):
                assert not any("*" in action for action in actions(statement)), function
                assert statement["Resource"] != "*" or actions(statement) <= self.WITHOUT_RESOURCES, function

    def test_a_function_writes_to_its_own_log_group(self, stack: Stack) -> None:
        for function in stack.of_type("AWS::Lambda::Function"):
            name = function.removesuffix("Function")
            assert self.resources_of(stack, f"{name}Role", "logs:PutLogEvents") == [f"<{name}Logs.Arn>"]

    def test_who_has_to_do_with_the_queue_may_do_that(self, aurora: Stack) -> None:
        for function in SETTINGS:
            role = f"{function.removesuffix('Function')}Role"
            sends, takes = (self.resources_of(aurora, role, f"sqs:{what}Message") for what in ("Send", "Receive"))
            assert sends == (["<Queue.Arn>"] if function in {"PredictFunction", "SweepFunction"} else [])
            assert takes == (["<Queue.Arn>"] if function == "WorkerFunction" else [])

    def test_code_has_no_use_of_the_network_interface_that_lambda_makes(self, stack: Stack) -> None:
        allowed, denied = (
            {
                action
                for one in statements(stack, "PredictRole")
                if one["Effect"] == effect
                for action in actions(one)
                if action.startswith("ec2:")
            }
            for effect in ("Allow", "Deny")
        )
        assert allowed == denied
        assert bool(allowed) == ("VpcConfig" in stack.resources["PredictFunction"]["Properties"])

    @pytest.mark.parametrize(
        ("way", "server"),
        [("aurora", "<Cluster.DBClusterResourceId>"), ("aurora-behind-a-proxy", "prx-0123456789abcdef0")],
    )
    def test_each_function_logs_in_as_the_one_user_that_its_role_permits(self, way: str, server: str) -> None:
        stack = deployed(way)
        prefix = "arn:aws:rds-db:eu-central-1:123456789012:dbuser:"
        for function, user in USERS.items():
            role = f"{function.removesuffix('Function')}Role"
            assert self.resources_of(stack, role, "rds-db:connect") == [f"{prefix}{server}/{user}"]
            assert urlsplit(environment(stack, function)["DATABASE_URL"]).username == user
        owner = f"{prefix}<Cluster.DBClusterResourceId>/ledger_owner"
        assert self.resources_of(stack, "MigrateRole", "rds-db:connect") == [owner]
        assert set(USERS) == there(stack)
        assert set(USERS.values()) == set(FUNCTION_USERS)

    def test_the_proxy_logs_in_as_the_functions_users_and_not_as_the_owner(self) -> None:
        role = deployed("aurora-behind-a-proxy").nested["DatabaseStack"].resources["ProxyRole"]
        [policy] = role["Properties"]["Policies"]
        [statement] = policy["PolicyDocument"]["Statement"]
        assert {one.rpartition("/")[2] for one in statement["Resource"]} == set(FUNCTION_USERS)

    def test_a_database_of_ones_own_is_reached_through_its_secret(self) -> None:
        for role in (
            "PredictRole",
            "ListPredictionsRole",
            "GetPredictionRole",
            "StatisticsRole",
            "DescribeRole",
            "MigrateRole",
        ):
            stack = deployed("a-database-of-ones-own")
            assert self.resources_of(stack, role, "secretsmanager:GetSecretValue") == [SECRET]
            assert self.resources_of(stack, role, "rds-db:connect") == []

    def test_who_reads_a_model_may_read_that_model(self, aurora: Stack) -> None:
        stack = deployed("everything-else-different")
        for role in ("PredictRole", "DescribeRole", "UploadRole"):
            assert "arn:aws:s3:::models/iris/3/*" in self.resources_of(stack, role, "s3:GetObject")
            assert "arn:aws:s3:::models" in self.resources_of(stack, role, "s3:ListBucket")
        for role in ("ListPredictionsRole", "GetPredictionRole", "StatisticsRole", "MigrateRole"):
            assert not any("arn:aws:s3:::models" in one for one in self.resources_of(stack, role, "s3:GetObject"))
        assert not any("models" in one for one in self.resources_of(aurora, "PredictRole", "s3:GetObject"))

    @staticmethod
    def resources_of(stack: Stack, role: str, action: str) -> list[str]:
        named = [one["Resource"] for one in statements(stack, role) if action in actions(one)]
        return [one for resource in named for one in (resource if isinstance(resource, list) else [resource])]


class TestQueue:
    """Asynchronous predictions: when a message comes again, and when no more."""

    def test_a_message_comes_again_only_once_its_worker_is_sure_to_be_done(self, aurora: Stack) -> None:
        # AWS, "Creating and configuring an Amazon SQS event source mapping"; the linter does not check it.
        [source] = aurora.of_type("AWS::Lambda::EventSourceMapping").values()
        worker = aurora.resources["WorkerFunction"]["Properties"]
        visibility = aurora.resources["Queue"]["Properties"]["VisibilityTimeout"]
        assert source["EventSourceArn"] == "<Queue.Arn>"
        assert source["FunctionName"] == "<WorkerFunctionAliaslive>"
        assert visibility >= 6 * worker["Timeout"] + source["MaximumBatchingWindowInSeconds"]
        assert float(environment(aurora, "SweepFunction")["QUEUED_SECONDS"]) > visibility

    def test_one_bad_message_fails_alone(self, aurora: Stack) -> None:
        [source] = aurora.of_type("AWS::Lambda::EventSourceMapping").values()
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]

    def test_a_message_that_always_fails_is_put_aside_and_raises_an_alarm(self, aurora: Stack) -> None:
        queue = aurora.resources["Queue"]["Properties"]
        assert queue["RedrivePolicy"] == {"deadLetterTargetArn": "<DeadLetterQueue.Arn>", "maxReceiveCount": 5}
        dimensions = aurora.resources["DeadLetters"]["Properties"]["Dimensions"]
        assert dimensions == [{"Name": "QueueName", "Value": "<DeadLetterQueue.QueueName>"}]

    def test_messages_are_encrypted_and_kept_for_as_long_as_they_can_be(self, aurora: Stack) -> None:
        for queue in aurora.of_type("AWS::SQS::Queue").values():
            assert queue["SqsManagedSseEnabled"] is True
            assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600

    def test_predict_sends_to_the_queue_that_the_worker_reads(self, aurora: Stack) -> None:
        assert environment(aurora, "PredictFunction")["QUEUE_URL"] == "<Queue>"
        assert environment(aurora, "SweepFunction")["QUEUE_URL"] == "<Queue>"

    def test_beside_aurora_there_is_a_way_to_the_queue_and_only_functions_take_it(self, aurora: Stack) -> None:
        network = aurora.nested["NetworkStack"]
        assert network.resources["QueueEndpoint"]["Properties"]["PrivateDnsEnabled"] is True
        rules = network.resources["QueueSecurityGroup"]["Properties"]["SecurityGroupIngress"]
        assert [(rule["SourceSecurityGroupId"], rule["ToPort"]) for rule in rules] == [("<FunctionSecurityGroup>", 443)]

    def test_without_it_nothing_of_it_is_there_to_be_paid_for(self) -> None:
        stack = deployed("everything-else-different")
        assert not ASYNCHRONOUS.keys() & stack.resources.keys()
        assert stack.of_type("AWS::SQS::Queue") == {}
        assert "QUEUE_URL" not in environment(stack, "PredictFunction")
        assert "QueueEndpoint" not in stack.nested["NetworkStack"].resources


class TestBuckets:
    """Inputs and uploads in S3."""

    def test_buckets_are_private_and_encrypted_and_take_no_unencrypted_request(self, stack: Stack) -> None:
        policies = {one["Bucket"]: one["PolicyDocument"] for one in stack.of_type("AWS::S3::BucketPolicy").values()}
        for name, bucket in stack.of_type("AWS::S3::Bucket").items():
            blocked = bucket["PublicAccessBlockConfiguration"]
            assert blocked == dict.fromkeys(
                ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
            )
            assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
            [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in {"AES256", "aws:kms"}
            [statement] = policies[f"<{name}>"]["Statement"]
            assert statement["Effect"] == "Deny"
            assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}

    def test_inputs_outlive_the_stack_and_uploads_do_not_outlive_their_use(self, aurora: Stack) -> None:
        assert aurora.resources["InputsBucket"]["DeletionPolicy"] == "Retain"
        assert aurora.resources["InputsBucket"]["UpdateReplacePolicy"] == "Retain"
        rules = aurora.resources["InputsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        assert not any("ExpirationInDays" in rule for rule in rules)
        [rule] = aurora.resources["UploadsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        assert rule["ExpirationInDays"] * 24 * 3600 > int(environment(aurora, "UploadFunction")["UPLOAD_SECONDS"])

    def test_pages_of_no_other_origin_reach_them_unless_it_is_named(self, aurora: Stack) -> None:
        assert all("CorsConfiguration" not in bucket for bucket in aurora.of_type("AWS::S3::Bucket").values())
        for bucket in deployed("everything-else-different").of_type("AWS::S3::Bucket").values():
            [rule] = bucket["CorsConfiguration"]["CorsRules"]
            assert rule["AllowedOrigins"] == ["https://console.example.org", "https://example.org"]

    def test_the_console_may_upload_where_it_is_opened_at_known_addresses(self, aurora: Stack) -> None:
        assert "UPLOADS_ORIGIN" not in environment(aurora, "DescribeFunction")
        addresses = ["https://a1b2c3.execute-api.eu-central-1.amazonaws.com", "https://ledger.example.org"]
        other = "https://console.example.org"
        for keep, cors, name in (("false", "", "UploadsBucket"), ("true", other, "InputsBucket")):
            stack = Stack.deployed(SignInAddresses=",".join(addresses), KeepInputsInS3=keep, CorsOrigins=cors)
            assert environment(stack, "UploadFunction")["UPLOADS_BUCKET"] == f"<{name}>"
            host = f"{name.lower()}.s3"
            describe = DescribeSettings.from_environment(environment(stack, "DescribeFunction"))
            assert describe.upload_connections == (
                f"https://{host}.{REGION}.amazonaws.com",
                f"https://{host}.amazonaws.com",  # where boto3 signs for us-east-1
            )
            [rule] = stack.resources[name]["Properties"]["CorsConfiguration"]["CorsRules"]
            assert rule["AllowedOrigins"] == ([other] if cors else []) + addresses
            assert {"GET", "PUT"} == set(rule["AllowedMethods"])
            assert rule["AllowedHeaders"] == ["*"]

    def test_the_console_is_told_how_large_a_request_may_be(self, stack: Stack) -> None:
        most = {environment(stack, f"{name}Function")["MAX_BODY_BYTES"] for name in ("Predict", "Infer", "Describe")}
        assert len(most) == 1

    def test_inputs_are_kept_where_the_parameter_says(self, aurora: Stack) -> None:
        assert "INPUTS_BUCKET" not in environment(aurora, "PredictFunction")
        assert environment(aurora, "PredictFunction")["UPLOADS_BUCKET"] == "<UploadsBucket>"
        in_s3 = environment(deployed("everything-else-different"), "PredictFunction")
        assert (in_s3["INPUTS_BUCKET"], in_s3["UPLOADS_BUCKET"]) == ("<InputsBucket>", "<InputsBucket>")

    def test_whoever_names_a_bucket_may_use_inputs_in_it_and_nothing_else_of_it(self, stack: Stack) -> None:
        for function in there(stack):
            named = {
                value.strip("<>")
                for name, value in environment(stack, function).items()
                if name in {"INPUTS_BUCKET", "UPLOADS_BUCKET"}
            }
            for one in statements(stack, f"{function.removesuffix('Function')}Role"):
                used = {action for action in actions(one) if action.startswith("s3:")}
                resources = one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
                for bucket in named:
                    used_here = [resource for resource in resources if resource.startswith(f"<{bucket}.Arn>")]
                    objects = used <= {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
                    assert set(used_here) <= {f"<{bucket}.Arn>/inputs/*" if objects else f"<{bucket}.Arn>"}

    def test_nobody_else_has_to_do_with_them(self, aurora: Stack) -> None:
        for role in ("ListPredictionsRole", "StatisticsRole", "DescribeRole", "MigrateRole"):
            assert not any(action.startswith("s3:") for one in statements(aurora, role) for action in actions(one))

    def test_who_deletes_may_remove_objects_and_read_none(self, stack: Stack) -> None:
        for role in ("DeletePredictionsRole", "SweepRole"):
            used = {action for one in statements(stack, role) for action in actions(one) if action.startswith("s3:")}
            assert used == {"s3:DeleteObject", "s3:ListBucket"}

    def test_who_deletes_lists_the_bucket_whose_objects_come_before_their_rows(self, stack: Stack) -> None:
        for function in ("DeletePredictionsFunction", "SweepFunction"):
            assert environment(stack, function)["INPUTS_BUCKET"] == "<InputsBucket>"
            [one] = [
                one
                for one in statements(stack, f"{function.removesuffix('Function')}Role")
                if "s3:ListBucket" in actions(one)
            ]
            assert one["Resource"] == "<InputsBucket.Arn>"

    def test_an_object_gets_its_row_before_it_is_taken_for_one_without(self, stack: Stack) -> None:
        for function in set(there(stack)) & {"PredictFunction", "InferFunction", "WorkerFunction"}:
            seconds = stack.resources[function]["Properties"]["Timeout"]
            assert 2 * timedelta(seconds=seconds) <= LONGEST_WITHOUT_A_ROW

    @pytest.mark.parametrize(
        ("way", "rate"), [("aurora", "rate(1 hour)"), ("everything-else-different", "rate(1 day)")]
    )
    def test_the_sweep_carries_on_with_deletions_with_a_queue_or_without(self, way: str, rate: str) -> None:
        stack = deployed(way)
        assert ("QUEUE_URL" in environment(stack, "SweepFunction")) == (way == "aurora")
        assert schedules(stack) == {("<SweepFunctionAliaslive>", rate), *rollups(stack)}

    @pytest.mark.parametrize(
        ("way", "rate"),
        [
            ("aurora", "rate(1 hour)"),
            ("everything-else-different", "rate(1 day)"),
            ("aurora-behind-a-proxy", "rate(10 minutes)"),
            ("a-database-of-ones-own", "rate(10 minutes)"),
        ],
    )
    def test_rollups_wake_a_database_that_pauses_as_often_as_the_sweep_and_no_more(self, way: str, rate: str) -> None:
        assert rollups(deployed(way)) == {("<RollupFunctionAliaslive>", rate)}


def schedules(stack: Stack) -> set[tuple[str, str]]:
    """Return which function is started how often."""
    rules = [rule for rule in stack.of_type("AWS::Events::Rule").values() if rule["State"] == "ENABLED"]
    return {(target["Arn"], rule["ScheduleExpression"]) for rule in rules for target in rule["Targets"]}


def rollups(stack: Stack) -> set[tuple[str, str]]:
    return {one for one in schedules(stack) if one[0] == "<RollupFunctionAliaslive>"}


class TestDatabase:
    """The database and the network that the stack makes: who reaches it, and what happens to the data."""

    @pytest.mark.parametrize("way", ["aurora", "aurora-behind-a-proxy"])
    def test_only_the_functions_reach_it(self, way: str) -> None:
        network, database = deployed(way).nested["NetworkStack"], deployed(way).nested["DatabaseStack"]
        group = network.resources["DatabaseSecurityGroup"]["Properties"]
        assert "SecurityGroupIngress" not in group
        ingress = [
            *network.of_type("AWS::EC2::SecurityGroupIngress").values(),
            *database.of_type("AWS::EC2::SecurityGroupIngress").values(),
        ]
        # The proxy is in the database's group: it reaches the database as a member of that group.
        sources = {"<FunctionSecurityGroup>"} | ({"<DatabaseSecurityGroup>"} if "proxy" in way else set())
        assert {rule["SourceSecurityGroupId"] for rule in ingress} == sources
        assert {(rule["GroupId"], rule["FromPort"], rule["ToPort"]) for rule in ingress} == {
            ("<DatabaseSecurityGroup>", 5432, 5432)
        }
        cluster = database.resources["Cluster"]["Properties"]
        assert cluster["VpcSecurityGroupIds"] == ["<DatabaseSecurityGroup>"]
        function = deployed(way).resources["PredictFunction"]["Properties"]
        assert function["VpcConfig"]["SecurityGroupIds"] == ["<FunctionSecurityGroup>"]

    def test_it_has_no_public_address_and_the_network_no_way_out(self, aurora: Stack) -> None:
        assert aurora.nested["DatabaseStack"].resources["Instance"]["Properties"]["PubliclyAccessible"] is False
        network = aurora.nested["NetworkStack"]
        assert not any("Gateway" in resource["Type"] for resource in network.resources.values())
        assert network.of_type("AWS::EC2::Route") == {}
        assert all(not subnet["MapPublicIpOnLaunch"] for subnet in network.of_type("AWS::EC2::Subnet").values())

    def test_it_is_encrypted_protected_and_backed_up(self, aurora: Stack) -> None:
        cluster = aurora.nested["DatabaseStack"].resources["Cluster"]
        assert cluster["Properties"]["StorageEncrypted"] is True
        assert cluster["Properties"]["DeletionProtection"] == "true"
        assert int(cluster["Properties"]["BackupRetentionPeriod"]) == 7
        assert (cluster["DeletionPolicy"], cluster["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
        parameters = aurora.nested["DatabaseStack"].resources["Settings"]["Properties"]["Parameters"]
        assert parameters["rds.force_ssl"] == "1"

    def test_it_knows_no_password(self, aurora: Stack) -> None:
        cluster = aurora.nested["DatabaseStack"].resources["Cluster"]["Properties"]
        assert cluster["MasterUserAuthenticationType"] == "iam-db-auth"
        assert cluster["EnableIAMDatabaseAuthentication"] is True
        assert not any("Password" in name or "Secret" in name for name in cluster)

    def test_it_pauses_when_nobody_asks(self, aurora: Stack) -> None:
        database = aurora.nested["DatabaseStack"].resources
        scaling = database["Cluster"]["Properties"]["ServerlessV2ScalingConfiguration"]
        assert scaling == {"MinCapacity": 0, "MaxCapacity": 4, "SecondsUntilAutoPause": 300}
        # No longer than it takes to pause: a connection that an idle environment holds would keep it awake.
        assert 0 < int(database["Settings"]["Properties"]["Parameters"]["idle_session_timeout"]) <= 300_000

    def test_behind_a_proxy_it_stays_awake_and_keeps_its_connections(self) -> None:
        database = deployed("aurora-behind-a-proxy").nested["DatabaseStack"].resources
        scaling = database["Cluster"]["Properties"]["ServerlessV2ScalingConfiguration"]
        assert scaling == {"MinCapacity": 0.5, "MaxCapacity": 4}
        assert database["Settings"]["Properties"]["Parameters"]["idle_session_timeout"] == "0"
        proxy = database["Proxy"]["Properties"]
        assert (proxy["DefaultAuthScheme"], proxy["RequireTLS"]) == ("IAM_AUTH", True)

    def test_functions_verify_whom_they_talk_to(self) -> None:
        direct = environment(deployed("aurora"), "PredictFunction")["DATABASE_URL"]
        assert direct == (
            "postgresql://ledger_writer@<Cluster.Endpoint.Address>:5432/ledger"
            "?auth=iam&sslrootcert=/var/task/functions/shared/ledger/rds-ca.pem"
        )
        # A proxy's certificate comes from an authority that every system trusts.
        proxied = environment(deployed("aurora-behind-a-proxy"), "PredictFunction")["DATABASE_URL"]
        assert proxied == "postgresql://ledger_writer@<Proxy.Endpoint>:5432/ledger?auth=iam&pooler=transaction"

    @pytest.mark.parametrize("way", WAYS)
    def test_the_migration_goes_past_the_proxy(self, way: str) -> None:
        given = environment(deployed(way), "MigrateFunction")
        assert given.get("DATABASE_URL", "@<Cluster.").partition("@")[2].startswith("<Cluster.")

    def test_a_database_of_ones_own_makes_neither_network_nor_database(self) -> None:
        stack = deployed("a-database-of-ones-own")
        assert stack.of_type("AWS::CloudFormation::Stack").keys() == {"AuthStack"}
        assert "VpcConfig" not in stack.resources["PredictFunction"]["Properties"]

    def test_functions_join_a_network_of_ones_own(self) -> None:
        function = deployed("a-database-in-a-network-of-ones-own").resources["PredictFunction"]["Properties"]
        assert function["VpcConfig"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}


def test_every_parameter_has_a_default_and_a_place_in_the_console() -> None:
    template = read("template.yaml")
    assert all("Default" in declared for declared in template["Parameters"].values())
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    placed = [name for group in groups for name in group["Parameters"]]
    assert sorted(placed) == sorted(template["Parameters"])


def test_every_parameter_is_used() -> None:
    text = json.dumps({**translated({}), "Parameters": None, "Metadata": None})
    unused = [
        name
        for name in read("template.yaml")["Parameters"]
        if f'"Ref": "{name}"' not in text and f"${{{name}}}" not in text
    ]
    # SAM itself reads this one, to name CodeDeploy's configuration.
    assert unused == ["TrafficShifting"]
