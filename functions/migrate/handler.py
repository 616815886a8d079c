"""Bring the schema up to date when CloudFormation says so, and tell it how that went.

`Migration` in `template.yaml` calls this at each deployment, before the code of any other function changes. The rules
that let old and new code work with one schema are in `infra/README.md`.
"""

import logging
import os
import time
from collections.abc import Mapping
from threading import Timer
from typing import Final

from functions.migrate.custom_resource import Answer, CustomResourceRequest
from functions.migrate.function_user import make_function_user
from functions.shared.execution_environment import LambdaContext
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
from functions.shared.ledger.secret import resolve_database_url
from infra.migrations import MigrationError, UnknownRevisionError, upgrade

logger = logging.getLogger(__name__)

RESOURCE: Final = "ledger-schema"
"""The custom resource's name, always the same."""

WAKING_SECONDS: Final = 90.0
"""How long to go on trying to reach the database: Aurora takes about 15 seconds to resume, 30 after a day's pause."""

SECONDS_BETWEEN_TRIES: Final = 5.0

SECONDS_TO_ANSWER: Final = 30.0
"""What is left of the function's time when it stops waiting for a migration and reports a failure."""


def handler(event: CustomResourceRequest, context: LambdaContext) -> None:
    """Migrate on Create and Update, do nothing on Delete: the tables belong to the database, which outlives us.

    Answers CloudFormation in any case, also when Lambda is about to end the invocation: the connection then ends with
    it, and PostgreSQL rolls the unfinished revision back.
    """
    logger.setLevel(os.environ.get("LOG_LEVEL", "INFO"))
    answer = Answer(event, RESOURCE)
    seconds = max(0.0, context.get_remaining_time_in_millis() / 1000 - SECONDS_TO_ANSWER)
    late = Timer(seconds, answer.fail, [f"The migration has not ended within {seconds:.0f} s and is rolled back."])
    late.daemon = True
    late.start()
    try:
        if event["RequestType"] != "Delete":
            _migrate(event["ResourceProperties"])
    except Exception as error:
        logger.exception("the migration failed")
        answer.fail(_reason(error))
    else:
        answer.succeed()
    finally:
        late.cancel()


def _migrate(properties: Mapping[str, str]) -> None:
    url = resolve_database_url(os.environ.get("DATABASE_URL"), os.environ.get("DATABASE_SECRET_ARN"))
    give_up = time.monotonic() + WAKING_SECONDS
    while True:
        try:
            upgrade(url, report=logger.info)
            break
        except UnknownRevisionError as error:
            # A deployment that is rolled back runs the version before, which does not know the newest revision. It can
            # live with that schema all the same: what it uses is only taken away once nothing uses it any more.
            logger.info("the schema is newer than this version, and stays as it is: %s", error)
            break
        except MigrationError as error:
            if not isinstance(error.__cause__, LedgerUnavailableError) or time.monotonic() >= give_up:
                raise
            logger.info("%s; trying again", error)
            time.sleep(SECONDS_BETWEEN_TRIES)
    if properties.get("MakeFunctionUser") == "true":
        make_function_user(url)


def _reason(error: Exception) -> str:
    """Say what went wrong. Errors of our own are written to be read and hold no secret; of others, just the kind."""
    if isinstance(error, MigrationError | LedgerError):
        return f"The migration failed: {error}"
    return f"The migration failed with {type(error).__name__}: see the log of the migrate function."
