"""What an execution environment does before its first event."""

import os
import subprocess
import sys

import pytest

from tests.support.repository import ROOT

pytestmark = pytest.mark.server

PROGRAM = "from functions.predict.handler import environment; print(len(environment().serving.ledger._pool._idle))"


@pytest.mark.parametrize(("initialization", "connections"), [("on-demand", 1), ("snap-start", 0)])
def test_a_connection_is_open_before_the_first_event_but_none_goes_into_a_snapshot(
    database_url: str, initialization: str, connections: int
) -> None:
    environment = {
        **os.environ,
        "AWS_LAMBDA_FUNCTION_NAME": "PredictFunction",
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization,
        "DATABASE_URL": database_url,
        "MODEL": str(ROOT / "model_artifacts" / "mnist"),
    }

    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(connections)
