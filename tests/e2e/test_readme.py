"""The README and its pages are run as a stranger would run them: every command in them, in its order."""

import csv
import json
import re
import shutil
from pathlib import Path

import httpx
import pytest

from functions.shared.settings import PredictSettings
from tests.support.local_server import Serve, both_servers
from tests.support.ports import free_port
from tests.support.readme import ADDRESS, commands, run, text_of
from tests.support.repository import DIGIT, ROOT
from tests.support.waiting import soon

pytestmark = pytest.mark.server


@both_servers
def test_the_commands_of_the_first_ten_minutes_work_as_they_stand(serve: Serve) -> None:
    first, *others = commands("Try it")
    assert first.strip() == "make serve"
    assert others[-1].strip() == "make test"
    server = serve().start()

    outputs = [run(command, server.address) for command in others[:-1]]

    assert json.loads(outputs[0])["label"] == "7"
    assert len(json.loads(outputs[1])["predictions"]) == 1
    assert outputs[2].endswith("the same bytes\n")


@both_servers
def test_the_lines_that_the_server_prints_work_when_pasted(serve: Serve) -> None:
    server = serve().start()

    for line in server.output.splitlines():
        if line.startswith("curl"):
            assert json.loads(run(line, server.address))


def test_a_baseline_is_made_as_the_readme_says(tmp_path: Path) -> None:
    [make_baseline] = commands("A baseline")
    folder = tmp_path / "model_artifacts" / "diabetes"
    shutil.copytree(ROOT / "model_artifacts" / "diabetes", folder, ignore=shutil.ignore_patterns("baseline.json"))
    assert "r2" in run(make_baseline, ADDRESS, tmp_path, PYTHONPATH=str(ROOT))
    assert json.loads((folder / "baseline.json").read_bytes())["count"] == 442


def test_a_model_of_ones_own_is_checked_and_served_as_the_readme_says(serve: Serve) -> None:
    check, make_serve, call = commands("Bring your own model")
    assert "label" in run(check, ADDRESS) or "predicted" in run(check, ADDRESS)
    found = re.fullmatch(r"make serve MODEL=(\S+)", make_serve.strip())
    assert found
    server = serve(MODEL=found[1]).start()

    record = json.loads(run(call, server.address))

    assert record["model"]["name"] == Path(found[1]).name
    assert isinstance(record["predicted_value"], float)


@both_servers
def test_a_prediction_is_judged_as_the_readme_says(serve: Serve) -> None:
    many, one = commands("Ground truth")
    server = serve().start()

    predicted, told = run(many, server.address).replace("}{", "}\n{").splitlines()
    judged, history = run(one, server.address).replace("}{", "}\n{").splitlines()

    assert json.loads(predicted)["inference_id"] == "order-17"
    assert json.loads(told) == {"ground_truths": 1, "predictions": 1, "changed": 1}
    assert json.loads(judged)["correct"] is True
    assert [entry["ground_truth"] for entry in json.loads(history)["history"]] == ["7", "1"]
    record = httpx.get(f"{server.address}/predictions?correct=true").json()["predictions"][0]
    assert (record["label"], record["ground_truth"]) == ("7", "7")


@both_servers
def test_the_figures_are_answered_as_the_readme_asks_for_them(serve: Serve) -> None:
    server = serve().start()
    httpx.post(f"{server.address}/prediction", files={"file": DIGIT.read_bytes()}, timeout=60)

    statistics, models, performance, drift = [json.loads(run(ask, server.address)) for ask in commands("Figures")]

    assert statistics["total"]["count"] == 1
    assert [group["version"] for group in statistics["total"]["groups"]] == ["1"]
    assert [(one["name"], one["count"]) for one in models["models"]] == [("mnist", 1)]
    assert performance["coverage"] == {"count": 1, "judged": 0, "share": 0.0}
    assert drift["windows"][-1]["count"] == drift["baseline"]["count"] == 1


