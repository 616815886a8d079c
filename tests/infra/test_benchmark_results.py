"""The figures and pictures that the README shows are those that were measured."""

import json
import xml.etree.ElementTree as ET
from contextlib import closing

import pytest

from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import PredictionFilter
from tests.benchmarks.digits import digits
from tests.benchmarks.measure import Row
from tests.benchmarks.pictures import STAGES, cold_start, draw, latency_over_rows
from tests.benchmarks.report import RESULTS, read_results, table
from tests.benchmarks.warm import Floor
from tests.support.predictions import MODEL, prediction

BENCHMARKS = RESULTS.parent / "README.md"


def test_the_pictures_are_drawn_from_the_results() -> None:
    kept = {file: file.read_text() for file in sorted(RESULTS.glob("*.svg"))}
    assert sorted(draw()) == sorted(kept)
    assert {file: file.read_text() for file in kept} == kept


@pytest.mark.parametrize("name", ["batching", "bench", "ten_million", "shortcuts"])
def test_the_figures_in_the_readme_are_the_results(name: str) -> None:
    results = read_results(name)
    text = BENCHMARKS.read_text()
    assert results["machine"] in text
    assert table([Row.from_json(row) for row in results["rows"]]) in text


def test_every_question_is_a_line_with_its_name_in_the_picture() -> None:
    latency = {"a < b": {"10": 1.0, "1000": 2.0}, "c": {"10": 1.0, "1000": 2.0}}
    picture = ET.fromstring(latency_over_rows(latency))
    namespace = {"svg": "http://www.w3.org/2000/svg"}
    assert len(picture.findall("svg:polyline", namespace)) == 2
    texts = {text.text: float(text.attrib["y"]) for text in picture.findall("svg:text", namespace)}
    assert abs(texts["a < b"] - texts["c"]) >= 17  # one under the other, though their lines end at one point


def test_a_bar_is_as_long_as_its_stages_take_together() -> None:
    names = [name for stages in STAGES.values() for name in stages]
    picture = cold_start({"predict": dict.fromkeys(names, 10.0), "list": {"interpreter": 20.0}})
    assert f"{len(names) * 10} ms" in picture
    assert "20 ms" in picture


def test_results_are_plain_json() -> None:
    row = Row("a over b", 1.25, 1.5, parts={"a_ms": 5.0, "b_ms": 4.0})
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_the_floor_of_the_warm_benchmark_runs_the_statements_as_they_are(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    stored = prediction()
    with closing(Ledger.at(database_url, longest=60)) as ledger:
        ledger.store(MODEL, [stored])
        floor = Floor(digits(), stored.prediction_id)
        floor.predict()
        floor.get()
        floor.page()
        floor.close()
        assert len(ledger.list(PredictionFilter(), limit=10).records) == 2
