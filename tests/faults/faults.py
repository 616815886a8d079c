"""The faults. Each happens while clients predict, and ends."""

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import httpx
import psutil

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from infra.migrations import upgrade
from tests.faults.account import Account, Sent
from tests.faults.clients import Clients, next_key
from tests.faults.systems import QUEUED, STOP_SECONDS, System, wait_until
from tests.support.faulty_proxy import End, FaultyProxy, Mode

_HOLD = 3.5  # seconds that a fault lasts: longer than a 503 may take
_PREDICT = "functions.predict"
_WORKER = "functions.worker"
_QUEUE = "local.services.moto_process"
_STOPS_THE_DATABASE = 4.0  # seconds
_SIGNATURE = b"\x89PNG"


@dataclass(frozen=True)
class Scale:
    """How thorough the faults are.

    Attributes
    ----------
    step : int
        How many bytes are between two cuts.
    receives : int
        After how many deliveries a message is given up. In the short form after none, however slow the machine is: what
        is given up there is lost.
    slack : float
        Seconds that a slow machine may add to a time that was promised.
    """

    step: int
    every_record: bool
    receives: int
    slack: float


SHORT = Scale(step=41, every_record=False, receives=1000, slack=60.0)
LONG = Scale(step=1, every_record=True, receives=10, slack=0.0)

Fault = Callable[[System, Scale], bool | None]
"""Makes a fault and returns when it is over; False if it is not possible here."""


def postmaster_killed(system: System, _: Scale) -> None:
    """`kill -9` of PostgreSQL's first process."""
    before = system.restarts()
    _kill(system.postmaster())
    system.wait_for_restart(before)


def postmaster_killed_while_it_recovers(system: System, _: Scale) -> None:
    """`kill -9` of PostgreSQL's first process, twice more while it starts."""
    before = system.restarts()
    for _again in range(3):
        wait_until(lambda: system.postmaster() is not None, "PostgreSQL")
        _kill(killed := system.postmaster())
        wait_until(lambda killed=killed: system.postmaster() != killed, "PostgreSQL to end")  # type: ignore[misc]
    system.wait_for_restart(before)
    system.wait_for_database()


def backend_killed(system: System, _: Scale) -> None:
    """`kill -9` of a session's process: PostgreSQL then ends all sessions and recovers."""
    for _again in range(2):
        backends = [one for one in system.postgres_processes() if any("ledger" in part for part in _title(one))]
        _kill(next(iter(backends), None))
        time.sleep(0.5)
        system.wait_for_database()


def guard_of_postgres_killed(system: System, _: Scale) -> None:
    """`kill -9` of the process that watches PostgreSQL."""
    before, postmaster = system.restarts(), system.postmaster()
    assert postmaster is not None
    _kill(postmaster.parent())
    system.wait_for_restart(before)


def environments_killed(system: System, _: Scale) -> None:
    """`kill -9` of execution environments that predict."""
    for _again in range(6):
        _kill_one(system.processes(_PREDICT))
        time.sleep(0.4)


def workers_killed(system: System, _: Scale) -> None:
    """`kill -9` of workers."""
    for _again in range(5):
        _kill_one(system.processes(_WORKER))
        time.sleep(0.6)


def queue_killed(system: System, _: Scale) -> None:
    """`kill -9` of the queue, whose messages are lost."""
    before = system.restarts()
    _kill_one(system.processes(_QUEUE))
    system.wait_for_restart(before)


def guard_of_the_queue_killed(system: System, _: Scale) -> None:
    """`kill -9` of the process that watches the queue."""
    before = system.restarts()
    [queue] = system.processes(_QUEUE)
    _kill(queue.parent())
    system.wait_for_restart(before)
    assert len(system.processes(_QUEUE)) == 1, "two queues"


def database_frozen(system: System, _: Scale) -> None:
    """PostgreSQL's processes get no time, as on a machine that swaps."""
    processes = system.postgres_processes()
    for number, pause in ((signal.SIGSTOP, _HOLD), (signal.SIGCONT, 0)):
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        time.sleep(pause)


def environments_frozen(system: System, _: Scale) -> None:
    """Execution environments get no time in the middle of requests, and their clocks jump, as around a snapshot."""
    processes = system.processes(_PREDICT)
    for number, pause in ((signal.SIGSTOP, 2.0), (signal.SIGCONT, 0)):
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        time.sleep(pause)


def locked(system: System, _: Scale) -> None:
    """Another session holds a lock on the table of predictions."""
    with _session(system) as session:
        session.run("BEGIN", {})
        session.run("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE", {})
        session.run("SELECT pg_sleep(:seconds)", {"seconds": _HOLD})
        session.run("COMMIT", {})


