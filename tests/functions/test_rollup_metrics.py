"""The rollup function writes how each version does to its log, as metrics of CloudWatch."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest

from functions.rollup import handler as rollup
from functions.rollup.metrics import write_metrics
from functions.shared.ledger.identifiers import first_id_at
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import Failure, NewInput, QueuedPrediction
from functions.shared.ledger.statistics import StatisticsLedger
from functions.shared.log import logger
from functions.shared.prediction.watching import LEAST, ColumnDrift, Figures, VersionFigures, watch
from tests.support.database import Query
from tests.support.event_transport import Context
from tests.support.judged_rows import classified, digits, insert
from tests.support.judging import MNIST, inverted, move_to, post_digits, small_digits, upload_labels
from tests.support.predictions import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("within_one_hour")]

# AWS, "Specification: Embedded metric format", with the limits that it names.
FORMAT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 1_600_000_000_000, "maximum": 4_100_000_000_000},
                "CloudWatchMetrics": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 255},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "minItems": 1,
                                    "maxItems": 30,
                                    "items": {"type": "string", "minLength": 1, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                                        "Unit": {"enum": ["None", "Count", "Percent", "Milliseconds"]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}

SECOND: Final = 102
"""`model_id` of another file of the same version."""

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Return the lines with metrics since the last call, each as CloudWatch would take it."""

    def read() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        for line in found:
            jsonschema.validate(line, FORMAT)
            [directive] = line["_aws"]["CloudWatchMetrics"]
            for name in (one["Name"] for one in directive["Metrics"]):
                assert isinstance(line[name], int | float), name
            for name in {name for dimensions in directive["Dimensions"] for name in dimensions}:
                assert isinstance(line[name], str), name
                assert 0 < len(line[name]) <= 1024, name
        return found

    return read


