"""The batching server under load: over what one writes by hand, over servers that store nothing, and over itself.

`python -m tests.benchmarks.batching PART...` runs parts of it: `compared`, `extras`, `heavy`, `memory`, `overload`.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.prediction.instances import run
from local.services.postgres import EmbeddedPostgres
from tests.benchmarks import generator
from tests.benchmarks.child import ChildError
from tests.benchmarks.digits import digits
from tests.benchmarks.generator import Load, load
from tests.benchmarks.measure import MODEL, Progress, Row, machine
from tests.benchmarks.networks import mobilenet, photographs
from tests.benchmarks.report import RESULTS, print_table, read_results, table, write_results
from tests.benchmarks.requests import read_requests, write_requests
from tests.benchmarks.servers import (
    Server,
    batching_server,
    bentoml_app,
    by_hand_app,
    free_port,
    lacks,
    litserve_app,
    plain_app,
    processor_seconds,
    stored_predictions,
)

CONNECTIONS: Final = (1, 8, 32, 64)
MOST: Final = CONNECTIONS[-1]
PLAIN_CONNECTIONS: Final = (1, 8, 32)
ROUNDS: Final = int(os.environ.get("BATCHING_ROUNDS", "3"))
SECONDS: Final = float(os.environ.get("BATCHING_SECONDS", "4"))
RESTLESS: Final = frozenset({"litserve", "bentoml"})
FEW: Final = 2_000
MANY: Final = int(os.environ.get("BATCHING_REQUESTS", "30000"))
"""Requests of `memory` and of `overload`; the full form has 200,000."""

README: Final = Path(__file__).with_name("README.md")
TABLE: Final = re.compile(r"^`python -m tests\.benchmarks\.batching --write`, on (.*?\n\n(?:\|.*\n)+)", re.MULTILINE)
"""What the README says of the results."""

_WARM_SECONDS: Final = 2.0
_FIRST_ANSWER: Final = 60.0  # seconds in which a server has to answer for the first time
_SILENCE: Final = 0.2
"""Seconds in which a server stores nothing more when it is done."""

_TOLERANCE: Final = 1e-4
_ALL_OUTPUTS: Final = """
    SELECT i.content, p.output, count(*) FROM predictions AS p JOIN inputs AS i USING (input_id)
    GROUP BY i.content, p.output
