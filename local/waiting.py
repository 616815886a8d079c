"""Waiting: for signals, for work that can be given up, for work that blocks."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar, cast

Result = TypeVar("Result")


class StopRequestedError(Exception):
    """Somebody asked the process to stop while it was starting."""


def stop_on_signals() -> asyncio.Event:
    """Return an event that is set when the process is asked to stop, as often as it is asked."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A shell ignores SIGINT for what it starts in the background, but who sends it means it. nohup means it too.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    return stop


async def unless_stopped(
    stop: asyncio.Event, work: Coroutine[None, None, Result], *, patiently: bool = False
) -> Result:
    """Await some work, unless the server is asked to stop meanwhile.

    Work that is done `patiently` gets to its end even then: it is short, and could not be undone half-way.
    """
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait([doing] if patiently else [doing, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        doing.cancel()
        await asyncio.wait([doing])
        raise StopRequestedError
    return doing.result()


async def in_thread(work: Callable[..., Result], *arguments: object) -> Result:
    """Run something that blocks in a thread that does not keep the process from ending, unlike `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()

    def finish(value: Result | None, error: BaseException | None) -> None:
        if result.cancelled():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(cast("Result", value))

    def run() -> None:
        value, error = None, None
        try:
            value = work(*arguments)
        except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(finish, value, error)

    threading.Thread(target=run, daemon=True).start()
    return await result
