"""The packages answer the sample events under AWS's runtime interface emulator and client, on Lambda's Python."""

import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from functions.shared.ledger.ledger import Ledger
from local.sample_events import QUEUED_ID, USER
from tests.support.cloudformation import CloudFormation
from tests.support.emulator import Start
from tests.support.repository import DIGIT
from tests.support.sample_events import EVENTS, FUNCTIONS, VARIABLES, Timing, check_result, function_of, queue_sample

_WARM = 5

# CloudFormation's has a test of its own: it says where the answer is waited for.
every_event = pytest.mark.parametrize("name", [name for name in EVENTS if name != "migrate"])


def _answer(name: str, result: dict[str, Any]) -> dict[str, Any]:
    response = check_result(name, result)
    assert response is not None
    answer: dict[str, Any] = json.loads(response.body)
    return answer


@every_event
def test_a_sample_event_is_answered_cold_and_warm(
    start: Start, sampled_ledger: str, report_timing: Callable[[Timing], None], name: str
) -> None:
    event = EVENTS[name]
    function = function_of(name)
    if name == "worker":
        queue_sample(sampled_ledger)
    with start(function, **VARIABLES.get(name, {})) as emulator:
        result, cold = emulator.invoke(event)
        check_result(name, result)
        warm = []
        for _ in range(_WARM):
            result, seconds = emulator.invoke(event)
            if name == "delete_prediction":
                assert result["statusCode"] == 404, "it is gone"
            else:
                check_result(name, result)
            warm.append(seconds)
    report_timing(Timing(name, function.logical_id, cold, warm))


@pytest.mark.parametrize("name", ["predict", "predict_raw", "predict_data_uri"])
def test_an_answered_prediction_is_in_the_database_with_the_bytes_that_were_sent(
    start: Start, sampled_ledger: str, name: str
) -> None:
    with start(function_of(name)) as emulator:
        result, _ = emulator.invoke(EVENTS[name])
    answer = _answer(name, result)
    ledger = Ledger.at(sampled_ledger)
    record, stored = ledger.get(UUID(answer["prediction_id"]), user_id=USER)
    ledger.close()
    assert stored.content == DIGIT.read_bytes()
    assert record.output == answer["prediction"]
    assert record.label == answer["label"]


def test_a_queued_prediction_is_made(start: Start, sampled_ledger: str) -> None:
    queue_sample(sampled_ledger)
    with start(function_of("worker")) as emulator:
        emulator.invoke(EVENTS["worker"])
    ledger = Ledger.at(sampled_ledger)
    record, _ = ledger.get(UUID(QUEUED_ID), user_id=USER)
    ledger.close()
    assert (record.status, record.label) == ("succeeded", "7")


def test_the_input_comes_back_as_it_was_sent(start: Start) -> None:
    with start(function_of("get_input")) as emulator:
        result, _ = emulator.invoke(EVENTS["get_input"])
    response = check_result("get_input", result)
    assert response is not None
    assert response.body == DIGIT.read_bytes()


def test_somebody_else_finds_no_such_record(start: Start) -> None:
    event = json.loads(json.dumps(EVENTS["get_prediction"]))
    event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = "somebody-else"
    with start(function_of("get_prediction")) as emulator:
        result, _ = emulator.invoke(event)
    assert result["statusCode"] == 404


def test_the_schema_is_migrated_and_cloudformation_is_told(
    start: Start, owner_url: str, cloudformation: CloudFormation
) -> None:
    request = {
        "RequestType": "Create",
        "ResponseURL": cloudformation.url,
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Migration",
        "ResourceProperties": {},
    }
    with start(FUNCTIONS["MigrateFunction"], DATABASE_URL=owner_url) as emulator:
        emulator.invoke(request)
    [answer] = cloudformation.answers
    assert json.loads(answer)["Status"] == "SUCCESS", answer
    ledger = Ledger.at(owner_url)
    ledger.ping()
    ledger.close()


def test_an_emulator_is_given_one_event_at_a_time(start: Start) -> None:
    event = EVENTS["predict"]
    results: list[dict[str, Any]] = []
    with start(function_of("predict")) as emulator:
        threads = [threading.Thread(target=lambda: results.append(emulator.invoke(event)[0])) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [result["statusCode"] for result in results] == [201] * 4