"""


class System(NamedTuple):
    """A server that runs, and the requests that it takes."""

    server: Server
    requests: Path
    database: EmbeddedPostgres | None = None
    """Where it stores its predictions; None if it stores nothing."""

    def stored(self) -> int:
        """Return how many predictions it has stored."""
        return 0 if self.database is None else stored_predictions(self.database.url)

    def processor_seconds(self) -> float:
        """Return the processor time that the server and its database have used."""
        pids = [self.server.process.pid]
        if self.database is not None and self.database.pid is not None:
            pids.append(self.database.pid)
        return processor_seconds(pids)


def rows(progress: Progress) -> list[Row]:
    """Measure all parts."""
    progress(f"load comes from {generator.name()}")
    return [row for name, part in PARTS.items() for row in part(lambda line, name=name: progress(f"{name}: {line}"))]  # type: ignore[misc]


def compared(progress: Progress) -> list[Row]:
    """Compare with what one writes by hand, LitServe, BentoML and the plain Keras app."""
    if missing := lacks("by-hand", "psycopg"):
        raise ChildError(missing)
    with contextlib.ExitStack() as running:
        folder = _folder(running)
        images = digits()
        requests = write_requests(folder / "digits", images)
        progress("starting the servers")
        database = _database(running, folder / "ours")
        systems = {"ours": System(running.enter_context(batching_server(folder, database.url)), requests, database)}
        other = _database(running, folder / "by_hand")
        systems["by_hand"] = System(running.enter_context(by_hand_app(folder, other.url)), requests, other)
        if _has("litserve", progress):
            systems["litserve"] = System(running.enter_context(litserve_app(folder)), requests)
        if _has("bentoml", progress):
            own = write_requests(folder / "bentoml_digits", images, field="images")
            systems["bentoml"] = System(running.enter_context(bentoml_app(folder)), own)
        for name, system in systems.items():
            _first_answer(system)
            progress(f"{name} answers")
        measured = {
            connections: _in_turn(systems, connections, ROUNDS, SECONDS, progress) for connections in CONNECTIONS
        }
        _check_outputs(database.url, images)
    rows = [_over_by_hand(measured, connections, target) for connections, target in ((64, 3.5), (8, 1.4), (1, 1.1))]
    rows.append(_p99_over_by_hand(measured[MOST]))
    rows += [
        _ratio(
            f"the batching server, {MOST} connections: requests/s over {title}, which stores nothing",
            measured[MOST]["ours"],
            measured[MOST][name],
            name,
            5,
        )
        for name, title in (("litserve", "LitServe"), ("bentoml", "BentoML"))
        if name in systems
    ]
    ours = max(measured[MOST]["ours"], key=lambda one: one.per_second)
    return [*rows, *_over_plain(ours, progress)]


def _over_plain(ours: Load, progress: Progress) -> list[Row]:
    """Compare with the plain Keras app, which is so slow that the noise of the machine does not matter."""
    if missing := lacks("plain", "tensorflow"):
        progress(f"the plain Keras app is left out: {missing}")
        return []
    with contextlib.ExitStack() as running:
        folder = _folder(running)
        requests = write_requests(folder / "digits", digits())
        database = _database(running, folder / "plain")
        system = {"plain": System(running.enter_context(plain_app(folder, database.url)), requests, database)}
        _first_answer(system["plain"])
        loads = {number: _in_turn(system, number, 1, SECONDS, progress)["plain"][0] for number in PLAIN_CONNECTIONS}
    best = max(loads, key=lambda number: loads[number].per_second)
    what = f"the batching server, {MOST} connections: requests/s over the plain Keras app at its best"
    parts = {"ours_per_s": ours.per_second, "plain_per_s": loads[best].per_second, "plain_connections": float(best)}
    return [_row(what, ours.per_second / loads[best].per_second, 200, parts)]


def extras(progress: Progress) -> list[Row]:
    """Compare with itself: tokens that it checks, keys on every request, metrics, and all of them."""
    with contextlib.ExitStack() as running:
        folder = _folder(running)
        images = digits()
        tokens, bearer = _issuer(folder)
        database = _database(running, folder / "ours")
        plain = write_requests(folder / "plain", images)
        keys = write_requests(folder / "keys", images, keys=True)
        token = write_requests(folder / "token", images, headers=bearer)
        both = write_requests(folder / "both", images, headers=bearer, keys=True)

        def server(**settings: str) -> Server:
            return running.enter_context(batching_server(folder, database.url, **settings))

        own = server()
        with_metrics = {"METRICS_PORT": str(free_port())}
        systems = {
            "without": System(own, plain, database),
            "keys": System(own, keys, database),
            "metrics": System(server(**with_metrics), plain, database),
            "auth": System(server(**tokens), token, database),
            "all": System(server(**tokens, METRICS_PORT=str(free_port())), both, database),
        }
        for system in systems.values():
            _first_answer(system)
        measured = _in_turn(systems, MOST, ROUNDS, SECONDS, progress)
        _check_outputs(database.url, images)
    names = {
        "auth": "AUTH=on",
        "keys": "an Idempotency-Key on each request",
        "metrics": "metrics",
        "all": "all three",
    }
    return [
        _ratio(
            f"the batching server, {MOST} connections: requests/s with {title} over without",
            measured[name],
            measured["without"],
            "without",
            0.8,
            ours=name,
        )
        for name, title in names.items()
    ]


def heavy(progress: Progress) -> list[Row]:
    """Compare batches of a network that costs a core 10 ms an image with one at a time, in one process each."""
    with contextlib.ExitStack() as running:
        folder = _folder(running)
        model = mobilenet(folder / "mobilenet")
        requests = write_requests(folder / "photographs", photographs(8))
        database = _database(running, folder / "ours")
        systems = {}
        for name, limit in (("batches", {}), ("one_at_a_time", {"MAX_BATCH_INPUTS": "1"})):
            settings = {"MODEL": str(model), "WORKERS": "1", **limit}
            server = running.enter_context(batching_server(folder, database.url, **settings))
            systems[name] = System(server, requests, database)
            _first_answer(systems[name])
        measured = _in_turn(systems, 32, ROUNDS, max(SECONDS, 4), progress)
    what = "a MobileNet-sized network, one process, 32 connections: images/s in batches over one at a time"
    return [_ratio(what, measured["batches"], measured["one_at_a_time"], "one_at_a_time", 1.0, ours="batches")]


def memory(progress: Progress) -> list[Row]:
    """Compare the memory of all processes after many requests with that after a few."""
    with contextlib.ExitStack() as running:
        folder = _folder(running)
        requests = write_requests(folder / "digits", digits(), keys=True)
        database = _database(running, folder / "ours")
        server = running.enter_context(batching_server(folder, database.url))
        system = System(server, requests, database)
        _first_answer(system)
        answered, resident = 0, {}
        for wanted in (FEW, MANY):
            while answered < wanted:
                progress(f"{answered} of {MANY} requests")
                answered += _load(system, MOST, 1.0 if wanted == FEW else 10.0).stored
            resident[wanted] = server.memory()
    few, many = (resident[wanted] / 1e6 for wanted in (FEW, MANY))
    what = f"memory of the batching server after {MANY:,} requests over after {FEW:,}"
    return [Row(what, round(many / few, 3), 1.05, parts={"few_mb": round(few, 1), "many_mb": round(many, 1)})]


def overload(progress: Progress) -> list[Row]:
    """Send more than twice what it can take: it may refuse with 503, and nothing else; what it accepts, it answers.

    It is one process, so that the generator, which has one, can send as much on two cores.
    """
    seconds, queued = 2.0, 64
    settings = {"MAX_QUEUED_INPUTS": str(queued), "REQUEST_SECONDS": f"{seconds:g}", "WORKERS": "1"}
    with contextlib.ExitStack() as running:
        folder = _folder(running)
        images = digits()
        requests = write_requests(folder / "digits", images)
        database = _database(running, folder / "ours")
        server = running.enter_context(batching_server(folder, database.url, **settings))
        system = System(server, requests, database)
        _first_answer(system)
        before = system.stored()
        can_take = _load(system, MOST, SECONDS).per_second
        already = system.stored()
        total: dict[str, float] = {}
        statuses: dict[str, int] = {}
        stored = sent = 0
        while sent < MANY:
            one = generator.own(server.address, requests, 8 * queued, 10, pause=0.03)
            for status, number in one["statuses"].items():
                statuses[status] = statuses.get(status, 0) + number
            stored += one["stored"]
            sent += one["stored"] + one["refused"] + one["cut"]
            total["seconds"] = total.get("seconds", 0.0) + one["seconds"]
            total["p99_ms"] = max(total.get("p99_ms", 0.0), one["stored_p99_ms"])
            total["cut"] = total.get("cut", 0.0) + one["cut"]
            progress(f"{sent} of {MANY} requests: {statuses}, {one['cut']} cut")
        new = system.stored() - already
        if new != stored:
            raise ChildError(f"{stored} were answered with 201, and {new} are stored ({already - before} before)")
        _check_outputs(database.url, images)
    sent_per_s = sent / total["seconds"]
    wrong = sum(number for status, number in statuses.items() if status not in ("201", "503")) + total["cut"]
    parts = {
        "requests": float(sent),
        "stored": float(stored),
        "refused_503": float(statuses.get("503", 0)),
        "sent_per_s": sent_per_s,
        "can_take_per_s": can_take,
        "stored_per_s": stored / total["seconds"],
    }
    if sent_per_s < 2 * can_take:
        raise ChildError(f"{sent_per_s:,.0f} requests/s are less than twice the {can_take:,.0f} that it can take")
    name = "more than twice the load that the batching server can take"
    return [
        _row(f"{name}: answers other than 201 and 503", wrong, 0, parts, at_most=True),
        _row(
            f"{name}: p99 of what it accepts over REQUEST_SECONDS",
            total["p99_ms"] / 1000 / seconds,
            1,
            {"accepted_p99_ms": total["p99_ms"], "request_seconds": seconds},
            at_most=True,
        ),
    ]


PARTS: Final[Mapping[str, Callable[[Progress], list[Row]]]] = {
    "compared": compared,
    "extras": extras,
    "heavy": heavy,
    "memory": memory,
    "overload": overload,
}


def _in_turn(
    systems: Mapping[str, System], connections: int, rounds: int, seconds: float, progress: Progress
) -> dict[str, list[Load]]:
    """Load the systems in turn, and compare what each answered with what it has stored."""
    measured: dict[str, list[Load]] = {name: [] for name in systems}
    for system in systems.values():
        _load(system, connections, _WARM_SECONDS)
    for number in range(rounds):
        for name, system in systems.items():
            with _restless_suspended(systems, name):
                one = _load(system, connections, seconds)
            measured[name].append(one)
            progress(
                f"{connections} connections, round {number + 1} of {rounds}: {name} {one.per_second:,.0f}/s, "
                f"p50 {one.p50_ms:.1f} ms, p99 {one.p99_ms:.1f} ms"
            )
    return measured


@contextlib.contextmanager
def _restless_suspended(systems: Mapping[str, System], name: str) -> Iterator[None]:
    """Suspend the other servers that poll: LitServe takes half a core while nobody calls it."""
    with contextlib.ExitStack() as stack:
        for other in RESTLESS & (systems.keys() - {name}):
            stack.enter_context(systems[other].server.suspended())
        yield


def _load(system: System, connections: int, seconds: float) -> Load:
    address, before, processor = system.server.address, system.stored(), system.processor_seconds()
    one = load(address, system.requests, connections=connections, seconds=seconds)
    one = one._replace(server_seconds=system.processor_seconds() - processor)
    if one.refused or one.cut:
        raise ChildError(f"{address}: {one}")
    if system.database is not None:
        new = _stored_at_rest(system, one, connections) - before
        if not one.stored <= new <= one.stored + connections:
            raise ChildError(f"{address}: {one.stored} were answered, and {new} are stored")
    return one


def _stored_at_rest(system: System, load: Load, connections: int) -> int:
    """Return how many predictions a system has stored, once it is done with what was under way when the load ended.

    That may be a batch of a request from each connection, of which nothing is stored before the end. Missed here, it
    would be counted for the next system that has the same database.
    """
    silence = max(_SILENCE, 2 * connections / max(load.per_second, 1))
    stored, before = system.stored(), -1
    while stored != before:
        time.sleep(silence)
        stored, before = system.stored(), stored
    return stored


def _first_answer(system: System) -> None:
    """Wait until a server answers: some take connections before they have loaded the model."""
    until = time.monotonic() + _FIRST_ANSWER
    while True:
        try:
            one = generator.own(system.server.address, system.requests, 1, 0)
        except ChildError:
            one = {"stored": 0}
        if one["stored"]:
            return
        if time.monotonic() > until:
            [request, *_] = read_requests(system.requests)
            raise ChildError(f"{system.server.address} does not answer {request[:200]!r}: {one}")
        time.sleep(0.2)


def _check_outputs(url: str, images: list[bytes]) -> None:
    """Compare each output with that of the image alone.

    Raises
    ------
    ChildError
        If one is another.
    """
    model = Model.load(ModelPackage.load(MODEL))
    expected: dict[bytes, list[float]] = {}
    for image in images:
        [answer] = run(model, [model.decode_image(image)])
        expected[image] = answer.output  # type: ignore[union-attr, assignment]
    connection = Connection(parse_database_url(url), longest=60)
    for content, output, number in connection.run(_ALL_OUTPUTS, {}):
        own = expected.get(bytes(content))
        if own is None or any(abs(one - other) > _TOLERANCE for one, other in zip(own, output, strict=True)):
            raise ChildError(f"{number} predictions have an output that is not that of their image: {output}")
    connection.close()


def _over_by_hand(measured: Mapping[int, Mapping[str, list[Load]]], connections: int, target: float) -> Row:
    what = f"the batching server, {connections} connections: requests/s over the app that one writes by hand"
    row = _ratio(what, measured[connections]["ours"], measured[connections]["by_hand"], "by_hand", target)
    if connections != MOST:
        return row
    others = {
        f"{name}_{number}_per_s": median(one.per_second for one in loads[name])
        for number, loads in measured.items()
        if number != MOST
        for name in loads
    }
    return _row(what, row.measured, target, row.parts | others)


def _p99_over_by_hand(measured: Mapping[str, list[Load]]) -> Row:
    pairs = zip(measured["ours"], measured["by_hand"], strict=True)
    ratio = median(one.p99_ms / other.p99_ms for one, other in pairs)
    parts = {f"{name}_p99_ms": median(one.p99_ms for one in loads) for name, loads in measured.items()}
    parts |= {f"{name}_p50_ms": median(one.p50_ms for one in loads) for name, loads in measured.items()}
    what = f"the batching server, {MOST} connections: p99 over that of the app that one writes by hand"
    return _row(what, ratio, 0.4, parts, at_most=True)


def _ratio(what: str, own: list[Load], others: list[Load], other: str, target: float, *, ours: str = "ours") -> Row:
    """Compare only loads of the same round, which follow each other closely: a machine's speed changes in seconds."""
    ratio = median(one.per_second / another.per_second for one, another in zip(own, others, strict=True))
    parts = {
        f"{ours}_per_s": median(one.per_second for one in own),
        f"{other}_per_s": median(one.per_second for one in others),
        f"{ours}_processor_ms": _processor_ms(own),
        f"{other}_processor_ms": _processor_ms(others),
        "generator_share_of_a_core": sum(one.own_seconds for one in own) / sum(one.seconds for one in own),
    }
    return _row(what, ratio, target, parts)


