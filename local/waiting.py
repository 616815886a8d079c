"""Waiting for signals, for work that a request to stop cancels, and for work that blocks."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar, cast

Result = TypeVar("Result")


class StopRequestedError(Exception):
    """The process was asked to stop while it was starting."""


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGINT, SIGTERM or SIGHUP sets."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP on purpose. A shell ignores SIGINT for background processes, yet a sender means it.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    return stop


async def unless_stopped(
    stop: asyncio.Event, work: Coroutine[None, None, Result], *, patiently: bool = False
) -> Result:
    """Await some work. Cancel it if the server is asked to stop meanwhile.

    Parameters
    ----------
    stop
        Set when the server is asked to stop.
    work
        The work.
    patiently
        Let the work finish first. For short work that cannot be undone halfway.

    Raises
    ------
    StopRequestedError
        If the server was asked to stop.
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
    """Run a blocking call in a daemon thread. Unlike `asyncio.to_thread`, it does not keep the process from ending."""
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
        except BaseException as raised:  # noqa: BLE001 - the awaiting task raises it again
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(finish, value, error)

    threading.Thread(target=run, daemon=True).start()
    return await result
