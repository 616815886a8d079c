"""What can become of an execution environment: one snapshot restored twice, and too little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from tests.support.database import predictions
from tests.support.repository import DIGIT, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


def child(database_url: str, *arguments: str, **variables: str) -> Any:
    """Run `tests.faults.environment_child` and return what it says."""
    environment = {
        **os.environ,
        "AWS_LAMBDA_FUNCTION_NAME": "predict",
        "DATABASE_URL": database_url,
        "MODEL": str(ROOT / "model_artifacts" / "mnist"),
        **variables,
    }
    command = [sys.executable, "-m", "tests.faults.environment_child", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_a_snapshot_that_is_restored_twice_shares_nothing(database_url: str) -> None:
    done = child(database_url, "snapshot", AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    one, other = done["processes"]
    assert done["left_open"] == []
    assert one["sockets"]
    assert not set(one["sockets"]) & set(other["sockets"])
    for kind in ("prediction_ids", "input_ids"):
        assert len({*one[kind], *other[kind]}) == 40
    connection = Connection(parse_database_url(database_url))
    stored = {str(row[0]) for row in connection.run("SELECT prediction_id FROM predictions", {})}
    connection.close()
    assert stored == {*one["prediction_ids"], *other["prediction_ids"]}


def test_without_a_snapshot_the_environment_is_connected_when_the_first_request_comes(database_url: str) -> None:
    """Otherwise the test above would find nothing to be closed."""
    assert child(database_url, "initialized")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF"])
def test_what_there_is_no_memory_to_decode_is_not_stored_and_the_next_request_works(
    database_url: str, tmp_path: Path, form: str
) -> None:
    large = tmp_path / "large"
    Image.new("RGB", (4900, 4900), "red").save(large, form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
    refused, fine = child(database_url, "memory", str(large), str(DIGIT))
    assert refused["status"] == 503
    assert "nothing was stored" in refused["detail"]
    assert int(refused["headers"]["retry-after"]) > 0
    assert fine["status"] == 201
    assert predictions(database_url) == 2
