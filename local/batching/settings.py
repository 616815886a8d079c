"""The settings of the server that batches, read from environment variables once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from local.errors import CannotServeError
from local.http.sites import LOOPBACK, Sites
from local.settings import cores, names, switch, whole_number

_GPUS: Final = ("/dev/nvidiactl", "/dev/dxg")  # NVIDIA's driver, natively and in WSL
_MOST: Final = 1_000_000
_MOST_SECONDS: Final = 3600
_MOST_WORKERS: Final = 256
_LARGEST_SKEW: Final = 600  # seconds; a clock that is further off should be set


def default_workers(environment: Mapping[str, str]) -> int:
    """Return how many processes keep this machine busy: one a core, or one where a GPU runs the model."""
    return 1 if _runs_on_gpu(environment) else cores()


def default_batch_threads(environment: Mapping[str, str]) -> int:
    """Return how many batches a process has at work: a GPU runs one while the next is decoded."""
    return 2 if _runs_on_gpu(environment) else 1


def cores_of_workers(environment: Mapping[str, str], workers: int, batch_threads: int) -> tuple[int, ...]:
    """Return the core that each process is kept on; none if the system is to place them.

    The threads of a process take turns, since they have one interpreter. On one core they find each other's data in its
    cache, and to wake one need not wake a core. That is only done where each core gets one process, so that none is
    idle, and where nothing in a process is meant to run side by side.
    """
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    one_thread_runs = batch_threads == 1 and (environment.get("INTRA_OP_THREADS") or "1") == "1"
    return tuple(available) if workers == len(available) and one_thread_runs else ()


def _runs_on_gpu(environment: Mapping[str, str]) -> bool:
    wanted = environment.get("EXECUTION_PROVIDERS") or "auto"
    if wanted.strip() != "auto":
        return "CUDA" in wanted or "Tensorrt" in wanted
    if not any(Path(device).exists() for device in _GPUS):
        return False
    import onnxruntime  # it takes a while, and only a machine with a GPU has to ask it

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@dataclass(frozen=True)
class TokenSettings:
    """Whose tokens are accepted. A field's name in capitals is its environment variable."""

    issuer: str
    """The OpenID Connect issuer, exactly as the claim `iss` has it."""

    audience: tuple[str, ...]
    """The audiences that are accepted; in the variable, separated by commas. A token's `aud`, or its `client_id` where
    it has no `aud` (as Cognito's access tokens), must be one of them."""

    jwks_url: str | None = None
    """Where the issuer's keys are: an `https` URL, or `file:///…`. Without it, the issuer's discovery document says."""

    clock_skew_seconds: int = 60
    """How far the issuer's clock may be from this machine's."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Read the settings; None with `AUTH=off`. An empty variable counts as not set.

        Raises
        ------
        CannotServeError
            If a variable is missing or has a value that is not allowed. The message names the variable.
        """
        if not switch(environment, "AUTH"):
            return None
        issuer = environment.get("ISSUER") or ""
        if not is_safe(issuer):
            raise CannotServeError(
                f"ISSUER={issuer!r}: with AUTH=on it must be the issuer of the tokens, as https://login.example.com; "
                "http is for an address of this machine only"
            )
        audience = names(environment, "AUDIENCE")
        if not audience:
            raise CannotServeError("AUDIENCE: with AUTH=on it must name the audiences of the tokens, as onnx-ledger")
        jwks_url = environment.get("JWKS_URL") or None
        if jwks_url is not None and not (is_safe(jwks_url) or jwks_url.startswith("file:///")):
            raise CannotServeError(
                f"JWKS_URL={jwks_url!r}: it must be where the issuer's keys are, as https://login.example.com/jwks or "
                "file:///etc/keys/jwks.json; http is for an address of this machine only"
            )
        skew = whole_number(environment, "CLOCK_SKEW_SECONDS", cls.clock_skew_seconds, least=0, most=_LARGEST_SKEW)
        return cls(issuer, audience, jwks_url, skew)


def is_safe(url: str) -> bool:
    """Return whether what a URL answers is what its host sent: by TLS, or because it does not leave this machine."""
    try:
        parts = urlsplit(url)
        name = parts.hostname
    except ValueError:
        return False
    if not name or parts.scheme != "http":
        return bool(name) and parts.scheme == "https"
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


