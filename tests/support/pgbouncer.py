"""A real PgBouncer in transaction mode."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

from functions.shared.ledger.database_url import parse_database_url

# Debian puts it where only root looks.
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PORT = 6432
SERVER_CONNECTIONS = 2

_PATIENCE = 30.0  # seconds


class PgBouncer:
    """A PgBouncer in front of a database, on a unix socket in a folder. It runs from `start` to `stop` or `kill`.

    Parameters
    ----------
    database_url
        The server; every database of it can be reached.
    folder
        The folder of the socket, the configuration and the log.
    ignored
        The startup parameters that it ignores.
    """

    def __init__(self, database_url: str, folder: Path, *, ignored: str = "extra_float_digits") -> None:
        self._folder = folder
        self._socket = folder / f".s.PGSQL.{PORT}"
        self._owner = None
        server = parse_database_url(database_url)
        login = f"user='{server.user}'" + (f" password='{server.password}'" if server.password else "")
        (folder / "ini").write_text(f"""
[databases]
* = host='{server.socket_directory or server.host}' port={server.port} {login}
[pgbouncer]
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
max_client_conn = 50
server_login_retry = 1
unix_socket_dir = {folder}
listen_port = {PORT}
auth_type = any
ignore_startup_parameters = {ignored}
logfile = {folder}/log
""")
        if os.geteuid() == 0:  # it refuses to run as root, and must get at the server's socket
            self._owner = Path(server.socket_directory or folder).stat().st_uid or 65534
            os.chown(folder, self._owner, -1)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._socket.unlink(missing_ok=True)  # of one that was killed
        command = [str(PGBOUNCER), "--quiet", str(self._folder / "ini")]
        self._process = subprocess.Popen(command, user=self._owner, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _PATIENCE
        while not self._socket.exists():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it, so that it cannot clean up."""
        self._process.kill()
        self._process.wait(_PATIENCE)

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(_PATIENCE)

    def __enter__(self) -> "PgBouncer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
