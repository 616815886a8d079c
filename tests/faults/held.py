"""What a running server holds: sessions, descriptors, threads, temporary files and objects.

Faults must leave nothing of it behind. A server that keeps a descriptor of every connection that broke runs until it
has no more, days later.
"""

from pathlib import Path
from typing import NamedTuple

import psutil

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from tests.faults.systems import System

_SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database()
"""
_NAMED = "SELECT uri FROM inputs WHERE uri IS NOT NULL UNION SELECT uri FROM deleted_objects"

_OF_AN_ENVIRONMENT = 3  # descriptors of the server: a socket, and both ends of a pipe


class Held(NamedTuple):
    """What a server holds while nobody asks it for anything.

    Attributes
    ----------
    surplus_sessions
        Sessions of the database beyond one for each execution environment: it handles one event at a time.
    descriptors, threads
        The most of any one execution environment.
    server_descriptors
        Those of the server, without the socket and the pipe to each execution environment.
    temporary_files
        Files in the server's folder for temporary files.
    objects_without_a_row
        Objects in the bucket that no row of the ledger names. A function that dies between put and commit, or cannot
        reach S3 to remove one, leaves it: `python -m infra.inputs reconcile` removes it.
    """

    surplus_sessions: int
    descriptors: int
    threads: int
    server_descriptors: int
    temporary_files: int
    objects_without_a_row: int

    def beyond(self, before: "Held") -> dict[str, int]:
        """Return how much more of each thing this is than before, but for objects without a row."""
        more = {name: now - was for name, now, was in zip(self._fields, self, before, strict=True) if now > was}
        more.pop("objects_without_a_row", None)
        return more


def held(system: System) -> Held:
    """Count what a server holds. Its clients must be silent, and the server must run."""
    connection = Connection(parse_database_url(system.database_url), longest=60)
    try:
        [[sessions]] = connection.run(_SESSIONS, {})
        named = {uri for (uri,) in connection.run(_NAMED, {})}
    finally:
        connection.close()
    environments = [_counts(one) for one in system.processes("local.runtime.environment")]
    server, _ = _counts(psutil.Process(system.server.process.pid))
    return Held(
        surplus_sessions=max(0, int(sessions) - len(environments)),
        descriptors=max(descriptors for descriptors, _ in environments),
        threads=max(threads for _, threads in environments),
        server_descriptors=server - _OF_AN_ENVIRONMENT * len(environments),
        temporary_files=sum(1 for path in system.temporary.rglob("*") if _is_file(path)),
        objects_without_a_row=len(system.objects().keys() - named),
    )


def _counts(process: psutil.Process) -> tuple[int, int]:
    """Return a process's descriptors and threads; none if it has just ended."""
    try:
        return process.num_fds(), process.num_threads()
    except psutil.Error:
        return 0, 0


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
