"""What a person sees while the database or the server is away or silent, and that nothing of theirs is lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.reviewing import answer_and_wait, current_record, judged, send_now, wait_until_judged
from tests.support.browsing import Breakable, Site, Visit, shown_records, sign_in, wait_until

LONG = 61_000
"""Milliseconds: longer than a page waits."""


@dataclass(frozen=True)
class Silent(Site):
    """A site behind a server that answers nothing on some paths, or only the beginning of an answer."""

    front: ThreadingHTTPServer
    silent: set[str]
    woken: threading.Event

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.front.server_port}"


@contextmanager
def silent_site(behind: Site, *paths: str, begins: bool = False) -> Iterator[Silent]:
    """Serve a site so that it is silent on some paths; `begins`: after the first byte of an answer."""
    silent, woken = set(paths), threading.Event()

    class Front(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] in silent:
                if begins:
                    self._answer(200, {"content-type": "application/json", "content-length": "1000"}, b"{")
                woken.wait()
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: self.headers[name] for name in ("accept", "content-type") if name in self.headers}
            found = httpx.request(self.command, f"{behind.address}{self.path}", content=body, headers=headers)
            kept = ("content-type", "content-security-policy")
            self._answer(
                found.status_code, {name: found.headers[name] for name in kept if name in found.headers}, found.content
            )

        do_POST = do_GET  # noqa: N815  # the name that the base class calls

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # the page was left
                self.wfile.write(content)
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as front:
        front.daemon_threads = True
        threading.Thread(target=front.serve_forever, daemon=True).start()
        try:
            yield Silent(behind.server, behind.url, front, silent, woken)
        finally:
            woken.set()
            front.shutdown()


@pytest.mark.parametrize("begins", [False, True], ids=["no answer", "half an answer"])
def test_a_server_that_does_not_answer_is_given_up_and_asked_again(digits: Site, visit: Visit, *, begins: bool) -> None:
    with silent_site(digits, "/predictions", begins=begins) as site:
        page = visit(site, "about:blank")
        page.clock.install()
        asked = page.expect_response if begins else page.expect_request
        with asked("**/predictions?limit=50"):
            page.goto("/console/records")
        expect(page.get_by_text("Loading records")).to_be_visible()
        page.clock.fast_forward(LONG)
        told = page.locator("#view").get_by_role("alert").first
        expect(told).to_contain_text("The server does not answer.")

        site.silent.clear()
        told.get_by_role("button", name="Try again").click()

        page.locator("#view a[href*='/console/record/']").first.wait_for()
        page.close()


def test_what_one_said_to_a_server_that_does_not_answer_is_kept_and_stored_later(digits: Site, visit: Visit) -> None:
    with silent_site(digits, "/ground_truth") as site:
        page = visit(site, "/console/review?version=1")
        current_record(page)
        before = judged(digits)
        page.clock.install()
        with page.expect_request("**/ground_truth"):
            answer_and_wait(page, "1")
        page.clock.fast_forward(LONG)
        expect(page.get_by_text("1 ground truth could not be stored yet: The server does not answer.")).to_be_visible()

        site.silent.clear()
        send_now(page)

        wait_until_judged(page, digits, before + 1)
        page.close()


def hold(page: Page, url: str) -> list[Route]:
    """Answer nothing that is asked for at a URL."""
    held: list[Route] = []
    page.route(url, lambda route: held.append(route))
    return held


def without(site: Site, visit: Visit, url: str) -> tuple[Page, list[Route]]:
    """Go to the models without what is at a URL. Return the page, whose clock can be moved, and what is held back."""
    page = visit(site, "/console/import")
    expect(page.get_by_role("heading", level=1)).to_have_text("Import")
    page.clock.install()
    held = hold(page, url)
    page.get_by_role("navigation").get_by_role("link", name="Models").click()
    return page, held


def test_a_view_that_does_not_come_is_said_so(digits: Site, visit: Visit) -> None:
    page, held = without(digits, visit, "**/assets/views/models.*")
    wait_until(page, lambda: bool(held))

    page.clock.fast_forward(LONG)

    expect(page.get_by_role("alert")).to_contain_text("This view could not be loaded")
    held[0].continue_()
    expect(page.get_by_role("table", name="Models and versions")).to_be_visible()


def test_a_chart_that_does_not_come_is_said_so_and_its_table_is_there(digits: Site, visit: Visit) -> None:
    page, held = without(digits, visit, "**/uPlot.iife*")
    page.get_by_role("table", name="Models and versions").get_by_role("link").first.click()
    wait_until(page, lambda: bool(held))
    expect(page.locator("#view").get_by_role("status").filter(has_text="Loading")).to_have_count(0)

    page.clock.fast_forward(LONG)

    figure = page.get_by_role("figure").filter(has_text="could not be drawn").first
    expect(figure).to_be_visible()
    expect(figure.get_by_text("As a table")).to_be_visible()


def test_what_signs_in_does_not_come_and_is_said_so(digits_signed: Site, visit: Visit) -> None:
    page = visit(digits_signed, "about:blank")
    page.clock.install()
    held = hold(page, "**/oidc-client-ts*")
    page.goto("/console/records", wait_until="commit")
    wait_until(page, lambda: bool(held))

    page.clock.fast_forward(LONG)

    expect(page.get_by_role("status")).to_contain_text("You could not be signed in")
    page.unroute("**/oidc-client-ts*")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_have_count(0)
    sign_in(page, "anna")


def test_a_model_that_was_not_known_at_first_is_known_everywhere_later(digits: Site, visit: Visit) -> None:
    page = visit(digits, "about:blank", expecting=("ERR_FAILED",))
    page.clock.install()
    page.route("**/model", lambda route: route.abort())
    page.goto("/console/review?version=1")
    current_record(page)
    keys = page.get_by_role("group", name="The true label").get_by_role("button")
    expect(keys).to_have_count(0)

    page.unroute("**/model")
    page.clock.fast_forward(LONG)

    expect(keys).to_have_count(10)
    expect(page.get_by_role("banner")).to_contain_text("mnist")


def test_the_database_goes_away_and_comes_back(breakable: Breakable, visit: Visit) -> None:
    site = breakable.site
    page = visit(site, "/console/records?label=7", expecting=("503",))
    page.locator("#view a[href*='/console/record/']").first.wait_for()
    before = shown_records(page)[:20]

    breakable.take_database_away()
    page.reload()
    problem = page.locator("#view").get_by_role("alert").first
    expect(problem).to_contain_text("database")
    breakable.bring_database_back()

    def is_shown_again() -> bool:
        """Press what is there to be pressed: the filters have counts, too, and each says it when it has noticed."""
        if shown_records(page)[:20] == before:
            return True
        page.eval_on_selector_all(
            "#view button", "all => all.filter((one) => /again/i.test(one.textContent)).forEach((one) => one.click())"
        )
        page.wait_for_timeout(1000)
        return False

    wait_until(page, is_shown_again)


def test_the_server_goes_away_and_comes_back(breakable: Breakable, visit: Visit) -> None:
    page = visit(breakable.site, "/console/records", expecting=("ERR_CONNECTION", "ERR_EMPTY"))
    page.locator("#view a[href*='/console/record/']").first.wait_for()

    breakable.take_server_away()
    page.get_by_role("navigation").get_by_role("link", name="Models").click()
    expect(page.get_by_role("alert").first).to_contain_text("cannot be reached")
    breakable.bring_server_back()
    page.get_by_role("button", name="again").first.click()

    expect(page.get_by_role("table", name="Models and versions")).to_be_visible()
