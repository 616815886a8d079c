"""Each of the project's shortcuts against the library that it replaces: `python -m tests.benchmarks.shortcuts`.

Processor time is compared, not the time on the clock, because other work on the machine lengthens only the latter.
`docs/decisions/` says why each shortcut was taken, and when to delete it.
"""

import contextlib
import io
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

import psutil
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from mangum import Mangum
from PIL.PngImagePlugin import PngImageFile
from pydantic_core import to_json
from python_multipart import FormParser
from python_multipart.multipart import File

from functions.predict.multipart import parse_form
from functions.shared.api.app import Application, DirectRoute, create_app, create_handler
from functions.shared.inference.pillow_core import to_array
from functions.shared.inference.plain_png import read_plain_png
from functions.shared.ledger import arrays
from functions.shared.ledger.arrays import Array, ElementType
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.driver import NativeSession
from functions.shared.ledger.login import start_session
from functions.shared.log import StructuredLog
from tests.benchmarks.child import database, plain_environment
from tests.benchmarks.digits import BOUNDARY, CONTENT_TYPE, Context, digits, form, form_event
from tests.benchmarks.measure import MODEL, ROOT, Row, machine, on_one_core
from tests.benchmarks.report import RESULTS, print_table, table, write_results

WORTH_ITS_PRICE: Final = 0.95
"""The largest ratio at which a shortcut is kept: own code that saves less than a twentieth is not worth reading."""

ABOUT_EQUAL: Final = 1.15
"""The same for a case that gains nothing, and goes the shortcut's way because others do."""

ROUNDS: Final = 16
ROUND_SECONDS: Final = 0.2  # processor time of one side in one round
ROWS: Final = 100  # what the template lets a worker take at once

_RESULT: Final = {
    "prediction_id": (arrays.UUIDS, "uuid"),
    "duration_ms": (arrays.DOUBLE_PRECISION, "double precision"),
    "confidence": (arrays.DOUBLE_PRECISION, "double precision"),
    "likely_class": (arrays.BIGINT, "bigint"),
    "label": (arrays.TEXT, "text"),
    "predicted_value": (arrays.JSONB, "jsonb"),
    "output": (arrays.JSONB, "jsonb"),
}
_RESULT_AND_INPUT: Final = {**_RESULT, "content": (arrays.BYTEA, "bytea")}
_ECHO: Final = (
    "SELECT :id::uuid, :content::bytea, :label::text, :confidence::double precision, :likely_class::integer, "
    ":created_at::text, :user_id::text, :filename::text"
)


@dataclass(frozen=True)
class Comparison:
    """A shortcut and the library's way, which give the same answer."""

    what: str
    shortcut: Callable[[], object]
    library: Callable[[], object]
    clock: Callable[[], float] = time.process_time
    """The processor time so far, in seconds, of every process that takes part."""
    most: float = WORTH_ITS_PRICE
    """The largest ratio that the shortcut may have."""


