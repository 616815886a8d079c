"""Compare warm predictions with quotas and without: `python -m tests.benchmarks.quotas`.

Both environments are in one process and share the model, and take turns. The quotas are never reached.
"""

import os
import sys
from itertools import cycle
from typing import Any

from tests.benchmarks.child import database, run_child
from tests.benchmarks.digits import Context, digits, form_event
from tests.benchmarks.measure import Row, interleave, machine, medians
from tests.benchmarks.report import print_table

WARM_UP = 200
BATCH = 64


def main() -> int:
    """Measure, print a table, and return 0 if every target is reached, 1 otherwise."""
    print(machine(), flush=True)
    with database() as url:
        measured = run_child("tests.benchmarks.quotas", url)
    rows = [
        Row(f"{what} with quotas over without (p50)", on / off, 1.5, parts={"with_ms": on, "without_ms": off})
        for what, (off, on) in measured.items()
    ]
    print_table(rows)
    return 0 if all(row.passed for row in rows) else 1


def measure() -> dict[str, list[float]]:
    """Measure in this process, which must be an execution environment. The figures are medians in milliseconds."""
    import functions.predict.handler as predict_function
    from functions.shared.ledger.ledger import Ledger
    from functions.shared.ledger.quotas import Quotas

    without = predict_function.environment()
    most = 2**62
    ledger = Ledger.at(os.environ["DATABASE_URL"], quotas=Quotas(most, most, most))
    with_quotas = without._replace(serving=without.serving._replace(ledger=ledger))
    images, context = digits(), Context()
    one = cycle([form_event("/prediction", image) for image in images])
    many = form_event("/predictions", *(image for image, _ in zip(cycle(images), range(BATCH), strict=False)))

    def serve(environment: Any, event: dict[str, Any]) -> None:
        predict_function.environment = lambda: environment  # type: ignore[assignment]
        if predict_function.handler(event, context)["statusCode"] != 201:
            raise RuntimeError("a request failed")

    for _ in range(WARM_UP):
        for environment in (without, with_quotas):
            serve(environment, next(one))
    single = interleave(10, lambda: serve(without, next(one)), lambda: serve(with_quotas, next(one)))
    batch = interleave(5, lambda: serve(without, many), lambda: serve(with_quotas, many))
    return {"warm POST /prediction": medians(single), f"a batch of {BATCH}": medians(batch)}


if __name__ == "__main__":
    sys.exit(main())