@dataclass(frozen=True)
class BatchingSettings:
    """The settings of `python -m local.batching`. A field's name in capitals is its environment variable.

    The functions have further ones: `DATABASE_URL`, `MODEL`, `AUTH` and so on.
    """

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 3000
    """Port to listen on; 0 is any free port."""

    allowed_hosts: tuple[str, ...] = ()
    """Names that the server is reached by: in the variable, separated by commas."""

    workers: int = 1
    """Processes that share the port."""

    cores: tuple[int, ...] = ()
    """The core that each process is kept on; empty if the system places them. It is no variable."""

    batch_threads: int = 1
    """Batches that one process has at work side by side. Each further one makes all of them smaller."""

    max_batch_inputs: int = 256
    """The most requests in a batch, and inputs in a request."""

    batch_wait_ms: int = 0
    """Milliseconds that a batch waits for more requests."""

    max_queued_inputs: int = 1024
    """The most requests of a process that wait. Further ones are refused with 503."""

    request_seconds: int = 30
    """Seconds after which a request is refused that has not been begun."""

    queue_seconds: int = 60
    """Seconds that a process may take for the queued predictions that it has claimed. Those of one that was killed are
    claimed by another after that. Where functions on Lambda share the ledger, it is to be 60."""

    stop_seconds: int = 20
    """Seconds for the requests in flight after the server was asked to stop."""

    forwarded_allow_ips: str = "127.0.0.1"
    """Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: addresses or networks, or `*`."""

    metrics_port: int = 0
    """Port to listen on for `GET /metrics`; 0 counts nothing and listens on none."""

    tokens: TokenSettings | None = None
    """Whose tokens requests need; None with `AUTH=off`, and they need none."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings. An empty variable counts as not set.

        Raises
        ------
        CannotServeError
            If a variable has a value that is not allowed. The message names the variable.
        """

        def number(name: str, default: int, least: int, most: int) -> int:
            return whole_number(environment, name, default, least=least, most=most)

        workers = number("WORKERS", default_workers(environment), 1, _MOST_WORKERS)
        batch_threads = number("BATCH_THREADS", default_batch_threads(environment), 1, 64)
        return cls(
            host=environment.get("HOST") or cls.host,
            port=number("PORT", cls.port, 0, 65535),
            allowed_hosts=names(environment, "ALLOWED_HOSTS"),
            workers=workers,
            cores=cores_of_workers(environment, workers, batch_threads),
            batch_threads=batch_threads,
            max_batch_inputs=number("MAX_BATCH_INPUTS", cls.max_batch_inputs, 1, _MOST),
            batch_wait_ms=number("BATCH_WAIT_MS", cls.batch_wait_ms, 0, 10_000),
            max_queued_inputs=number("MAX_QUEUED_INPUTS", cls.max_queued_inputs, 1, _MOST),
            request_seconds=number("REQUEST_SECONDS", cls.request_seconds, 1, _MOST_SECONDS),
            queue_seconds=number("QUEUE_SECONDS", cls.queue_seconds, 1, _MOST_SECONDS),
            stop_seconds=number("STOP_SECONDS", cls.stop_seconds, 1, _MOST_SECONDS),
            forwarded_allow_ips=environment.get("FORWARDED_ALLOW_IPS") or cls.forwarded_allow_ips,
            metrics_port=number("METRICS_PORT", cls.metrics_port, 0, 65535),
            tokens=TokenSettings.from_environment(environment),
        )

    @property
    def stop_seconds_of_queue(self) -> int:
        """Those of `stop_seconds` that are left to the queue's worker, once the requests are answered."""
        return min(3, self.stop_seconds // 2)

    def sites(self) -> Sites | None:
        """Return the check of `Host` and `Origin`; None where it makes no sense.

        A token keeps other sites' pages out. Without tokens, a server on loopback knows all its names, as does one
        whose names are in `ALLOWED_HOSTS`. Any other server is called by names that it cannot know.
        """
        if self.tokens is not None:
            return None
        return Sites(self.host, self.allowed_hosts, any_name=not self.allowed_hosts and self.host not in LOOPBACK)