def measure(comparison: Comparison) -> Row:
    """Compare processor times in alternating rounds; the ratio is the median of the rounds' ratios.

    Raises
    ------
    RuntimeError
        If the two sides do not give the same answer.
    """
    if comparison.shortcut() != comparison.library():
        raise RuntimeError(f"{comparison.what}: the shortcut and the library give different answers")
    sides = [comparison.shortcut, comparison.library]
    calls = [_calls_in_a_round(side, comparison.clock) for side in sides]
    took: list[list[float]] = [[], []]
    for number in range(ROUNDS):
        with on_one_core(number // 2):
            for side in (0, 1) if number % 2 else (1, 0):
                took[side].append(_per_call(sides[side], calls[side], comparison.clock))
    ratio = median(own / other for own, other in zip(*took, strict=True))
    own_us, library_us = (round(median(side) * 1e6, 1) for side in took)
    return Row(comparison.what, ratio, comparison.most, parts={"own_us": own_us, "library_us": library_us})


def _calls_in_a_round(call: Callable[[], object], clock: Callable[[], float]) -> int:
    calls = 1
    while (took := _per_call(call, calls, clock) * calls) < ROUND_SECONDS / 4:
        calls *= 2
    return max(1, round(calls * ROUND_SECONDS / took))


def _per_call(call: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(calls):
        call()
    return (clock() - began) / calls


def in_this_process() -> Iterator[Comparison]:
    """Compare what needs neither a database nor a fresh interpreter."""
    digit, context = digits()[0], Context()
    event = form_event("/prediction", digit)

    def app(route: type[APIRoute]) -> Any:
        router = APIRouter(route_class=route)

        @router.post("/prediction")
        async def echo(request: Request) -> Response:
            return Response(await request.body())

        return create_app(router)

    direct, routed = create_handler(app(DirectRoute)), create_handler(app(APIRoute))
    looped = Mangum(Application(app(DirectRoute)), lifespan="off")
    yield Comparison(
        "an event to its answer: no event loop over Mangum's",
        lambda: direct(event, context),
        lambda: looped(event, context),  # type: ignore[arg-type]  # a context that is never read
    )
    yield Comparison(
        "an event to its answer: DirectRoute over FastAPI's route",
        lambda: direct(event, context),
        lambda: routed(event, context),
    )

    def pillow() -> bytes:
        with PngImageFile(io.BytesIO(digit)) as image:
            return image.tobytes()

    def plain_png() -> bytes | None:
        image = read_plain_png(digit, lambda _width, _height: None)
        return None if image is None else to_array(image).tobytes()

    yield Comparison("a PNG file of 28 x 28: read_plain_png over Pillow's PngImageFile", plain_png, pillow)

    body, header = form(digit), CONTENT_TYPE.decode()

    def python_multipart() -> list[bytes]:
        files: list[File] = []
        parser = FormParser("multipart/form-data", None, files.append, boundary=BOUNDARY)
        parser.write(body)
        parser.finalize()
        for file in files:
            file.file_object.seek(0)
        return [file.file_object.read() for file in files]

    yield Comparison(
        "a form with a digit: parse_form over python-multipart's FormParser",
        lambda: [part.content for part in parse_form(header, body)],
        python_multipart,
    )


class _JsonFormatter(logging.Formatter):
    """Formats a record as `StructuredLog` writes its line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname, "message": record.getMessage(), **record.fields}  # type: ignore[attr-defined]
        line["timestamp"] = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        return json.dumps({**line, "service": record.name})


def of_a_log() -> Iterator[Comparison]:
    """Compare one line of the log, written to a file that keeps nothing."""
    fields = {"prediction_id": str(uuid4()), "user_id": "anonymous", "model": "mnist", "batch": 1, "store_ms": 0.412}
    own = StructuredLog()
    logger = logging.getLogger("tests.benchmarks.shortcuts")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(_JsonFormatter())
        logger.addHandler(handler)
        yield Comparison(
            "a line of the log: StructuredLog over logging with a JSON formatter",
            lambda: own.info("predicted", **fields),
            lambda: logger.info("predicted", extra={"fields": fields}),
        )
    logger.removeHandler(handler)


def with_a_database(url: str) -> Iterator[Comparison]:
    """Compare what PostgreSQL takes part in: its processes count."""
    address = parse_database_url(url)
    own = Connection(address)
    session, _ = start_session(NativeSession, address, settings={"client_encoding": "UTF8", "TimeZone": "UTC"})
    [[own_pid]], [[session_pid]] = own.run("SELECT pg_backend_pid()", {}), session.run("SELECT pg_backend_pid()")
    processes = [psutil.Process(int(pid)) for pid in (own_pid, session_pid)]

    def clock() -> float:
        return time.process_time() + sum(sum(process.cpu_times()[:2]) for process in processes)

    record = {"id": uuid4(), "content": digits()[0], "label": "7", "confidence": 0.99, "likely_class": 7}
    record |= {"created_at": "2026-11-28T00:00:00Z", "user_id": "anonymous", "filename": "digit.png"}
    prepared = session.prepare(_ECHO)
    yield Comparison(
        "a statement, client and server: Connection.run over pg8000's prepared statement",
        lambda: own.run(_ECHO, record),
        lambda: prepared.run(**record),
        clock,
    )

    values: dict[str, Any] = {"duration_ms": 0.25, "confidence": 0.99, "likely_class": 7, "label": "7"}
    values |= {"predicted_value": '"7"', "output": json.dumps([0.0123456789] * 10)}
    results = [{"prediction_id": uuid4(), **values} for _ in range(ROWS)]
    with_inputs = [{**result, "content": content} for result, content in zip(results, cycle(digits()), strict=False)]
    yield Comparison(
        f"{ROWS} predictions with their pictures, client and server: binary arrays over JSON",
        *_many_rows(own, _RESULT_AND_INPUT, with_inputs),
        clock,
    )
    yield Comparison(
        f"{ROWS} outcomes without pictures, client and server: binary arrays over JSON",
        *_many_rows(own, _RESULT, results),
        clock,
        most=ABOUT_EQUAL,
    )
    own.close()
    session.close()


def _many_rows(
    connection: Connection, columns: Mapping[str, tuple[ElementType, str]], rows: Sequence[Mapping[str, object]]
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return two ways to have the server count what it is sent: as an array a column, and as a JSON array of rows."""
    unnested = ", ".join(f":{name}::{kind}[]" for name, (_, kind) in columns.items())
    typed = ", ".join(f"{name} {'text' if kind == 'bytea' else kind}" for name, (_, kind) in columns.items())
    content, decoded = ("content", "decode(content, 'hex')") if "content" in columns else ("label", "label")
    counted = "SELECT count(output), sum(length({}))::integer FROM "
    from_arrays = f"{counted.format(content)} unnest({unnested}) AS new_row ({', '.join(columns)})"
    from_json = f"{counted.format(decoded)} json_to_recordset(:rows::json) AS new_row ({typed})"

    def as_arrays() -> object:
        sent = {name: Array(element, [row[name] for row in rows]) for name, (element, _) in columns.items()}
        return connection.run(from_arrays, sent)

    def as_json() -> object:
        return connection.run(from_json, {"rows": to_json(rows, bytes_mode="hex").decode()})

    return as_arrays, as_json


def in_fresh_interpreters() -> Iterator[Comparison]:
    """Compare what a cold start loads."""
    model = MODEL / "model.onnx"

    def python(code: str) -> Callable[[], object]:
        command = [sys.executable, "-c", code]
        environment = plain_environment()
        return lambda: subprocess.run(command, cwd=ROOT, env=environment, check=True).returncode

    def clock() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    own = f"from functions.shared.inference.onnx_file import read_signature as read\nread(Path({str(model)!r}))"
    yield Comparison(
        "a fresh interpreter to a model's signature: onnx_file over the onnx package",
        python(f"from pathlib import Path\n{own}"),
        python(f"import onnx\nonnx.load({str(model)!r}, load_external_data=False).graph.input"),
        clock,
    )
    load = "import functions.list_predictions.handler"
    yield Comparison(
        "a fresh interpreter to the imports of list: without pydantic.v1 over with it",
        python(f"import sys\nsys.modules['pydantic.v1'] = None\n{load}"),
        python(load),
        clock,
    )


def comparisons(database_url: str) -> Iterator[Comparison]:
    """Give every comparison; each holds until the next is asked for."""
    yield from in_this_process()
    yield from of_a_log()
    yield from with_a_database(database_url)
    yield from in_fresh_interpreters()


def main() -> int:
    """Measure all, print a table, keep the figures; 0 if every shortcut is worth its price."""
    rows = []
    with database() as url:
        for comparison in comparisons(url):
            print(comparison.what, file=sys.stderr, flush=True)
            rows.append(measure(comparison))
    print_table(rows)
    write_results("shortcuts", {"machine": machine(), "rounds": ROUNDS, "rows": [row.to_json() for row in rows]})
    print(f"written: {RESULTS / 'shortcuts.json'}; for README.md:\n\n{table(rows)}")
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