@both_servers
def test_the_request_of_the_open_inference_protocol_works_as_it_stands(serve: Serve) -> None:
    [call] = commands("Open Inference Protocol")
    server = serve().start()

    answer = json.loads(run(call, server.address))

    [output] = answer["outputs"]
    assert output["data"].index(max(output["data"])) == 7
    [prediction_id] = answer["parameters"]["prediction_ids"]
    assert httpx.get(f"{server.address}/prediction/{prediction_id}").json()["label"] == "7"


def test_the_ledger_answers_the_queries_of_the_readme_whether_the_server_runs_or_not(
    serve: Serve, tmp_path: Path
) -> None:
    digits, patients = serve(), serve(MODEL="model_artifacts/diabetes")
    httpx.post(f"{digits.start().address}/prediction", files={"file": DIGIT.read_bytes()}, timeout=60)
    digits.stop()
    patient = json.loads((ROOT / "local" / "samples" / "diabetes.json").read_text("utf-8"))
    httpx.post(f"{patients.start().address}/prediction", json=patient, timeout=60)

    def ask(command: str) -> str:
        return run(command, patients.address, tmp_path, LEDGER_HOME=str(patients.home))

    columns, *queries, export = commands("Query the ledger")
    assert "predicted_value::float8 computes with it" in ask(columns)
    csv_queries = [query.replace("make psql", "make psql ARGS=--csv") for query in queries]
    shares, least_confident, features = [list(csv.DictReader(ask(query).splitlines())) for query in csv_queries]
    assert [(row["label"], row["count"], row["share"]) for row in shares] == [("7", "1", "1.000")]
    assert [row["label"] for row in least_confident] == ["7"]
    assert [(row["age"], row["body_mass_index"]) for row in features] == [("62", "28.9")]
    assert float(features[0]["progression"]) > 0

    patients.stop()
    ask(export)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert [row["model_name"] for row in csv.DictReader(file)] == ["mnist", "diabetes"]


def test_the_metrics_are_where_the_readme_says(serve: Serve) -> None:
    first, *_, make_serve, ask = commands("Serve it from a container or a GPU")
    assert make_serve.strip().startswith(f"{first.strip()} ")
    found = re.fullmatch(r"make serve SERVER=batching METRICS_PORT=(\d+)", make_serve.strip())
    assert found
    port = str(free_port())
    server = serve(SERVER="batching", METRICS_PORT=port, WORKERS="1").start()
    httpx.post(f"{server.address}/prediction", files={"file": DIGIT.read_bytes()}, timeout=60)

    def counted() -> str:
        return run(ask.replace(found[1], port), server.address)

    def in_the_answer() -> set[str]:
        return set(re.findall(r"^# TYPE (\w+) ", counted(), re.MULTILINE))

    assert "onnx_ledger_predictions_total 1.0" in counted()
    named = set(re.findall(r"`(onnx_ledger_\w+)`", text_of("Serve it from a container or a GPU")))
    assert soon(lambda: "onnx_ledger_drift" in in_the_answer(), 60)  # what the ledger tells comes with the first rollup
    # Nothing has been refused or has failed.
    assert named - {"onnx_ledger_refusals_total", "onnx_ledger_failures_total"} == in_the_answer()


def test_an_error_of_a_function_is_a_problem_and_one_of_the_gateway_is_a_message(serve: Serve) -> None:
    server = serve().start()

    refused = httpx.post(f"{server.address}/prediction", content=b"", timeout=60)
    no_such_route = httpx.get(f"{server.address}/predict")

    assert refused.headers["content-type"] == "application/problem+json"
    assert {"title", "detail"} <= refused.json().keys()
    assert (no_such_route.status_code, no_such_route.json()) == (404, {"message": "Not Found"})


def test_every_setting_of_the_functions_is_in_the_configuration_table() -> None:
    for name in PredictSettings.model_fields:
        assert f"`{name.upper()}`" in text_of("Configuration")
