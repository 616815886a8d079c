"""One process of the server: what uvicorn runs in each."""

import logging
import multiprocessing
import os
import sys
import threading
from typing import Any

import uvicorn

from functions.shared.log import log_through
from local.batching import metrics, traces
from local.batching.application import Application, Verifier
from local.batching.direct import BatchingProtocol
from local.batching.settings import BatchingSettings, TokenSettings

_LOG_BUFFER = 1024 * 1024  # bytes; a batch writes a line of 300 bytes for each prediction

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than load balancers keep theirs. If the server closed it first, a
client's next request could be lost."""


def configuration(settings: BatchingSettings) -> uvicorn.Config:
    """Return how uvicorn runs each process."""
    return uvicorn.Config(
        "local.batching.worker:application",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=BatchingProtocol,
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, settings.stop_seconds - settings.stop_seconds_of_queue),
        timeout_worker_healthcheck=60,
    )


def application() -> Application:
    """Make the application of this process, which ends with its parent."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    _write_lines_whole()
    log_through("uvicorn.error", logging.WARNING)
    settings = BatchingSettings.from_environment()
    return Application(
        settings,
        verifier=_verifier(settings.tokens),
        metrics=metrics.of_this_process(),
        traces=traces.of_this_process(),
    )


def _verifier(settings: TokenSettings | None) -> Verifier | None:
    if settings is None:
        return None
    from local.batching import tokens  # with httpx and joserfc this takes a while, which only AUTH=on has to pay

    return tokens.Verifier(settings)


def _write_lines_whole() -> None:
    """Write to the log what is written at once in one piece: otherwise lines of several processes get mixed up."""
    if sys.stdout is not None:
        sys.stdout = open(sys.stdout.fileno(), "w", _LOG_BUFFER, encoding="utf-8", closefd=False)  # noqa: SIM115 - it is no path, and stays open


def _end_with(parent: Any) -> None:  # noqa: ANN401 - multiprocessing does not name its type
    """End this process when its parent was killed: nobody else would."""
    parent.join()
    os._exit(1)