def migrated(system: System, _: Scale) -> None:
    """Migrations change the tables, and a plan that was made before."""
    upgrade(system.database_url, report=lambda _line: None)
    with _session(system) as session:
        for number in range(5):
            for statement in (
                f"ALTER TABLE predictions ADD COLUMN extra_{number} bigint",
                "CREATE INDEX CONCURRENTLY extra_index ON predictions (created_at)",
                "DROP INDEX CONCURRENTLY extra_index",
                f"ALTER TABLE predictions ALTER COLUMN extra_{number} TYPE numeric",
                f"ALTER TABLE predictions DROP COLUMN extra_{number}",
            ):
                session.run(statement, {}, keep=False)
                time.sleep(0.05)


def column_widened(system: System, _: Scale) -> None:
    """A column that statements return gets another type, so that a plan that was made before is of no use."""
    with _session(system) as session:
        [[shown]] = session.run("SELECT pg_get_viewdef('prediction_log'::regclass)", {})
        for kind in ("bigint", "integer", "bigint", "integer"):
            for statement in (
                "BEGIN",
                "DROP VIEW prediction_log",
                f"ALTER TABLE predictions ALTER COLUMN likely_class TYPE {kind}",
                f"CREATE VIEW prediction_log AS {shown}",
                "COMMIT",
            ):
                session.run(statement, {}, keep=False)
            time.sleep(0.5)


