"""What functions stand on: the model, the services and the migrated database, prepared before they start."""

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

_LARGEST_LOG = 10 * 1024 * 1024  # bytes, at a start


@dataclass(frozen=True)
class Dependencies:
    """What functions stand on."""

    services: Sequence[Service]
    configuration: RuntimeConfiguration
    package: ModelPackage | None
    """The model that is served; None where no function has one."""

    aws: LocalAws | None
    """Where the queues are; None where no function has one."""


async def prepare(
    settings: Settings,
    functions: Sequence[Function],
    cleanup: contextlib.AsyncExitStack,
    stop: asyncio.Event,
    report: Report,
) -> Dependencies:
    """Start everything that functions need: the model fetched, the services running, the database migrated.

    Parameters
    ----------
    settings
        What the server was told.
    functions
        The functions to prepare for: a service is started if the template tells one of them about it.
    cleanup
        Gets what stops the services again, also if this fails.
    stop
        Set when somebody asks the server to stop.
    report
        Told what is done.

    Raises
    ------
    CannotServeError
        If something does not start.
    """
    variables: dict[str, str] = {"AUTH": "on" if settings.auth else "off"}
    package = None
    if _uses("MODEL", functions):
        package, variables["MODEL"] = await unless_stopped(stop, in_thread(_load_model, settings.model, report))
        report(f"model      {package.name} {package.version}, for {package.takes}")
    services: list[Service] = []
    if _uses("DATABASE_URL", functions):
        services.append(_database(settings))
    # Alembic's 0.5 s of imports fit into the time that PostgreSQL takes to start.
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
    """Reports what a logger is told."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.INFO)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report(f"model      {record.getMessage()}")


def _load_model(location: str, report: Report) -> tuple[ModelPackage, str]:
    """Fetch the model if it is elsewhere, and read its package before anything is started for it."""
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
