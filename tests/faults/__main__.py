"""`python -m tests.faults`: makes one fault after another while clients predict, and prints what became of it all.

The short form takes a few minutes. The long one (`--long`) goes through the faults until 100,000 requests were sent,
cuts connections after every single byte, and writes its table to docs/faults.md. The exit status is 1 if a prediction
was lost, doubled or wrong, or a 503 came late or did not say when to come back.
"""

import argparse
import contextlib
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

from local.settings import ROOT
from tests.faults import faults
from tests.faults.account import LONGEST_503, Account, Tally, unfinished
from tests.faults.clients import ASYNCHRONOUS, Clients
from tests.faults.faults import LONG, SHORT, Fault, Scale
from tests.faults.held import Held, held
from tests.faults.pictures import make_pictures
from tests.faults.systems import (
    CLIENTS,
    QUEUED,
    STOP_SECONDS,
    System,
    batching,
    embedded,
    encrypted,
    pooled,
    proxied,
    proxied_batching,
    wait_until,
)

_STEADY = 0.7  # seconds without a fault, before each
_RECOVERY = 90.0  # seconds in which every client has to succeed after a fault
_WARM_UP = 3.0  # seconds in which every part of a server is used, before what it holds is counted
_WARM_UP_REQUESTS = 150  # at least, of which some are asynchronous and some read
_LET_GO = 90.0  # seconds after which a server must hold no more than before the faults
_FINISH = 240.0  # seconds in which every asynchronous prediction has to be finished at the end
_PLAIN = "none"
_BATCHING = "batching: "

SYSTEMS: Sequence[
    tuple[str, Callable[[int], contextlib.AbstractContextManager[System | None]], Mapping[str, Fault]]
] = (
    ("a database and S3 behind proxies", proxied, faults.PROXIED),
    ("a database behind TLS", encrypted, faults.ENCRYPTED),
    ("a database behind PgBouncer", pooled, faults.POOLED),
    ("the batching server, a database behind a proxy", proxied_batching, faults.PROXIED_BATCHING),
    ("the batching server", batching, faults.BATCHING),
    ("the embedded database", embedded, faults.EMBEDDED),
)


class _Run:
    """One run over all systems."""

    def __init__(self, scale: Scale, requests: int, minutes: float, only: str, system: str) -> None:
        self.account = Account(make_pictures())
        self.skipped: list[str] = []
        self.never_recovered: list[str] = []
        self.held: dict[str, tuple[Held, Held]] = {}
        self._scale = scale
        self._requests = requests
        self._only = only
        self._system = system
        self._began = time.monotonic()
        self._until = self._began + 60 * minutes

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {line}", flush=True)

    def over(self) -> None:
        systems = [one for one in SYSTEMS if self._system in one[0]]
        for name, start, all_faults in systems:
            chosen = {fault: make for fault, make in all_faults.items() if self._only in fault}
            if not chosen:
                continue
            self.say(f"starts {name}")
            with start(self._scale.receives) as system:
                if system is None:
                    self.skipped += list(chosen)
                    continue
                # The last system goes through its faults until enough was sent for long enough, the others once.
                self._one_system(name, system, chosen, again=start is systems[-1][1])

    def _one_system(self, title: str, system: System, chosen: Mapping[str, Fault], *, again: bool) -> None:
        account = system.account = self.account
        asynchronous = 0.0 if system.leases and self._scale is SHORT else ASYNCHRONOUS  # a minute is too long for it
        account.begin(_PLAIN)
        so_far = account.requests
        clients = Clients(system.server.address, account, CLIENTS, asynchronous=asynchronous)
        time.sleep(_WARM_UP)
        wait_until(lambda: account.requests >= so_far + _WARM_UP_REQUESTS, "the clients to warm the server up")
        clients.stop()
        self._wait_until_finished(system)
        before = None if system.leases else held(system)  # it has no execution environments to be counted
        clients = Clients(system.server.address, account, CLIENTS, asynchronous=asynchronous)
        try:
            once = False
            while not once or (again and not self._is_over()):
                once = True
                for name, make in chosen.items():
                    self._one_fault(system, clients, name, make)
                account.begin(_PLAIN)
        finally:
            clients.stop()
        left = self._wait_until_finished(system)
        if before is not None:
            self.held[title] = before, self._let_go(system, before)
        self.say(f"compares the database with what was answered ({left} unfinished)")
        # The times are shortened: in the long form a fault lasts longer than all five deliveries of a message.
        account.check(system.database_url, system.objects(), may_give_up=self._scale is LONG)

    def _is_over(self) -> bool:
        return self.account.requests >= self._requests and time.monotonic() >= self._until

    def _wait_until_finished(self, system: System) -> int:
        """Wait until nothing is queued any more, and return what is nevertheless."""
        self.say("waits for what is queued")
        until = time.monotonic() + _FINISH
        while (left := unfinished(system.database_url)) and time.monotonic() < until:
            time.sleep(0.5)
        return left

    def _let_go(self, system: System, before: Held) -> Held:
        """Wait until the server holds no more than before, and return what it holds."""
        until = time.monotonic() + _LET_GO
        while (now := held(system)).beyond(before) and time.monotonic() < until:
            time.sleep(0.5)
        self.say(f"holds {now} (before the faults: {before})")
        return now

    def _one_fault(self, system: System, clients: Clients, name: str, make: Fault) -> None:
        account = self.account
        account.begin(_PLAIN)
        account.healed()
        self._wait_for_success(clients, _PLAIN)
        time.sleep(_STEADY)
        account.begin(name)
        if make(system, self._scale) is False:
            if name not in self.skipped:
                self.skipped.append(name)
            return
        if system.server.process.poll() is not None:
            raise RuntimeError(f"the server has ended during the fault {name!r}: {system.server.output}")
        account.healed()
        self._wait_for_success(clients, name)
        tally = account.tallies[name]
        self.say(f"{name}: {tally.requests} requests, {dict(tally.statuses)}, {tally.cut} cut")

    def _wait_for_success(self, clients: Clients, name: str) -> None:
        """Wait until every client has succeeded."""
        until = time.monotonic() + _RECOVERY
        while not self.account.recovered(clients.count) and time.monotonic() < until:
            time.sleep(0.01)
        if not self.account.recovered(clients.count):
            self.never_recovered.append(name)
            self.account.tallies[name].complain(f"not every client succeeded within {_RECOVERY:g} s")


