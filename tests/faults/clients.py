"""Clients that predict, repeat what failed under the same key, and read back what was answered."""

import base64
import itertools
import json
import random
import re
import threading
import time
from uuid import UUID

import httpx

from tests.faults.account import Account, Sent

_PATIENCE = 60.0  # seconds; the gateway answers in 30
_IMPATIENCE = 0.02  # seconds, of a client that hangs up
_PAUSE = 0.05  # seconds between two tries: far less than Retry-After asks for, to be many
ASYNCHRONOUS, _READS, _HANGS_UP, _GIVES_UP = 0.15, 0.15, 0.03, 0.1  # shares of all requests
_NOTHING_STORED = re.compile(
    "nothing was (predicted or )?stored", re.IGNORECASE
)  # a problem that is sure of it says so

_numbers = itertools.count()


def next_key() -> str:
    """Return a key that no other request has."""
    return f"key-{next(_numbers)}"


class Clients:
    """Threads that send requests until they are told to stop.

    Parameters
    ----------
    address
        The server.
    account
        Where every request is noted.
    count
        How many threads.
    asynchronous
        The share of predictions that are queued.
    """

    def __init__(self, address: str, account: Account, count: int, *, asynchronous: float = ASYNCHRONOUS) -> None:
        self.count = count
        self._asynchronous = asynchronous
        self._address = address
        self._account = account
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the requests under way, and stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        known: list[Sent] = []
        with httpx.Client(base_url=self._address, timeout=_PATIENCE) as client:
            while not self._stop.is_set():
                if known and chance.random() < _READS:
                    self._read(number, client, chance.choice(known[-50:]))
                    continue
                sent = Sent(
                    key=next_key(),
                    picture=chance.randrange(len(self._account.pictures)),
                    asynchronous=chance.random() < self._asynchronous,
                    fault=self._account.fault,
                )
                self._account.open(sent)
                self._predict(number, client, sent, chance)
                if sent.prediction_id is not None and not sent.asynchronous:
                    known.append(sent)

    def _predict(self, number: int, client: httpx.Client, sent: Sent, chance: random.Random) -> None:
        """Ask until there is an answer. Give up now and then: what was asked for is then stored once or not at all."""
        picture = self._account.pictures[sent.picture]
        headers = {"Idempotency-Key": sent.key}
        if sent.asynchronous:
            headers["Prefer"] = "respond-async"
        while True:
            timeout = _IMPATIENCE if chance.random() < _HANGS_UP else _PATIENCE
            answer = self._send(
                number,
                client,
                client.build_request(
                    "POST",
                    "/prediction",
                    files={"file": (f"{sent.picture}.png", picture.content, "image/png")},
                    data={"metadata": json.dumps({"key": sent.key})},
                    headers=headers,
                    timeout=timeout,
                ),
            )
            if answer is None or not _NOTHING_STORED.search(answer.text):
                sent.may_be_stored = True
            if answer is None or answer.status_code >= 500:
                if self._stop.is_set() or chance.random() < _GIVES_UP:
                    return
                time.sleep(_PAUSE)
                continue
            if answer.status_code not in (201, 202):
                self._account.wrong(sent.fault, f"{sent.key}: {answer.status_code} {answer.text[:200]}")
                return
            document = answer.json()
            if answer.status_code == 201 and not picture.is_output(document["prediction"]):
                self._account.wrong(sent.fault, f"{sent.key}: answered with {document['prediction']}")
            self._account.answered(sent, UUID(document["prediction_id"]))
            return

    def _read(self, number: int, client: httpx.Client, sent: Sent) -> None:
        answer = self._send(number, client, client.build_request("GET", f"/prediction/{sent.prediction_id}"))
        if answer is None or answer.status_code >= 500:
            time.sleep(_PAUSE)
            return
        picture = self._account.pictures[sent.picture]
        if answer.status_code != 200:
            self._account.wrong(sent.fault, f"{sent.key}: read as {answer.status_code} {answer.text[:200]}")
            return
        document = answer.json()
        content = base64.b64decode(document["image"].partition(",")[2])
        if content != picture.content or not picture.is_output(document["prediction"]):
            self._account.wrong(sent.fault, f"{sent.key}: read back as another")

    def _send(self, number: int, client: httpx.Client, request: httpx.Request) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = client.send(request)
        except httpx.TransportError:
            self._account.attempt(number, began, None, None)
            return None
        self._account.attempt(number, began, answer.status_code, answer.headers.get("retry-after"))
        return answer
