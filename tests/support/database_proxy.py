"""A proxy between the ledger and PostgreSQL that counts round trips, and loses messages on demand."""

import contextlib
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from urllib.parse import quote

from functions.shared.ledger.database_url import DatabaseAddress
from functions.shared.ledger.login import open_socket

_READY_FOR_QUERY = b"Z\0\0\0\5"
_SSL_REQUEST_SIZE = 8


class Fate(Enum):
    """What the proxy does with a flight: the messages that a client sends before it waits for an answer."""

    REQUEST_LOST = auto()  # break the connection before the server gets the messages
    REPLY_LOST = auto()  # let the server answer, then break the connection
    SILENCE = auto()  # forward nothing, and close nothing


class Proxy(contextlib.AbstractContextManager["Proxy"]):
    """Listens on a unix socket, or with TLS on a loopback port, and forwards to the real server.

    Attributes
    ----------
    flights : int
        Round trips so far, including those of logging in.
    sessions : int
        Connections so far.
    """

    def __init__(self, server: DatabaseAddress, folder: Path, *, tls: ssl.SSLContext | None = None) -> None:
        self.flights = 0
        self.sessions = 0
        self._server = server
        self._tls = tls
        self._fates: deque[Fate | None] = deque()
        self._sockets: set[socket.socket] = set()
        login = quote(server.user) + (f":{quote(server.password, safe='')}" if server.password else "")
        if tls is None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(folder / ".s.PGSQL.5432"))
            self._listener.listen()
            self.url = f"postgresql://{login}@/{quote(server.database)}?host={quote(str(folder))}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            port = self._listener.getsockname()[1]
            self.url = f"postgresql://{login}@127.0.0.1:{port}/{quote(server.database)}?sslmode=verify-full"
        threading.Thread(target=self._accept, daemon=True).start()

    def next_flights(self, *fates: Fate | None) -> None:
        """Set the fates of the next flights of all connections. Logging in is a flight, too."""
        self._fates.extend(fates)

    @contextlib.contextmanager
    def counted(self, expected: int) -> Iterator[None]:
        """Check the number of round trips that the block takes."""
        before = self.flights
        yield
        assert self.flights - before == expected

    def cut(self) -> None:
        """Shut all connections down, on both sides."""
        for forwarding in list(self._sockets):
            with contextlib.suppress(OSError):
                forwarding.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Shut all connections down, and accept no more."""
        self._listener.close()
        if self._listener.family == socket.AF_UNIX:
            Path(self.url.rpartition("=")[2], ".s.PGSQL.5432").unlink(missing_ok=True)
        self.cut()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.sessions += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._tls is not None:
            client.recv(_SSL_REQUEST_SIZE, socket.MSG_WAITALL)
            try:
                client.sendall(b"S")
                client = self._tls.wrap_socket(client, server_side=True)
            except OSError:
                return
        with client, open_socket(self._server) as server:
            self._sockets |= {client, server}
            with contextlib.suppress(OSError):
                self._forward(client, server)
            self._sockets -= {client, server}

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        fate: Fate | None = None
        client_spoke_last = False
        while True:
            pending = isinstance(client, ssl.SSLSocket) and client.pending() > 0
            readable = [client] if pending else select.select([client, server], [], [])[0]
            if client in readable:
                data = client.recv(65536)
                if not data:
                    return
                if not client_spoke_last:
                    self.flights += 1
                    fate = self._fates.popleft() if self._fates else None
                client_spoke_last = True
                if fate is Fate.REQUEST_LOST:
                    return
                if fate is Fate.SILENCE:
                    continue
                server.sendall(data)
            if server in readable:
                data = server.recv(65536)
                if not data:
                    return
                client_spoke_last = False
                if fate is Fate.REPLY_LOST:
                    if data[-6:-1] == _READY_FOR_QUERY:
                        return
                    continue
                client.sendall(data)
