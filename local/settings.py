"""The settings of the local server, read from environment variables once."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from local.errors import CannotServeError

ROOT = Path(__file__).resolve().parents[1]
"""The project's root, with `template.yaml` and the functions."""

_LARGEST_PORT = 65535
_MOST_ENVIRONMENTS = 64
_DAY = 86_400  # seconds


_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def cores() -> int:
    """Return how many cores this process may use: those of the machine, or what a container's limit leaves of them."""
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(number, _cpu_limit(_OWN_CGROUPS, _CGROUPS))))


def _cpu_limit(own: Path, root: Path) -> float:
    """Return the processor time a second that this process may have, as `docker run --cpus` limits it.

    Parameters
    ----------
    own
        The file that names the control groups of this process (cgroups(7)).
    root
        Where they are mounted. A container finds its own group there.

    Returns
    -------
    float
        Seconds a second; infinity without a limit.
    """
    try:
        lines = own.read_text().splitlines()
        groups = [(controllers, path) for line in lines for _, controllers, path in [line.split(":", 2)]]
    except (OSError, ValueError):  # the system has no control groups, or others than Linux
        return math.inf
    limits = [math.inf]
    for controllers, path in groups:
        within = Path(path.lstrip("/"))
        for group in (within, *within.parents):
            if not controllers:  # version 2
                limits.append(_quota(root / group / "cpu.max"))
            elif "cpu" in controllers.split(","):
                folder = root / "cpu" / group
                limits.append(_quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"))
    return min(limits)


def _quota(*files: Path) -> float:
    """Return quota over period, which files have in this order; infinity if there is no quota, or no such file."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        limit = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return math.inf
    return limit if limit > 0 else math.inf  # -1 is no limit


def default_environments() -> int:
    """Return how many execution environments of one function this machine can keep busy: one per core, 2 to 8."""
    return min(max(cores(), 2), 8)


@dataclass(frozen=True)
class Settings:
    """The settings of `python -m local`. A field's name in capitals is its environment variable."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 3000
    """Port to listen on; 0 is any free port."""

    allowed_hosts: tuple[str, ...] = ()
    """Names that the server is reached by, beside localhost and its address: in the variable, separated by commas."""

    ledger_home: Path = Path(".ledger")
    """Folder for the database, the logs and the key of the local issuer."""

    database_url: str | None = field(default=None, repr=False)
    """The database to use instead of the embedded one. It has a password, so it is never printed."""

    model: str = "model_artifacts/mnist"
    """The model package: a folder, or `s3://bucket/prefix`."""

    environments: int = field(default_factory=default_environments)
    """The largest number of execution environments of one function."""

    template: Path = ROOT / "template.yaml"
    """The SAM template to serve."""

    auth: bool = False
    """Whether routes that the template protects ask for a token, and functions know of it; `on` or `off`."""

    issuer_port: int = 0
    """Port of the local issuer, where users of the console sign in with `AUTH=on`; 0 is any free port."""

    token_seconds: int = 3600
    """How long a token is valid that the local issuer gives to the console."""

    batches: bool = False
    """Whether the server that batches serves, in place of the look-alikes of API Gateway and Lambda: `SERVER=batching`
    in place of `SERVER=lambda`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings. An empty variable counts as not set.

        Raises
        ------
        CannotServeError
            If a variable has a value that is not allowed. The message names the variable.
        """
        return cls(
            host=environment.get("HOST") or cls.host,
            port=whole_number(environment, "PORT", cls.port, least=0, most=_LARGEST_PORT),
            allowed_hosts=names(environment, "ALLOWED_HOSTS"),
            ledger_home=Path(environment.get("LEDGER_HOME") or cls.ledger_home),
            database_url=environment.get("DATABASE_URL") or cls.database_url,
            model=environment.get("MODEL") or cls.model,
            environments=whole_number(
                environment, "ENVIRONMENTS", default_environments(), least=1, most=_MOST_ENVIRONMENTS
            ),
            template=Path(environment.get("TEMPLATE") or cls.template),
            auth=switch(environment, "AUTH"),
            issuer_port=whole_number(environment, "ISSUER_PORT", cls.issuer_port, least=0, most=_LARGEST_PORT),
            token_seconds=whole_number(environment, "TOKEN_SECONDS", cls.token_seconds, least=1, most=_DAY),
            batches=_server(environment) == "batching",
        )

    def has_own_issuer(self, environment: Mapping[str, str]) -> bool:
        """Return whether tokens are those of the local issuer: the server that batches may have another."""
        return self.auth and not (self.batches and environment.get("ISSUER"))


def _server(environment: Mapping[str, str]) -> str:
    name = environment.get("SERVER") or "lambda"
    if name not in {"lambda", "batching"}:
        raise CannotServeError(f"SERVER={name!r}: it must be lambda or batching")
    return name


def names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return what a variable has, separated by commas."""
    return tuple(one for text in (environment.get(name) or "").split(",") if (one := text.strip()))


def switch(environment: Mapping[str, str], name: str) -> bool:
    """Return whether a variable is `on`.

    Raises
    ------
    CannotServeError
        If it is neither `on` nor `off`.
    """
    text = environment.get(name) or "off"
    if text not in {"off", "on"}:
        raise CannotServeError(f"{name}={text!r}: it must be off or on")
    return text == "on"


def whole_number(environment: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """Return a variable as a number; the default if it is not set, or empty.

    Raises
    ------
    CannotServeError
        If it is no whole number, or out of range.
    """
    text = environment.get(name)
    if not text:
        return default
    # isdecimal() alone would accept digits of other scripts, and int() alone would accept " 1_0".
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise CannotServeError(f"{name}={text!r}: it must be a whole number from {least} to {most}")
    return int(text)
