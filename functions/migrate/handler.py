"""Migrate the database when CloudFormation asks, and report the outcome to it.

`Migration` in `template.yaml` calls this at each deployment, before the code of any other function changes. The rules
that let old and new code share a schema are in `infra/README.md`.
"""

import logging
import os
import time
from collections.abc import Mapping
from threading import Timer
from typing import Final

from functions.migrate.custom_resource import Answer, CustomResourceRequest
from functions.migrate.function_users import make_function_users
from functions.shared.execution_environment import LambdaContext
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError
from functions.shared.ledger.secret import resolve_database_url
from infra.migrations import MigrationError, UnknownRevisionError, upgrade

logger = logging.getLogger(__name__)

RESOURCE: Final = "ledger-schema"
"""The custom resource's id, which must never change."""

WAKING_SECONDS: Final = 90.0
"""Seconds for which to retry an unreachable database. Aurora takes about 15 to resume, and 30 after a day's pause."""

SECONDS_BETWEEN_TRIES: Final = 5.0

SECONDS_TO_ANSWER: Final = 30.0
"""Seconds before the end of the invocation at which an unfinished migration is reported as a failure."""


def handler(event: CustomResourceRequest, context: LambdaContext) -> None:
    """Migrate on Create and Update. Do nothing on Delete: the tables belong to the database, which outlives the stack.

    The handler always answers CloudFormation, even when Lambda is about to end the invocation. The connection ends with
    the invocation, and PostgreSQL rolls the unfinished revision back.
    """
    logger.setLevel(os.environ.get("LOG_LEVEL", "INFO"))
    answer = Answer(event, RESOURCE)
    seconds = max(0.0, context.get_remaining_time_in_millis() / 1000 - SECONDS_TO_ANSWER)
    late = Timer(seconds, answer.fail, [f"The migration did not finish within {seconds:.0f} s and is rolled back."])
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
            # After a rollback the previous version runs, which does not know the newest revision. It works with that
            # schema all the same: a migration removes only what no version uses any more.
            logger.info("the schema is newer than this version and is left unchanged: %s", error)
            break
        except MigrationError as error:
            if not isinstance(error.__cause__, LedgerUnavailableError) or time.monotonic() >= give_up:
                raise
            logger.info("%s; trying again", error)
            time.sleep(SECONDS_BETWEEN_TRIES)
    if properties.get("MakeFunctionUsers") == "true":
        make_function_users(url)


def _reason(error: Exception) -> str:
    """Return the reason to report. Our own errors hold no secret; of any other error, only the type is reported."""
    if isinstance(error, MigrationError | LedgerError):
        return f"The migration failed: {error}"
    return f"The migration failed with {type(error).__name__}: see the log of the migrate function."
