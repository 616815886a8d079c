"""The account: what was sent, what was answered, and whether the database holds just that."""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from tests.faults.pictures import Picture

LONGEST_503 = 3.0
"""Seconds within which a 503 must come, on a machine that does nothing else."""

_ALL = """
    SELECT p.prediction_id, p.metadata ->> 'key', p.status, p.output, p.error, i.content, i.uri
    FROM predictions AS p JOIN inputs AS i USING (input_id)
    WHERE p.prediction_id > :after ORDER BY p.prediction_id LIMIT 1000
"""
_GIVEN_UP = "The prediction was not finished in time."
_UNFINISHED = "SELECT count(*) FROM predictions WHERE status IN ('queued', 'processing')"


@dataclass
class Tally:
    """What happened during one fault."""

    requests: int = 0
    answered: int = 0
    stored: int = 0
    lost: int = 0
    given_up: int = 0
    doubled: int = 0
    wrong: int = 0
    cut: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_503: float | None = None
    without_retry_after: int = 0
    first_success_after: float | None = None
    failures_after: int = 0
    complaints: list[str] = field(default_factory=list)

    def complain(self, what: str) -> None:
        """Keep the first few things that were wrong, for whoever looks for the reason."""
        if len(self.complaints) < 5:
            self.complaints.append(what)

    def is_good(self) -> bool:
        """Tell whether nothing was lost, doubled or wrong, and every 503 said when to come back."""
        return not (self.lost or self.doubled or self.wrong or self.without_retry_after)

    def unhandled(self) -> int:
        """Return how many answers say that a function failed or did not answer."""
        return sum(count for status, count in self.statuses.items() if status >= 500 and status != 503)

    def is_in_time(self, longest: float = LONGEST_503) -> bool:
        """Tell whether every 503 came in time."""
        return self.slowest_503 is None or self.slowest_503 < longest


@dataclass
class Sent:
    """One prediction that a client asked for, perhaps several times under one key."""

    key: str
    picture: int
    asynchronous: bool
    fault: str
    prediction_id: UUID | None = None
    """The id in the answer; None if there was none."""

    may_be_stored: bool = False
    """Whether an attempt was cut off, or answered otherwise than that nothing was stored."""


class Account:
    """Counts requests by the fault during which they were sent, and checks the database.

    Parameters
    ----------
    pictures
        The pictures that clients send, with what the model says of each.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.fault = "none"
        self.healed_at: float | None = None
        self._sent: dict[str, Sent] = {}
        self._lock = threading.Lock()
        self._succeeded: set[int] = set()
        self._failed_after: Counter[int] = Counter()

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return sum(tally.requests for tally in self.tallies.values())

    def begin(self, fault: str) -> None:
        """Count for another fault from now on."""
        with self._lock:
            self.fault, self.healed_at = fault, None
            self._succeeded.clear()
            self._failed_after.clear()

    def healed(self) -> None:
        """Record that the fault is over."""
        with self._lock:
            self.healed_at = time.monotonic()

    def recovered(self, clients: int) -> bool:
        """Tell whether every client has succeeded since the fault was over."""
        with self._lock:
            return len(self._succeeded) >= clients

    def open(self, sent: Sent) -> None:
        """Note a prediction before it is asked for."""
        with self._lock:
            self._sent[sent.key] = sent

    def attempt(self, client: int, began: float, status: int | None, retry_after: str | None) -> None:
        """Count a request and its answer for the present fault; no status means that the connection was cut."""
        now = time.monotonic()
        with self._lock:
            tally = self.tallies[self.fault]
            tally.requests += 1
            succeeded = status is not None and status < 300
            if status is None:
                tally.cut += 1
            else:
                tally.statuses[status] += 1
            if status == 503:
                tally.slowest_503 = max(tally.slowest_503 or 0.0, now - began)
                if not (retry_after or "").isdecimal():
                    tally.without_retry_after += 1
            if self.healed_at is not None and began >= self.healed_at:
                if succeeded:
                    if tally.first_success_after is None:
                        tally.first_success_after = now - self.healed_at
                    self._succeeded.add(client)
                elif client not in self._succeeded:
                    self._failed_after[client] += 1
                    tally.failures_after = max(tally.failures_after, self._failed_after[client])

    def answered(self, sent: Sent, prediction_id: UUID) -> None:
        """Note the answer to a prediction."""
        with self._lock:
            sent.prediction_id = prediction_id
            self.tallies[sent.fault].answered += 1

    def wrong(self, fault: str, what: str) -> None:
        """Count an answer that is wrong."""
        with self._lock:
            self.tallies[fault].wrong += 1
            self.tallies[fault].complain(what)

    def check(self, database_url: str, objects: dict[str, bytes], *, may_give_up: bool = False) -> None:
        """Compare all that was sent with what the database holds.

        Parameters
        ----------
        database_url
            The database, past every proxy.
        objects
            The objects in S3 by URI.
        may_give_up
            Whether an asynchronous prediction may have failed because no delivery of its message succeeded.
        """
        stored: dict[str, list[UUID]] = defaultdict(list)
        connection = Connection(parse_database_url(database_url), longest=60)
        after = UUID(int=0)
        while rows := connection.run(_ALL, {"after": after}):
            after = rows[-1][0]
            for prediction_id, key, status, output, error, content, uri in rows:
                stored[key].append(prediction_id)
                self._check_record(key, status, output, error, objects.get(uri) if uri else content, may_give_up)
        connection.close()
        for sent in self._sent.values():
            tally, ids = self.tallies[sent.fault], stored.pop(sent.key, [])
            tally.stored += bool(ids)
            if ids and sent.prediction_id is None and not sent.may_be_stored:
                self.wrong(sent.fault, f"{sent.key}: answered that nothing was stored, and it is stored as {ids}")
            if len(ids) > 1:
                tally.doubled += 1
                tally.complain(f"{sent.key}: stored as {ids}")
            if sent.prediction_id is not None and sent.prediction_id not in ids:
                tally.lost += 1
                tally.complain(f"{sent.key}: answered as {sent.prediction_id}, stored as {ids}")
        for key, ids in stored.items():
            self.wrong(self.fault, f"{key}: nobody sent it, and it is stored as {ids}")
        self._sent.clear()

    def _check_record(
        self, key: str, status: str, output: object, error: object, content: bytes | None, may_give_up: bool
    ) -> None:
        sent = self._sent.get(key)
        if sent is None:
            return  # `check` says so
        picture = self.pictures[sent.picture]
        if content is None or sha256(content).digest() != picture.sha256:
            self.wrong(sent.fault, f"{key}: another input is stored")
        if may_give_up and sent.asynchronous and status == "failed" and error == _GIVEN_UP:
            self.tallies[sent.fault].given_up += 1
            return
        if status != "succeeded":
            if sent.prediction_id is not None:
                self.tallies[sent.fault].lost += 1
                self.tallies[sent.fault].complain(f"{key}: answered, and {status} for ever: {error}")
        elif not picture.is_output(output):
            self.wrong(sent.fault, f"{key}: stored with the output {json.dumps(output)}")


def unfinished(database_url: str) -> int:
    """Return how many predictions are queued or in processing."""
    connection = Connection(parse_database_url(database_url), longest=60)
    try:
        [[count]] = connection.run(_UNFINISHED, {})
    finally:
        connection.close()
    return int(count)
