"""The dependencies of functions: the model, the services and the migrated database, ready before a function starts."""

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from functions.shared.inference.errors import InferenceError
from functions.shared.inference.location import resolve
from functions.shared.inference.package import ModelPackage
from local.commands.console import to_stderr
from local.errors import CannotServeError
from local.runtime.pool import Report, RuntimeConfiguration
from local.services.aws import LocalAws
from local.services.database import EmbeddedDatabase, GivenDatabase
from local.services.service import Service
from local.settings import Settings
from local.template import Function, read_queues
from local.waiting import in_thread, unless_stopped

_LARGEST_LOG = 10 * 1024 * 1024  # bytes; a larger log is rotated when the server starts


@dataclass(frozen=True)
class Dependencies:
    """What functions need before they start."""

    services: Sequence[Service]
    configuration: RuntimeConfiguration
    package: ModelPackage | None
    """The model that is served; None if no function uses one."""

    aws: LocalAws | None
    """The service that has the queues; None if no function uses one."""


async def prepare(
    settings: Settings,
    functions: Sequence[Function],
    cleanup: contextlib.AsyncExitStack,
    stop: asyncio.Event,
    report: Report,
) -> Dependencies:
    """Fetch the model, start the services and migrate the database.

    Parameters
    ----------
    settings
        The server's settings.
    functions
        The functions to start. A service is started only if the template has a variable for it in one of them.
    cleanup
        Receives the callbacks that stop the services, even if a later step fails.
    stop
        Set when the server is asked to stop.
    report
        Called with a line for each step.

    Raises
    ------
    CannotServeError
        If a service does not start, or the model or the database cannot be used.
    """
    variables: dict[str, str] = {"AUTH": "on" if settings.auth else "off"}
    package = None
    if _uses("MODEL", functions):
        package, variables["MODEL"] = await unless_stopped(stop, in_thread(_load_model, settings.model, report))
        report(f"model      {package.name} {package.version}, for {package.takes}")
    services: list[Service] = []
    if _uses("DATABASE_URL", functions):
        services.append(_database(settings))
    # Importing Alembic takes 0.5 s, which fit into the time that PostgreSQL needs to start.
    importing = asyncio.ensure_future(in_thread(importlib.import_module, "infra.migrations")) if services else None
    aws = None
    if _uses("QUEUE_URL", functions):
        aws = LocalAws(read_queues(settings.template), settings.ledger_home.absolute() / "logs" / "aws.log")
        services.append(aws)
    for service in services:
        report(service.name)
        cleanup.push_async_callback(in_thread, service.stop)
        variables |= await unless_stopped(stop, in_thread(service.start), patiently=True)
    if importing is not None:
        await importing
        await unless_stopped(stop, in_thread(_migrate, variables["DATABASE_URL"], report))
    log = settings.ledger_home.absolute() / "logs" / "functions.log"
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    configuration = RuntimeConfiguration(settings.template.absolute().parent, variables, log, to_stderr)
    return Dependencies(services, configuration, package, aws)


def _uses(variable: str, functions: Sequence[Function]) -> bool:
    return any(variable in function.environment for function in functions)


def _database(settings: Settings) -> Service:
    if settings.database_url is not None:
        return GivenDatabase(settings.database_url)
    return EmbeddedDatabase(settings.ledger_home / "postgres")


class _Progress(logging.Handler):
    """Reports the records of a logger."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.INFO)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report(f"model      {record.getMessage()}")


def _load_model(location: str, report: Report) -> tuple[ModelPackage, str]:
    """Fetch the model if it is remote. Read its package now, so that a bad one is reported before a service starts."""
    fetching = logging.getLogger(resolve.__module__)
    fetching.setLevel(logging.INFO)
    fetching.addHandler(_Progress(report))
    try:
        folder = resolve(location).absolute()
        return ModelPackage.load(folder), str(folder)
    except InferenceError as error:
        raise CannotServeError(f"MODEL={location}: {error}") from error


def _migrate(url: str, report: Report) -> None:
    from infra.migrations import MigrationError, upgrade

    try:
        upgrade(url, report=lambda line: report(f"schema     {line}"))
    except MigrationError as error:
        raise CannotServeError(str(error)) from error
