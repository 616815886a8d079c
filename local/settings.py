"""The settings of the local server, read from environment variables once."""

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


def default_environments() -> int:
    """Return how many execution environments of one function this machine can keep busy: one per core, 2 to 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores, 2), 8)


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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings. An empty variable counts as not set.

        Raises
        ------
        CannotServeError
            If a variable has a value that is not allowed. The message names the variable.
        """
        names = environment.get("ALLOWED_HOSTS") or ""
        return cls(
            host=environment.get("HOST") or cls.host,
            port=_whole_number(environment, "PORT", cls.port, least=0, most=_LARGEST_PORT),
            allowed_hosts=tuple(name for text in names.split(",") if (name := text.strip())),
            ledger_home=Path(environment.get("LEDGER_HOME") or cls.ledger_home),
            database_url=environment.get("DATABASE_URL") or cls.database_url,
            model=environment.get("MODEL") or cls.model,
            environments=_whole_number(
                environment, "ENVIRONMENTS", default_environments(), least=1, most=_MOST_ENVIRONMENTS
            ),
            template=Path(environment.get("TEMPLATE") or cls.template),
            auth=_switch(environment, "AUTH"),
        )


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name) or "off"
    if text not in {"off", "on"}:
        raise CannotServeError(f"{name}={text!r}: it must be off or on")
    return text == "on"


def _whole_number(environment: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = environment.get(name)
    if not text:
        return default
    # isdecimal() alone would accept digits of other scripts, and int() alone would accept " 1_0".
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise CannotServeError(f"{name}={text!r}: it must be a whole number from {least} to {most}")
    return int(text)
