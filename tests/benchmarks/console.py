"""Time until the console is usable over a large ledger: `python -m tests.benchmarks.console --rows 10000000`.

A browser with nothing in its cache opens a view, and the clock runs from the address to the moment when what the view
is for can be read and used: for Predict the button, for Records the first record, for Model its figures. The ledger has
predictions of 90 days, whose hours are rolled up. Ten million of them take 13 GB of disk while the command runs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import httpx
from playwright.sync_api import Browser, Page, Request

from infra.migrations import upgrade
from local.services.postgres import EmbeddedPostgres
from tests.benchmarks.filled import Filled
from tests.benchmarks.measure import Row, machine
from tests.benchmarks.report import print_table
from tests.benchmarks.ten_million import in_database, make_database
from tests.browser.chromium import open_browser
from tests.support.local_server import LocalServer
from tests.support.repository import DIGIT
from tests.support.seeded import DIGITS, roll_up

ROWS: Final = 1_000_000
DAYS: Final = 90
ROUNDS: Final = 7
MOST_MS: Final = 1000.0
MOST_KB: Final = 80.0

USABLE: Final[dict[str, tuple[str, Callable[[Page], None]]]] = {
    "Predict": ("/", lambda page: page.get_by_role("button", name="Predict", exact=True).wait_for()),
    "Records": ("/console/records", lambda page: page.locator("main a[href*='/console/record/']").first.wait_for()),
    "Model": ("/console/models/mnist/1", lambda page: page.locator("table.matrix a").first.wait_for()),
}
"""Where a view is, and what one waits for."""


@contextmanager
def filled(folder: Path, rows: int) -> Iterator[LocalServer]:
    """Serve a ledger with so many predictions."""
    server = EmbeddedPostgres(folder / "database", durable=False)  # only while rows are made
    server.start()
    url = make_database(server, "filled")
    upgrade(url)
    now = datetime.now(UTC)
    ledger = Filled(
        url, in_database(server.superuser_url, "filled"), rows, now - timedelta(days=DAYS), now + timedelta(hours=2)
    )
    with served(folder / "registering", url) as first, httpx.Client(base_url=first.address, timeout=60) as api:
        answer = api.post("/prediction", content=DIGIT.read_bytes(), headers={"content-type": "image/png"})
        assert answer.status_code == 201, answer.text
    ledger.ask("TRUNCATE predictions, inputs CASCADE")
    ledger.fill()
    roll_up(url)
    server.stop()
    server = EmbeddedPostgres(folder / "database")
    server.start()
    with served(folder / "home", url) as measured:
        yield measured
    server.stop()


@contextmanager
def served(home: Path, url: str) -> Iterator[LocalServer]:
    """Serve a ledger by the server that batches."""
    server = LocalServer(home, DATABASE_URL=url, MODEL=str(DIGITS), SERVER="batching", LOG_LEVEL="ERROR")
    try:
        yield server.start()
    finally:
        server.clean_up()


def open_cold(browser: Browser, url: str, usable: Callable[[Page], None]) -> tuple[float, float]:
    """Return the milliseconds until a view is usable for a browser with an empty cache, and the kilobytes it got."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    got: list[Request] = []
    page.on("requestfinished", lambda request: got.append(request))
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    usable(page)
    took = (time.perf_counter() - began) * 1000
    page.wait_for_load_state("networkidle")
    sizes = [request.sizes() for request in got if request.url.startswith("http")]
    context.close()
    return took, sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes) / 1000


def main() -> int:
    """Run the command line, and return 0 if every target is reached, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.console", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="predictions in the ledger")
    parser.add_argument("--folder", type=Path, help="where to make a folder for the database")
    chosen = parser.parse_args()
    print(machine(), flush=True)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="onnx-ledger-bench-", dir=chosen.folder) as name,
        filled(Path(name), chosen.rows) as server,
        open_browser() as browser,
    ):
        for view, (path, usable) in USABLE.items():
            open_cold(browser, server.address + path, usable)  # the server's own caches
            times, kilobytes = zip(
                *(open_cold(browser, server.address + path, usable) for _ in range(ROUNDS)), strict=True
            )
            parts = {"slowest_ms": round(max(times)), "kilobytes": round(max(kilobytes), 1)}
            what = f"{view} usable in a cold browser at {chosen.rows:,} predictions: milliseconds (p50)"
            rows.append(Row(what, median(times), MOST_MS, parts=parts))
            if view == "Predict":
                rows.append(Row("the first view of a cold browser: kilobytes on the wire", max(kilobytes), MOST_KB))
    print_table(rows)
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