def disk_full(system: System, _: Scale) -> bool | None:
    """No space is left for the database, its log and the functions' log."""
    if system.disk is None:
        return False
    system.grow_disk()
    filler = system.disk / "filler"
    with filler.open("wb", buffering=0) as file:
        chunk = bytes(1 << 20)
        with contextlib.suppress(OSError):
            while True:
                file.write(chunk)
        until = time.monotonic() + _HOLD
        while time.monotonic() < until:  # what others free is taken, too
            try:
                file.write(chunk)
            except OSError:
                time.sleep(0.02)
                chunk = chunk[: max(len(chunk) // 2, 1)]
    filler.unlink()
    system.wait_for_database()
    return None


def dead_letters(system: System, scale: Scale) -> bool | None:
    """Workers are killed until the queue gives messages up: the sweep then says that they have failed."""
    if not scale.every_record:
        return False
    until = time.monotonic() + 75
    while time.monotonic() < until:
        _kill_one(system.processes(_WORKER))
        time.sleep(0.2)
    return None


def connections_reset(system: System, _: Scale) -> None:
    """All connections to the database are reset, again and again."""
    for _again in range(12):
        _of(system.database).reset_all()
        time.sleep(0.25)


def database_refuses(system: System, _: Scale) -> None:
    """The database takes no connections."""
    _hold(system.database, Mode.REFUSE, reset=True)


def database_silent(system: System, _: Scale) -> None:
    """The network swallows what is sent to the database, and delivers it late."""
    _hold(system.database, Mode.SILENT)


def database_deaf(system: System, _: Scale) -> None:
    """The network swallows all attempts to connect to the database."""
    _hold(system.database, Mode.DEAF, reset=True)


def database_read_only(system: System, _: Scale) -> None:
    """The database takes no writes, as one that has become a standby."""
    assert system.postgres is not None
    with contextlib.closing(Connection(parse_database_url(system.postgres.superuser_url), longest=30)) as session:
        for statement in ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"):
            session.run(f"ALTER SYSTEM {statement}", {}, keep=False)
            session.run("SELECT pg_reload_conf()", {})
            if statement.startswith("SET"):
                time.sleep(_HOLD)


def cut_on_the_way_there(system: System, scale: Scale) -> None:
    """Connections are reset after every byte that is sent to the database."""
    _cut(_of(system.database), "up", range(0, 1400, scale.step), itertools.cycle((End.RESET, End.CLOSE)))


def cut_on_the_way_back(system: System, scale: Scale) -> None:
    """Connections are reset after every byte that the database sends."""
    _cut(_of(system.database), "down", range(0, 900, scale.step), itertools.cycle((End.CLOSE, End.RESET)))


def stalled(system: System, _: Scale) -> None:
    """Connections stop in the middle, on the way there or back."""
    for direction in ("up", "down"):
        _cut(_of(system.database), direction, (0, 7, 300), itertools.repeat(End.STALL))
    time.sleep(_HOLD)
    _of(system.database).reset_all()


def records_cut(system: System, scale: Scale) -> None:
    """Encrypted connections are cut after every TLS record, and within."""
    proxy = _of(system.database)
    for direction in ("up", "down"):
        records = range(16 if scale.every_record else 8)
        _cut(proxy, direction, records, itertools.cycle((End.RESET, End.CLOSE)), in_records=True, login=True)
        _cut(proxy, direction, range(0, 3000, scale.step * 8), itertools.cycle((End.CLOSE, End.RESET)), login=True)


def storage_silent(system: System, _: Scale) -> None:
    """S3 does not answer."""
    _hold(system.storage, Mode.SILENT)


def storage_refuses(system: System, _: Scale) -> None:
    """S3 takes no connections."""
    _hold(system.storage, Mode.REFUSE, reset=True)


def storage_cut(system: System, scale: Scale) -> None:
    """Connections to S3 are cut after every byte."""
    proxy = _of(system.storage)
    for direction in ("up", "down"):
        _cut(proxy, direction, range(0, 900, scale.step * 3), itertools.cycle((End.CLOSE, End.RESET)))


def storage_lies(system: System, _: Scale) -> None:
    """S3 answers with bytes that are not those of the object."""
    proxy = _of(system.storage)
    proxy.alter = lambda data: data.replace(_SIGNATURE, bytes(reversed(_SIGNATURE)))
    time.sleep(_HOLD)
    proxy.alter = None


def pooler_killed(system: System, _: Scale) -> None:
    """`kill -9` of PgBouncer, and its start a second later."""
    assert system.pooler is not None
    for _again in range(2):
        system.pooler.kill()
        time.sleep(1)
        system.pooler.start()
        time.sleep(0.3)


def database_restarted_behind_the_pooler(system: System, _: Scale) -> None:
    """PostgreSQL ends and starts again behind PgBouncer, as in a failover."""
    assert system.postgres is not None
    system.postgres.stop()
    time.sleep(1)
    system.postgres.start()


def batching_workers_killed(system: System, _: Scale) -> None:
    """`kill -9` of processes of the batching server, with all that they have taken."""
    for _again in range(4):
        killed = random.choice(system.workers())
        killed.kill()
        wait_until(lambda killed=killed: killed not in system.workers(), "the process to end")  # type: ignore[misc]
        wait_until(lambda: len(system.workers()) >= 2, "another process in its place")
        time.sleep(0.3)


def overloaded(system: System, _: Scale) -> None:
    """Many more requests come than may wait, while another session holds a lock on the table of predictions."""
    account = _account(system)
    statuses = account.tallies[account.fault].statuses
    refused = statuses[503]
    crowd = Clients(system.server.address, account, 4 * QUEUED, asynchronous=0.0)
    time.sleep(1)
    with _session(system) as session:
        for again in range(20):
            session.run("BEGIN", {})
            session.run("LOCK TABLE predictions IN ACCESS EXCLUSIVE MODE", {})
            time.sleep(1)
            session.run("COMMIT", {})
            time.sleep(0.5)
            if again and statuses[503] > refused:  # the crowd of a slow machine takes longer to come together
                break
    crowd.stop()
    if statuses[503] == refused:
        account.wrong(account.fault, "nothing was refused, so the server was not overloaded")


def strange_clients(system: System, _: Scale) -> None:
    """Clients stall within a head or a body, or hang up within a body or before the answer."""
    account = _account(system)
    before = account.tallies[account.fault].statuses.copy()
    connections = []
    for number in range(2 * QUEUED):
        sent = Sent(next_key(), number % len(account.pictures), asynchronous=False, fault=account.fault)
        request = _request(sent, account.pictures[sent.picture].content)
        head = request.index(b"\r\n\r\n")
        stalling = (request[: head // 2], request[: head + 40], request[:-1])
        connections += [_send(system, part) for part in stalling]
        _send(system, request[:-1]).close()
        sent.may_be_stored = True
        account.open(sent)
        _send(system, request).close()
    time.sleep(_HOLD)  # the others go on meanwhile
    for connection in connections:
        connection.close()
    # All that stall are more than may wait: if they took the places, nobody else would get one. A slow machine refuses
    # one now and then, while it has not yet read what those have sent that have hung up.
    during = account.tallies[account.fault].statuses - before
    if during[503] > during[201]:
        account.wrong(account.fault, f"others were refused because of clients that send nothing: {dict(during)}")


def batching_stopped(system: System, scale: Scale) -> None:
    """SIGTERM of the batching server, and its start: it answers what it has taken, and takes nothing more."""
    account = _account(system)
    for _again in range(2):
        time.sleep(0.5)
        began = time.monotonic()
        status = system.server.stop(signal.SIGTERM)
        took = time.monotonic() - began
        if status != 0 or took > STOP_SECONDS + _STOPS_THE_DATABASE + scale.slack:
            account.wrong(account.fault, f"the exit status is {status} after {took:.1f} s: {system.server.output}")
        if system.server.wait_until_gone(5 + scale.slack):
            account.wrong(account.fault, "a process outlives the server")
        system.server.start()


ENDING = ("execution environments killed", "execution environments frozen")
"""Faults that end functions, so that these do not answer: the gateway answers 500 or 504."""

EMBEDDED: dict[str, Fault] = {
    "PostgreSQL killed": postmaster_killed,
    "PostgreSQL killed while it recovers": postmaster_killed_while_it_recovers,
    "a session of PostgreSQL killed": backend_killed,
    "PostgreSQL's guard killed": guard_of_postgres_killed,
    "PostgreSQL frozen": database_frozen,
    "the table of predictions locked": locked,
    "migrations": migrated,
    "a column widened": column_widened,
    "execution environments killed": environments_killed,
    "execution environments frozen": environments_frozen,
    "workers killed": workers_killed,
    "the queue killed": queue_killed,
    "the queue's guard killed": guard_of_the_queue_killed,
    "the disk full": disk_full,
    "workers killed until messages are given up": dead_letters,
}
PROXIED: dict[str, Fault] = {
    "connections reset": connections_reset,
    "connections refused": database_refuses,
    "attempts to connect swallowed": database_deaf,
    "packets swallowed, delivered late": database_silent,
    "cut after every byte to the database": cut_on_the_way_there,
    "cut after every byte from the database": cut_on_the_way_back,
    "stalled in the middle": stalled,
    "the database read-only": database_read_only,
    "S3 silent": storage_silent,
    "S3 refuses": storage_refuses,
    "S3 cut after every byte": storage_cut,
    "S3 lies": storage_lies,
}
ENCRYPTED: dict[str, Fault] = {
    "TLS cut at every record": records_cut,
    "TLS: packets swallowed": database_silent,
}
POOLED: dict[str, Fault] = {
    "PgBouncer killed": pooler_killed,
    "PostgreSQL restarted behind PgBouncer": database_restarted_behind_the_pooler,
    "the table locked behind PgBouncer": locked,
}

BATCHING: dict[str, Fault] = {
    "batching: workers killed": batching_workers_killed,
    "batching: PostgreSQL killed": postmaster_killed,
    "batching: a session of PostgreSQL killed": backend_killed,
    "batching: PostgreSQL frozen": database_frozen,
    "batching: overloaded": overloaded,
    "batching: clients stall and hang up": strange_clients,
    "batching: stopped": batching_stopped,
}
PROXIED_BATCHING: dict[str, Fault] = {
    "batching: connections reset": connections_reset,
    "batching: connections refused": database_refuses,
    "batching: packets swallowed, delivered late": database_silent,
    "batching: cut after every byte to the database": cut_on_the_way_there,
    "batching: cut after every byte from the database": cut_on_the_way_back,
    "batching: stalled in the middle": stalled,
}


def _cut(
    proxy: FaultyProxy,
    direction: str,
    counts: Iterable[int],
    ends: Iterator[End],
    *,
    in_records: bool = False,
    login: bool = False,
) -> None:
    """Cut connections one after another, each after a number of bytes or records; of new connections if `login`."""
    for count in counts:
        if login:
            proxy.reset_all()
        proxy.cut_after(direction, count, next(ends), in_records=in_records)
        until = time.monotonic() + 1
        while proxy.is_armed() and time.monotonic() < until:
            time.sleep(0.005)
    proxy.disarm()


def _hold(proxy: FaultyProxy | None, mode: Mode, *, reset: bool = False) -> None:
    """Keep a mode for a while, with or without the connections that there are."""
    proxy = _of(proxy)
    proxy.mode = mode
    if reset:
        proxy.reset_all()
    time.sleep(_HOLD)
    proxy.mode = Mode.FORWARD


def _account(system: System) -> Account:
    assert system.account is not None
    return system.account


def _request(sent: Sent, content: bytes) -> bytes:
    """Return a whole request, as httpx writes it."""
    request = httpx.Request(
        "POST",
        "http://localhost/prediction",
        files={"file": ("digit.png", content, "image/png")},
        data={"metadata": json.dumps({"key": sent.key})},
        headers={"Idempotency-Key": sent.key},
    )
    head = b"".join(b"%s: %s\r\n" % header for header in request.headers.raw)
    return b"POST /prediction HTTP/1.1\r\n" + head + b"\r\n" + request.read()


def _send(system: System, data: bytes) -> socket.socket:
    url = httpx.URL(system.server.address)
    connection = socket.create_connection((url.host, url.port), timeout=10)
    connection.sendall(data)
    return connection


def _of(proxy: FaultyProxy | None) -> FaultyProxy:
    assert proxy is not None
    return proxy


@contextlib.contextmanager
def _session(system: System) -> Iterator[Connection]:
    session = Connection(parse_database_url(system.database_url), longest=30)
    try:
        yield session
    finally:
        session.close()


def _kill(process: psutil.Process | None) -> None:
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _kill_one(processes: list[psutil.Process]) -> None:
    if processes:
        os.kill(random.choice(processes).pid, signal.SIGKILL)


def _title(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()[:1]
    except psutil.Error:
        return []
