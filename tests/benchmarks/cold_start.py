"""Compare cold starts, from a fresh interpreter to the first response, with bare imports, session and connection."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from functions.shared.ledger.database_url import parse_database_url
from tests.benchmarks.child import ChildError, database, function_environment, run_child
from tests.benchmarks.digits import digits, event, form_event
from tests.benchmarks.measure import ROOT, Progress, Row, on_one_core

HERE = Path(__file__).parent
STARTS = 12
STAGED_STARTS = 10

Starts = dict[str, list[str]]
"""The contenders' command lines, by name."""


def rows(progress: Progress) -> list[Row]:
    """Compare each of the three functions with the work that it cannot avoid."""
    with database() as url, tempfile.TemporaryDirectory() as folder:
        events = _write_events(url, Path(folder))
        starts: Starts = {
            "predict": ["first_response.py", "functions.predict.handler", events["predict"]],
            "predict's imports": ["bare_start.py", "predict"],
            "list": ["first_response.py", "functions.list_predictions.handler", events["list"]],
            "fastapi + mangum": ["bare_start.py"],
            "get": ["first_response.py", "functions.get_prediction.handler", events["get"]],
        }
        measured = _run(starts, url, Path(folder), STARTS, progress)
    bare = measured["fastapi + mangum"]
    return [
        _row("predict", "its bare imports + session + connect", measured["predict"], measured["predict's imports"]),
        *(_row(name, "bare fastapi + mangum + connect", measured[name], bare) for name in ("list", "get")),
    ]


def stages(progress: Progress) -> dict[str, dict[str, float]]:
    """Measure where the time of a cold start goes: for each function, the median milliseconds of each stage."""
    with database() as url, tempfile.TemporaryDirectory() as folder:
        events = _write_events(url, Path(folder))
        starts = {
            "predict": ["first_response.py", "functions.predict.handler", events["predict"], "stages"],
            "list": ["first_response.py", "functions.list_predictions.handler", events["list"], "stages"],
            "get": ["first_response.py", "functions.get_prediction.handler", events["get"], "stages"],
        }
        measured = _run(starts, url, Path(folder), STAGED_STARTS, progress, ready=False)
    return {
        name: {stage: round(median(one[stage] for one in own), 2) for stage in own[0]} for name, own in measured.items()
    }


def _row(name: str, over: str, starts: list[dict[str, float]], bare: list[dict[str, float]]) -> Row:
    """Compare only starts of the same round, which follow each other closely: a machine's speed changes in seconds."""

    def ratio(what: str) -> float:
        return median(one[what] / other[what] for one, other in zip(starts, bare, strict=True))

    parts = {
        "start_ms": round(median(one["ms"] for one in starts), 1),
        "bare_ms": round(median(one["ms"] for one in bare), 1),
        # Processor time leaves out waiting, which callers also feel, but a busy machine does not change it.
        "ratio_of_processor_time": round(ratio("processor_ms"), 3),
    }
    return Row(f"cold start of {name} over {over} (p50)", ratio("ms"), 1.15, parts=parts)


def _write_events(url: str, folder: Path) -> dict[str, str]:
    """Store a prediction, write an event for each function, and return the files' names."""
    stored = run_child(__name__, url)["prediction_id"]
    events = {
        "predict": form_event("/prediction", digits()[0]),
        "list": event("GET", "/predictions", query=b"limit=50"),
        "get": event(
            "GET",
            f"/prediction/{stored}",
            route_key="GET /prediction/{prediction_id}",
            path_parameters={"prediction_id": stored},
        ),
    }
    files = {}
    for name, content in events.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps(content))
        files[name] = str(file)
    return files


def measure() -> dict[str, str]:
    """Store one prediction in this process, and return the answer, which contains its id."""
    from functions.predict.handler import handler
    from tests.benchmarks.digits import Context

    answer = handler(form_event("/prediction", digits()[0]), Context())
    stored: dict[str, str] = json.loads(answer["body"])
    return stored


def _run(
    starts: Starts, url: str, folder: Path, rounds: int, progress: Progress, *, ready: bool = True
) -> dict[str, list[dict[str, float]]]:
    """Start every contender once in each round. The first round does not count, because it compiles the bytecode."""
    address = parse_database_url(url)
    environment = function_environment(url) | {
        "PGUSER": address.user,
        "PGHOST": f"{address.socket_directory}/.s.PGSQL.{address.port}",
        "PGDATABASE": address.database,
        # A function's package contains bytecode, but some installers write none.
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }
    if not ready:  # without this variable, importing a handler prepares nothing
        del environment["AWS_LAMBDA_FUNCTION_NAME"]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in starts}
    for number in range(rounds + 1):
        progress(f"starting {', '.join(starts)}: round {number} of {rounds}")
        with on_one_core(number):
            for name, (script, *arguments) in starts.items():
                command = [sys.executable, str(HERE / script), str(time.monotonic_ns()), *arguments]
                done = subprocess.run(
                    command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
                )
                if done.returncode != 0:
                    raise ChildError(f"{script}: exit status {done.returncode}")
                if number:
                    results[name].append(json.loads(done.stdout.splitlines()[-1]))
    return results
