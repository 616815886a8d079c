"""The log: one JSON object a line, whatever is in it and whoever reads it."""

import io
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions.shared.log import StructuredLog, logger, start_logging
from functions.shared.settings import LedgerSettings, SettingsError
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


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log = StructuredLog("f", "WARNING")
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


def test_a_level_is_named_in_any_case_and_an_unknown_one_is_refused() -> None:
    database = {"DATABASE_URL": "postgresql://ledger@localhost/ledger"}
    assert LedgerSettings.from_environment(database | {"LOG_LEVEL": "warning"}).log_level == "WARNING"
    with pytest.raises(SettingsError, match="LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING', 'ERROR'"):
        LedgerSettings.from_environment(database | {"LOG_LEVEL": "LOUD"})


def test_what_inference_logs_is_a_line_of_the_log_and_only_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "PredictFunction")
    of_lambda = logging.StreamHandler(sys.stdout)
    logging.getLogger().addHandler(of_lambda)
    try:
        start_logging("INFO")
        start_logging("INFO")
        logging.getLogger("functions.shared.inference.location").info("fetched the model: %.1f MB", 1.5)
        logging.getLogger("functions.shared.inference.model").debug("below the level")
    finally:
        logging.getLogger().removeHandler(of_lambda)
        logging.getLogger("functions.shared.inference").propagate = True
        logging.getLogger("functions.shared.inference").handlers = []
        logger.configure("onnx-ledger", "INFO")

    (line,) = lines(capsys)
    assert line["message"] == "fetched the model: 1.5 MB"
    assert (line["level"], line["service"]) == ("INFO", "PredictFunction")
    assert line["logger"] == "functions.shared.inference.location"


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
    program = "from functions.shared.log import logger; logger.info('lost'); raise SystemExit(3)"
    with FULL.open("wb") as full:
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=full, env=os.environ)
    assert done.returncode in (3, 120)  # 120: Python itself could not flush it at the end either


def test_a_closed_output_is_no_error_either(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    StructuredLog("f", "INFO").info("lost")
