"""Keeps the server's processes running, with uvicorn's supervisor."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from socket import socket

from uvicorn import Config
from uvicorn.supervisors import Multiprocess


class Supervisor(Multiprocess):
    """Starts the processes, replaces those that end, and passes on a request to stop.

    uvicorn's asks each process by a pipe whether it is alive, and keeps the process's end of the pipe open, too. If one
    is killed while it is asked, no answer comes, nor the end of the pipe: for `timeout_worker_healthcheck`, nothing is
    replaced, and no request to stop is heard. So this one closes its copy.

    Parameters
    ----------
    config, sockets
        What the processes run, and where they listen.
    cores
        The core that each process is kept on: see `BatchingSettings.cores`. Empty to keep them nowhere.
    """

    def __init__(self, config: Config, sockets: list[socket], *, cores: Sequence[int] = ()) -> None:
        super().__init__(config, sockets=sockets)
        self._cores = cores
        self._placed: dict[int, int] = {}  # by position: the process that is on its core

    def init_processes(self) -> None:
        """Start the processes."""
        super().init_processes()
        self._look_after_new_ones()

    def handle_signals(self) -> None:
        """Do what signals ask for: some start processes."""
        super().handle_signals()
        self._look_after_new_ones()

    def keep_subprocess_alive(self) -> None:
        """Replace a process that has ended."""
        super().keep_subprocess_alive()
        self._look_after_new_ones()

    def _look_after_new_ones(self) -> None:
        for process in self.processes:
            process.child_conn.close()
        for position, (process, core) in enumerate(zip(self.processes, self._cores, strict=False)):
            if process.pid is None or self._placed.get(position) == process.pid:
                continue
            self._placed[position] = process.pid
            _keep_on_core(process.pid, core)


def _keep_on_core(process: int, core: int) -> None:
    """Keep all threads of a process on a core, and with them those that they start.

    After SIGHUP, a process is already serving when it is seen here. One that has ended needs no core, and a sandbox may
    not let anyone choose one.
    """
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})
