"""The log: one JSON object a line, whatever is in it and whoever reads it."""

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions.shared.api.log import StructuredLog
from tests.support.repository import ROOT

FULL = Path("/dev/full")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """Return the lines that were written."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_says_what_when_who_and_for_which_invocation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988")
    log = StructuredLog("PredictFunction", "INFO")
    log.request_id = "c6af9ac6"

    log.info("predicted", label="7", store_ms=0.5)

    (line,) = lines(capsys)
    written = datetime.fromisoformat(str(line.pop("timestamp")))
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60
    assert line == {
        "level": "INFO",
        "message": "predicted",
        "service": "PredictFunction",
        "function_request_id": "c6af9ac6",
        "xray_trace_id": "Root=1-5759e988",
        "label": "7",
        "store_ms": 0.5,
    }


@pytest.mark.parametrize("level", ["WARNING", "warning"])
def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str], level: str) -> None:
    log = StructuredLog("f", level)
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [line["message"] for line in lines(capsys)] == ["c", "d"]


def test_several_lines_are_written_as_each_would_be(capsys: pytest.CaptureFixture[str]) -> None:
    log = StructuredLog("f", "INFO")
    log.info_each([("predicted", {"label": "}"}), ("failed", {}), ("failed", {"reason": "a\nb"})], batch=3)
    log.info("predicted", label="}", batch=3)
    log.info("failed", batch=3)
    log.info("failed", reason="a\nb", batch=3)
    written = lines(capsys)
    for line in written:
        datetime.fromisoformat(str(line.pop("timestamp")))
    assert written[:3] == written[3:]
    assert written[0] == {"level": "INFO", "message": "predicted", "label": "}", "batch": 3, "service": "f"}


def test_several_lines_may_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    StructuredLog("f", "INFO").info_each([], batch=0)
    assert lines(capsys) == []


def test_an_unknown_level_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="LOG_LEVEL: no such level: 'LOUD'; known are DEBUG, INFO, WARNING, ERROR"):
        StructuredLog("f", "LOUD")


def test_an_error_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="two") as raised:
        raise ValueError("two\nlines")
    StructuredLog("f", "INFO").exception("unexpected error", raised.value)
    (line,) = lines(capsys)
    assert (line["level"], line["exception_name"]) == ("ERROR", "ValueError")
    assert "test_log.py" in str(line["exception"])
    assert str(line["exception"]).endswith("ValueError: two\nlines\n")


@pytest.mark.parametrize("text", ["a\nb", "Zoë \u2028 \U0001f600", "\ud800 alone"])
def test_any_text_stays_one_line(capsys: pytest.CaptureFixture[str], text: str) -> None:
    StructuredLog("f", "INFO").info("said", text=text)
    (line,) = lines(capsys)
    assert line["text"] == text


@pytest.mark.parametrize("value", [b"\xff", ValueError("why"), type], ids=str)
def test_what_is_no_json_is_written_as_text(capsys: pytest.CaptureFixture[str], value: object) -> None:
    StructuredLog("f", "INFO").info("said", value=value)
    (line,) = lines(capsys)
    assert line["value"] == str(value)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    # A line is written when a prediction is committed: it must not become a 500 because a disk is full.
    program = "from functions.shared.api.log import logger; logger.info('lost'); raise SystemExit(3)"
    with FULL.open("wb") as full:
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=full, env=os.environ)
    assert done.returncode in (3, 120)  # 120: Python itself could not flush it at the end either


def test_a_closed_output_is_no_error_either(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    StructuredLog("f", "INFO").info("lost")