def _longest_503(fault: str) -> float:
    """Return the seconds in which a 503 must come: a batch may have to wait for another one, which waits as long."""
    return 2 * LONGEST_503 if fault.startswith(_BATCHING) else LONGEST_503


def _table(account: Account) -> list[str]:
    columns = "requests | answered 2xx | stored | lost | doubled | wrong | given up | slowest 503 | first success after"
    lines = [f"| fault | {columns} |", f"| --- |{' ---: |' * (columns.count('|') + 1)}"]
    total = Tally()
    for name, tally in account.tallies.items():
        lines.append(_row(name, tally))
        for count in ("requests", "answered", "stored", "lost", "doubled", "wrong", "given_up"):
            setattr(total, count, getattr(total, count) + getattr(tally, count))
        if tally.slowest_503 is not None:
            total.slowest_503 = max(total.slowest_503 or 0.0, tally.slowest_503)
    return [*lines, _row("**all**", total)]


def _row(name: str, tally: Tally) -> str:
    slowest = "" if tally.slowest_503 is None else f"{tally.slowest_503:.2f} s"
    first = "" if tally.first_success_after is None else f"{tally.first_success_after * 1000:.0f} ms"
    counts = (tally.requests, tally.answered, tally.stored, tally.lost, tally.doubled, tally.wrong, tally.given_up)
    return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} | {slowest} | {first} |"


def _held_table(run: _Run) -> list[str]:
    columns = [name.replace("_", " ") for name in Held._fields]
    lines = [f"| {' | '.join(['system', *columns])} |", f"| ---{' | ---:' * len(columns)} |"]
    for title, pair in run.held.items():
        figures = [f"{before} → {now}" for before, now in zip(*pair, strict=True)]
        lines.append(f"| {' | '.join([title, *figures])} |")
    return lines


