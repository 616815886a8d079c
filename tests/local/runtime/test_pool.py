"""Which environment of a function runs an event that has to wait."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from local.runtime.invocation import FunctionError, FunctionTimeoutError, Invocation, new_identifiers
from local.runtime.pool import FunctionPool, RuntimeConfiguration
from local.template import Function
from tests.support.local_server import PROJECT

pytestmark = pytest.mark.server

Use = Callable[[FunctionPool], Awaitable[None]]
InPool = Callable[..., None]


@pytest.fixture
def in_pool(tmp_path: Path) -> InPool:
    """Return a function that runs a coroutine function with a pool whose environments are all ready."""

    def run(use: Use, *, size: int, timeout: float = 10.0) -> None:
        function = Function("Sleep", "Sleep", "handlers.sleep", timeout)
        pool = FunctionPool(
            function, RuntimeConfiguration(PROJECT, {}, tmp_path / "functions.log", lambda _: None), size
        )

        async def main() -> None:
            try:
                async with asyncio.timeout(120):  # an event that no environment runs must not block the tests
                    await pool.start()
                    ready: set[int] = set()
                    while len(ready) < size:
                        ready |= {
                            one["process"] for one in await asyncio.gather(*(sleep(pool, 0.1) for _ in range(size)))
                        }
                    await use(pool)
            finally:
                pool.stop()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    return run


def begin(pool: FunctionPool, seconds: float, **more: str) -> Invocation:
    """Invoke a function that sleeps."""
    asked = {"seconds": str(seconds), **more}
    invocation = Invocation(json.dumps({"queryStringParameters": asked}).encode(), new_identifiers())
    pool.invoke(invocation)
    return invocation


async def slept(invocation: Invocation) -> dict[str, Any]:
    """Return the function's result."""
    said: dict[str, Any] = json.loads(await invocation.result)
    return said


async def sleep(pool: FunctionPool, seconds: float, **more: str) -> dict[str, Any]:
    """Invoke a function that sleeps, and return its result."""
    return await slept(begin(pool, seconds, **more))


def test_an_event_is_run_by_whoever_is_free_first_even_if_it_was_given_to_another(in_pool: InPool) -> None:
    async def use(pool: FunctionPool) -> None:
        long = begin(pool, 1)
        await asyncio.sleep(0.1)
        short = begin(pool, 0.1)
        # The environment that has been busy longest prefetches this event, but another one finishes first.
        waiting = begin(pool, 0)
        assert (await slept(waiting))["process"] == (await slept(short))["process"]
        assert not long.result.done()
        # An environment still runs its next events after the server took one back.
        later = [begin(pool, 0.4) for _ in range(4)]
        await slept(long)
        assert len({(await slept(one))["process"] for one in later}) == 2

    in_pool(use, size=2)


def test_an_event_is_begun_once_however_often_it_changes_hands(in_pool: InPool, tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        files = [tmp_path / str(number) for number in range(60)]
        events = [begin(pool, 0.05 if number % 7 == 0 else 0.001, file=str(file)) for number, file in enumerate(files)]
        for event in events:
            await slept(event)
        assert [file.read_text() for file in files] == [f"{event.identifiers.invocation_id}\n" for event in events]

    in_pool(use, size=3)


def test_a_process_that_ends_takes_with_it_what_it_ran_and_nothing_else(in_pool: InPool) -> None:
    async def use(pool: FunctionPool) -> None:
        dying, given_ahead, waiting = begin(pool, 0.3, then="die"), begin(pool, 0), begin(pool, 0)
        with pytest.raises(FunctionError, match="the process ended"):
            await dying.result
        assert (await slept(given_ahead))["process"] == (await slept(waiting))["process"]

    in_pool(use, size=1)


def test_an_event_given_to_a_process_that_has_just_ended_is_run_by_another_that_is_there(in_pool: InPool) -> None:
    async def use(pool: FunctionPool) -> None:
        both = {one["process"] for one in await asyncio.gather(sleep(pool, 0.1), sleep(pool, 0.1))}
        next_one = (await sleep(pool, 0))["process"]  # the environment that became free last
        os.kill(next_one, signal.SIGKILL)
        assert {(await sleep(pool, 0))["process"]} == both - {next_one}

    in_pool(use, size=2)


def test_the_time_that_an_event_may_take_begins_when_it_is_begun(in_pool: InPool) -> None:
    async def use(pool: FunctionPool) -> None:
        first, second = begin(pool, 2.5), begin(pool, 2.5)
        await slept(first)
        assert (await slept(second))["remaining"] > 2600  # of 5000, of which it waited for 2500

    in_pool(use, size=1, timeout=5)


def test_an_event_behind_one_that_takes_too_long_is_run_by_the_next_environment(in_pool: InPool) -> None:
    async def use(pool: FunctionPool) -> None:
        endless, behind = begin(pool, 60), begin(pool, 0)
        with pytest.raises(FunctionTimeoutError, match="it timed out after 3 seconds"):
            await endless.result
        assert (await slept(behind))["remaining"] > 1000

    in_pool(use, size=1, timeout=3)


def test_an_event_that_nobody_waits_for_any_more_is_not_begun(in_pool: InPool, tmp_path: Path) -> None:
    async def use(pool: FunctionPool) -> None:
        running, _, given_up = begin(pool, 0.3), begin(pool, 0), begin(pool, 0, file=str(tmp_path / "done"))
        given_up.result.cancel()
        await slept(running)
        await sleep(pool, 0)
        assert not (tmp_path / "done").exists()

    in_pool(use, size=1)


def test_nothing_that_waits_for_a_stopped_pool_is_left_without_an_answer(in_pool: InPool) -> None:
    async def use(pool: FunctionPool) -> None:
        events = [begin(pool, 60) for _ in range(3)]
        await asyncio.sleep(0.1)
        pool.stop()
        for event in events:
            with pytest.raises(FunctionError, match=r"the process ended|the server is stopping"):
                await event.result

    in_pool(use, size=1)