def metrics_of(line: dict[str, Any]) -> dict[str, float]:
    return {one["Name"]: line[one["Name"]] for one in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


@pytest.fixture
def roll_up(environment: pytest.MonkeyPatch, forget: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call the function as the stack sets it up."""
    environment.setenv("METRICS_NAMESPACE", "the-stack")
    environment.setenv("AWS_LAMBDA_FUNCTION_NAME", "the-stack-RollupFunction-1")
    yield lambda: rollup.handler({}, Context(milliseconds=300_000)) and None
    logger.configure("onnx-ledger", "INFO")
    forget()


def an_hour_ago() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)


def test_a_version_that_predicted_is_a_line_with_its_metrics(
    api: httpx.Client, query: Query, roll_up: Callable[[], None], lines: Lines
) -> None:
    images, labels = (one[:200] for one in small_digits())
    ids = [f"scan {number}" for number in range(200)]
    predicted = post_digits(api, inverted(images), ids)  # type: ignore[arg-type]
    move_to(query, predicted.ids, an_hour_ago())
    upload_labels(api, ids[:100], list(labels[:100]))

    roll_up()

    of_all, line = lines()
    assert (of_all["service"], metrics_of(of_all)) == ("the-stack-RollupFunction-1", {"failure_share": 0})
    assert of_all["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]
    assert (line["service"], line["model"], line["version"]) == ("the-stack-RollupFunction-1", "mnist", "1")
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "the-stack"
    assert directive["Dimensions"] == [["service"], ["model", "version"]]
    found = metrics_of(line)
    right = sum(one == other for one, other in zip(predicted.labels[:100], labels, strict=False))
    assert (found["accuracy"], found["coverage"]) == (right / 100, 0.5)
    assert "picture:brightness" in line["drifted"]
    assert found["drifted_columns"] == len(line["drifted"])
    assert line["jensen_shannon_distance"]["picture:brightness"] > 0.5


def test_the_figures_are_those_that_the_api_answers(api: httpx.Client, database_url: str, query: Query) -> None:
    images, labels = small_digits()
    ids = [f"scan {number}" for number in range(300)]
    predicted = post_digits(api, images[:300], ids)
    start = an_hour_ago()
    move_to(query, predicted.ids, start)
    upload_labels(api, ids, labels[:300])

    ledger = StatisticsLedger.at(database_url, longest=60)
    [figures] = watch(ledger).versions
    ledger.close()

    span = {"since": start.isoformat(), "until": (start + timedelta(hours=1)).isoformat()}
    performance = api.get(f"{MNIST}/performance", params=span).json()
    assert figures.accuracy == performance["classification"]["accuracy"]
    assert figures.coverage == performance["coverage"]["share"]
    [window] = api.get(f"{MNIST}/drift", params={"window": "hour", **span}).json()["windows"]
    told = {name: column for name, column in window["columns"].items() if column["window"]["count"]}
    assert figures.drift == {
        name: ColumnDrift(column["jensen_shannon_distance"], column["drift"]) for name, column in told.items()
    }
    assert figures.drifted_columns == len(window["drifted"])


def test_a_version_of_several_files_has_the_baseline_that_the_api_takes(
    api: httpx.Client, database_url: str, query: Query
) -> None:
    start, shares = an_hour_ago(), {"a": 0.9, "b": 0.08, "c": 0.02}
    rows = [classified(start + number * timedelta(seconds=1), "a", shares) for number in range(1000)]
    rows += [
        classified(start + number * timedelta(seconds=1), "b", {"a": 0.02, "b": 0.9, "c": 0.08}, model_id=SECOND)
        for number in range(1000, 2000)
    ]
    insert(query, [digits(), digits(SECOND)], rows)

    ledger = StatisticsLedger.at(database_url, longest=60)
    [figures] = watch(ledger).versions
    ledger.close()

    span = {"window": "hour", "since": start.isoformat(), "until": (start + timedelta(hours=1)).isoformat()}
    answer = api.get("/models/digits/versions/1/drift", params=span).json()
    assert (answer["baseline"]["kind"], answer["baseline"]["count"]) == ("first", 1000)
    assert "label" in answer["windows"][0]["drifted"]
    assert figures.drift == {
        name: ColumnDrift(column["jensen_shannon_distance"], column["drift"])
        for name, column in answer["windows"][0]["columns"].items()
    }


def test_only_the_last_24_whole_hours_count(
    api: httpx.Client, query: Query, roll_up: Callable[[], None], lines: Lines
) -> None:
    images, _ = small_digits()
    old, young, late = (post_digits(api, images[first : first + 40]).ids for first in (0, 40, 80))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    move_to(query, old, hour - timedelta(hours=25))
    move_to(query, young, hour - timedelta(hours=24))
    move_to(query, late, hour)

    roll_up()

    _, line = lines()
    assert line["predictions"] == 40


def test_who_has_not_predicted_is_no_line(api: httpx.Client, roll_up: Callable[[], None], lines: Lines) -> None:
    post_digits(api, small_digits()[0][:1])  # in the hour that is not over
    roll_up()
    assert lines() == []


@pytest.mark.parametrize("made", [0, 60])
def test_what_has_failed_is_told_although_it_is_of_no_version(
    api: httpx.Client,
    database_url: str,
    query: Query,
    roll_up: Callable[[], None],
    lines: Lines,
    made: int,
) -> None:
    if made:
        move_to(query, post_digits(api, small_digits()[0][:made]).ids, an_hour_ago())
    first = first_id_at(an_hour_ago()).int
    queued = [
        QueuedPrediction(NewInput(b"no picture", "image/png"), "anna", prediction_id=UUID(int=first + number))
        for number in range(40)
    ]
    ledger = Ledger.at(database_url, longest=60)
    for one in queued:
        ledger.enqueue(one)
    ledger.complete(MODEL, [Failure(one.prediction_id, "no picture") for one in queued])
    ledger.close()

    roll_up()

    of_all, *of_versions = lines()
    assert metrics_of(of_all) == {"failure_share": 40 / (40 + made)}
    assert len(of_versions) == (1 if made else 0)


def test_without_a_namespace_there_is_no_line(
    api: httpx.Client, query: Query, environment: pytest.MonkeyPatch, forget: Callable[[], None], lines: Lines
) -> None:
    environment.delenv("METRICS_NAMESPACE", raising=False)
    forget()
    move_to(query, post_digits(api, small_digits()[0][:40]).ids, an_hour_ago())
    rollup.handler({}, Context(milliseconds=300_000))
    assert lines() == []


def test_a_share_of_few_is_no_metric(
    api: httpx.Client, query: Query, roll_up: Callable[[], None], lines: Lines
) -> None:
    images, labels = small_digits()
    ids = [f"scan {number}" for number in range(LEAST - 1)]
    move_to(query, post_digits(api, images[: LEAST - 1], ids).ids, an_hour_ago())
    upload_labels(api, ids, ["0" if label == "1" else "1" for label in labels[: LEAST - 1]])  # all wrong
    roll_up()
    [line] = lines()
    assert metrics_of(line) == {"coverage": 1}


def test_every_figure_is_written_as_the_format_wants_it_whatever_it_is(lines: Lines) -> None:
    column = ColumnDrift(None, None)
    versions = [
        VersionFigures("a", "1", 0, None, 0.0, {}),
        VersionFigures("b", "ü" * 100, 10**9, 1.0, 1.0, {"label": column, "feature:ä b": ColumnDrift(1.0, True)}),
    ]
    write_metrics("the stack", Figures(0.5, versions))
    assert [metrics_of(line) for line in lines()] == [
        {"failure_share": 0.5},
        {"coverage": 0},
        {"accuracy": 1, "coverage": 1, "drifted_columns": 1},
    ]