def _document(run: _Run, command: str, seconds: float) -> str:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{processors} processors, {psutil.virtual_memory().total >> 30} GB, Python {platform.python_version()}"
    skipped = "".join(f"\nNot possible there: {name}.\n" for name in run.skipped)
    table = "\n".join(_table(run.account))
    held_table = "\n".join(_held_table(run))
    return f"""\
# What becomes of predictions when everything fails

`make test-faults` runs the servers with the real functions. {CLIENTS} clients send pictures, each under an
`Idempotency-Key` of its own, synchronously and asynchronously, and repeat what failed under the same key. Meanwhile
parts of the system are killed, frozen, filled up or cut off. At the end every answer is compared with the database:

- **lost**: answered with `2xx`, and not stored, or queued and never predicted.
- **doubled**: stored more than once under one key.
- **wrong**: stored or answered with another picture, or with an output that the model does not give for it; or stored
  although every answer said that nothing was.
- **given up**: queued, and `failed` in the end, as its record says, because no delivery of its message succeeded. The
  deliveries of a message take a minute here, and half an hour with the times of `template.yaml`.
- **stored** may exceed **answered**: a client that gives up, or is cut off, does not hear what was committed.
- **slowest 503** must be under {LONGEST_503:g} s, which the long form demands, and each has `Retry-After`. With
  batching it must be under {2 * LONGEST_503:g} s: there, a request may wait behind a batch that waits for the database.
- **first success after**: from the end of the fault to the first answer to a request that was sent after it.

The faults whose name begins with `batching` are those of `SERVER=batching`. At most {QUEUED} requests wait in each of
its two processes, so that it is soon overloaded: it then refuses with `503`. Clients that stall within a head or a
body, or hang up, keep nobody else from being answered. SIGTERM stops it within {STOP_SECONDS} s, and then its database:
it answers what it has taken, and takes nothing more. Only the long form queues predictions there: what a killed process
was at, another one takes up after a minute.

PgBouncer runs with `server_login_retry = 1`: by default it refuses its clients for 15 seconds after PostgreSQL has come
back. It takes no `statement_timeout` from its clients, so a lock leaves it open whether the statement took effect, and
the `503` says so, unless the role has one: `ALTER ROLE … SET statement_timeout = '1700ms'`.

| form | command | time |
| --- | --- | --- |
| short, in CI | `make test-faults` | about five minutes |
| long, by hand | `make test-faults LONG=1` | {100_000:,} requests, or `REQUESTS=`; `MINUTES=60` takes an hour |

The table is from `{command}`, which took {seconds / 60:.0f} minutes on a machine with {machine}.
{skipped}
{table}

What the server holds while nobody asks it for anything, before the faults and after them: sessions of the database
beyond one for each execution environment, the most descriptors and threads of an execution environment, descriptors of
the server itself, temporary files, and objects that no row names. More after than before fails the run, but for these
objects: a function that is killed between put and commit leaves one, and `python -m infra.inputs reconcile --delete`
removes it.

{held_table}

## What the server is not needed for

`make test` has these, in `tests/faults/`: a snapshot that is restored twice shares no connection and no id; a clock
that jumps by an hour makes no id twice, and moves no lease and no key; an image that there is no memory to decode is
answered `503`, and the next request works; every earlier version of the schema is migrated while clients store and
read.

`python -m tests.faults.migrations` does the last with a million predictions: none was lost, and no statement failed.
From a revision it took up to 14 s on a busy machine, and the slowest statement 1.6 s: one that waited for a table, or
deadlocked with the migration and was repeated.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--long", action="store_true", help="go on until 100,000 requests were sent")
    parser.add_argument("--requests", type=int, help="go on until so many requests were sent; implies --long")
    parser.add_argument("--minutes", type=float, help="go on for so many minutes at least; implies --long")
    parser.add_argument("--write", action="store_true", help="write docs/faults.md after the short form, too")
    parser.add_argument("--only", default="", metavar="WORDS", help="only the faults whose name contains this")
    parser.add_argument("--system", default="", metavar="WORDS", help="only the systems whose name contains this")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and stop what was started
    is_long = asked.long or asked.requests is not None or asked.minutes is not None
    requests = asked.requests if asked.requests is not None else 100_000 if asked.long else 0
    run = _Run(LONG if is_long else SHORT, requests, asked.minutes or 0, asked.only, asked.system)
    began = time.monotonic()
    run.over()
    print("\n".join([*_table(run.account), *_held_table(run)]))
    for name in run.skipped:
        print(f"skipped, because it is not possible here or only in the long form: {name}")
    # Other work on the machine, as in CI, delays every answer: only the long form, by hand, judges the times.
    bad = {
        name: tally
        for name, tally in run.account.tallies.items()
        if not tally.is_good()
        or (tally.unhandled() and name not in faults.ENDING)
        or (is_long and not tally.is_in_time(_longest_503(name)))
    }
    for name, tally in run.account.tallies.items():
        late = f", {tally.without_retry_after} times 503 without Retry-After" if tally.without_retry_after else ""
        if name in bad or tally.complaints:
            print(f"{name}: {dict(tally.statuses)}{late}")
            print("".join(f"  {one}\n" for one in tally.complaints), end="")
    if (is_long or asked.write) and not asked.only and not asked.system:
        form = "".join(
            f" {name}={value:g}"
            for name, value in (("LONG", int(asked.long)), ("REQUESTS", asked.requests), ("MINUTES", asked.minutes))
            if value
        )
        command = f"make test-faults{form}"
        (ROOT / "docs" / "faults.md").write_text(_document(run, command, time.monotonic() - began))
    left_behind = {name: now.beyond(before) for name, (before, now) in run.held.items()}
    for name, more in left_behind.items():
        if more:
            print(f"{name}: the server holds more than before the faults: {more}")
    return 1 if bad or run.never_recovered or any(left_behind.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
