"""Keeps the server's processes running, with uvicorn's supervisor."""

from uvicorn.supervisors import Multiprocess


class Supervisor(Multiprocess):
    """Starts the processes, replaces those that end, and passes on a request to stop.

    uvicorn's asks each process by a pipe whether it is alive, and keeps the process's end of the pipe open, too. If one
    is killed while it is asked, no answer comes, nor the end of the pipe: for `timeout_worker_healthcheck`, nothing is
    replaced, and no request to stop is heard. So this one closes its copy.
    """

    def init_processes(self) -> None:
        """Start the processes."""
        super().init_processes()
        self._leave_the_pipes()

    def handle_signals(self) -> None:
        """Do what signals ask for: some start processes."""
        super().handle_signals()
        self._leave_the_pipes()

    def keep_subprocess_alive(self) -> None:
        """Replace a process that has ended."""
        super().keep_subprocess_alive()
        self._leave_the_pipes()

    def _leave_the_pipes(self) -> None:
        for process in self.processes:
            process.child_conn.close()