def _processor_ms(loads: Sequence[Load]) -> float:
    """Return the processor time of a request, of the server and its database: neighbours change it less than rates."""
    return sum(one.server_seconds for one in loads) / max(1, sum(one.stored for one in loads)) * 1000


def _row(what: str, measured: float, target: float, parts: Mapping[str, float], *, at_most: bool = False) -> Row:
    rounded = {name: round(value, 3 if value < 10 else 1) for name, value in parts.items()}
    return Row(what, round(measured, 3), target, at_most=at_most, parts=rounded)


def _issuer(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Make an issuer's keys. Return the settings of a server that trusts it, and the header with a token."""
    key = RSAKey.generate_key(2048, parameters={"kid": "benchmark", "use": "sig", "alg": "RS256"})
    file = folder / "jwks.json"
    file.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    issuer, audience, now = "https://issuer.example", "benchmark", int(time.time())
    claims = {"iss": issuer, "aud": audience, "sub": "anna", "iat": now, "exp": now + 3600, "scope": "openid"}
    token = jwt.encode({"alg": "RS256", "kid": "benchmark"}, claims, key)
    settings = {"AUTH": "on", "ISSUER": issuer, "AUDIENCE": audience, "JWKS_URL": file.as_uri()}
    return settings, {"Authorization": f"Bearer {token}"}


def _has(app: str, progress: Progress) -> bool:
    missing = lacks(app, app)
    if missing:
        progress(f"{app} is left out: {missing}")
    return not missing


def _folder(running: contextlib.ExitStack) -> Path:
    return Path(running.enter_context(tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-")))


def _database(running: contextlib.ExitStack, folder: Path) -> EmbeddedPostgres:
    """Start a database that is as durable as in production."""
    server = EmbeddedPostgres(folder)
    running.callback(server.stop)
    server.start()
    return server


def main() -> int:
    """Run parts of the benchmark, and return 0 if every target is reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.batching", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--write", action="store_true", help="write the figures in place of those of the same names")
    chosen = parser.parse_args()
    asked = chosen.parts or list(PARTS)
    for unknown in sorted(set(asked) - set(PARTS)):
        parser.error(f"{unknown}: there are {', '.join(PARTS)}")
    print(machine(), generator.name(), sep=", load from ", flush=True)
    made: list[Row] = []
    for name in asked:
        rows_of_part = PARTS[name](partial(_say, name))
        if chosen.write:
            write(rows_of_part)  # whatever becomes of the next part
        made += rows_of_part
    print_table(made)
    return 0 if all(row.passed for row in made) else 1


def write(made: list[Row]) -> None:
    """Write rows to the file of results and to the README, each in place of the row of the same name."""
    before = read_results("batching")["rows"] if (RESULTS / "batching.json").exists() else []
    kept = {row["what"]: row for row in before} | {row.what: row.to_json() for row in made}
    results = {"machine": machine(), "rows": list(kept.values())}
    write_results("batching", results)
    text = README.read_text()
    found = TABLE.search(text)
    assert found is not None, "the README has no table of this benchmark"
    README.write_text(text[: found.start(1)] + described(results) + text[found.end(1) :])


def described(results: dict[str, Any]) -> str:
    """Return what the README says of the results."""
    return f"{results['machine']}:\n\n{table([Row.from_json(row) for row in results['rows']])}\n"


def _say(name: str, line: str) -> None:
    print(f"[{name}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
