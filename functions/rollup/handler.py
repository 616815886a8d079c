"""On a schedule, count the predictions of hours that are over, and count again hours that have changed."""

from functools import cache, partial

from functions.rollup.metrics import write_metrics
from functions.shared.execution_environment import LambdaContext, on_lambda
from functions.shared.log import logger, start_logging
from functions.shared.prediction.rolling import Rolled, Roller
from functions.shared.settings import RollupSettings


@cache
def environment() -> Roller:
    """Create the connection pool, on the first call."""
    settings = RollupSettings.from_environment()
    start_logging(settings.log_level)
    namespace = settings.metrics_namespace
    return Roller.configured(settings, None if namespace is None else partial(write_metrics, namespace))


def handler(_event: object, context: LambdaContext) -> Rolled:
    """Roll up until nothing is left or time runs out, and say how each version does. The next call continues.

    Raises
    ------
    LedgerError
        If the database cannot be reached.
    """
    roller = environment()
    logger.request_id = context.aws_request_id
    return roller.roll_up(context.get_remaining_time_in_millis)


if on_lambda():
    environment()
