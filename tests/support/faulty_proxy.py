"""A TCP proxy that refuses, delays, cuts and alters what it forwards, on demand."""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

_AT_ONCE = 65536  # bytes
_PAUSE = 0.02  # seconds between two looks at the mode
_FILLERS = 8  # connections that fill the queue of a listener that accepts none
_NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends a reset
# A client of PostgreSQL asks for TLS with 8 bytes, and gets one byte in answer. Then come TLS's records.
_BEFORE_TLS = {"up": 8, "down": 1}
_RECORD_HEADER = 5  # bytes; the last two are the length of the rest (RFC 8446, section 5.1)


class Mode(Enum):
    """What the proxy does with all connections."""

    FORWARD = auto()
    REFUSE = auto()  # reset new connections at once
    SILENT = auto()  # accept, forward nothing, close nothing; what was sent is forwarded late, when the mode changes
    DEAF = auto()  # accept nothing: who connects waits for the other side's first packet


class End(Enum):
    """What the proxy does with a connection that it cuts."""

    RESET = auto()
    CLOSE = auto()
    STALL = auto()  # forward nothing any more, and close nothing


@dataclass
class _Cut:
    direction: str
    left: int
    in_records: bool
    end: End


class FaultyProxy(contextlib.AbstractContextManager["FaultyProxy"]):
    """Listens on a port of the loopback interface and forwards to a server.

    Parameters
    ----------
    target
        Host and port, or the path of a unix socket.

    Attributes
    ----------
    cuts : int
        How many connections were cut so far.
    alter : Callable or None
        Changes what the server sends.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.cuts = 0
        self.alter: Callable[[bytes], bytes] | None = None
        self._target = target
        self._mode = Mode.FORWARD
        self._cut: _Cut | None = None
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._fillers: list[socket.socket] = []
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def mode(self) -> Mode:
        """What it does with all connections."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        while self._fillers:
            self._fillers.pop().close()
        self._listener.listen(128)
        if mode is Mode.DEAF:
            self._listener.listen(0)
            for _ in range(_FILLERS):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", self.port))
                self._fillers.append(filler)

    def cut_after(self, direction: str, count: int, end: End, *, in_records: bool = False) -> None:
        """Cut the next connection that forwards a number of bytes, or of TLS records, in a direction, from now on.

        Parameters
        ----------
        direction
            `up`, to the server, or `down`.
        count
            How many bytes or records are forwarded before.
        end
            How the connection ends.
        in_records
            Whether records are counted.
        """
        with self._lock:
            self._cut = _Cut(direction, count, in_records, end)

    def is_armed(self) -> bool:
        """Tell whether a cut is still to come."""
        return self._cut is not None

    def disarm(self) -> None:
        """Take back a cut that has not come."""
        with self._lock:
            self._cut = None

    def reset_all(self) -> None:
        """Reset all connections."""
        for one in list(self._sockets):
            _reset(one)

    def close(self) -> None:
        """Accept no more connections, and reset all."""
        self._closed = True
        self.mode = Mode.FORWARD
        self._listener.close()
        self.reset_all()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                if self._mode is Mode.DEAF or not select.select([self._listener], [], [], _PAUSE)[0]:
                    threading.Event().wait(_PAUSE)
                    continue
                if self._mode is Mode.DEAF:  # type: ignore[comparison-overlap]  # another thread has changed it
                    continue
                client, _ = self._listener.accept()
            except (OSError, ValueError):  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._mode is Mode.REFUSE:
            _reset(client)
            client.close()
            return
        server = socket.socket(socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET)
        with client, server:
            try:
                server.connect(self._target)
            except OSError:
                _reset(client)
                return
            self._sockets |= {client, server}
            up = threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True)
            up.start()
            self._pump(server, client, "down")
            up.join()
            self._sockets -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        records = _Records(_BEFORE_TLS[direction])
        with contextlib.suppress(OSError):
            while data := source.recv(_AT_ONCE):
                while self._mode is Mode.SILENT:
                    threading.Event().wait(_PAUSE)
                if self.alter is not None and direction == "down":
                    data = self.alter(data)
                forwarded, end = self._before_cut(data, direction, records)
                sink.sendall(forwarded)
                if end is End.STALL:
                    while source.recv(_AT_ONCE):
                        pass
                elif end is not None:
                    for one in (source, sink):
                        _reset(one) if end is End.RESET else one.shutdown(socket.SHUT_RDWR)
                    return
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _before_cut(self, data: bytes, direction: str, records: "_Records") -> tuple[bytes, End | None]:
        """Return what is to be forwarded, and how the connection ends after it, if it does."""
        with self._lock:
            boundaries = records.ends(data)
            cut = self._cut
            if cut is None or cut.direction != direction:
                return data, None
            passed = len(boundaries) if cut.in_records else len(data)
            if passed < cut.left or (cut.left == 0 and not data):
                cut.left -= passed
                return data, None
            place = cut.left if not cut.in_records else (boundaries[cut.left - 1] if cut.left else 0)
            self._cut = None
            self.cuts += 1
            return data[:place], cut.end


class _Records:
    """Finds where TLS records end in a stream."""

    def __init__(self, before: int) -> None:
        self._skip = before  # bytes up to the next header
        self._header = b""

    def ends(self, data: bytes) -> list[int]:
        """Return the places in the stream's next bytes where a record ends."""
        found, position = [], 0
        while position < len(data):
            step = min(self._skip, len(data) - position)
            position += step
            self._skip -= step
            if self._skip:
                break
            if step:
                found.append(position)
            taken = data[position : position + _RECORD_HEADER - len(self._header)]
            self._header += taken
            position += len(taken)
            if len(self._header) == _RECORD_HEADER:
                self._skip = int.from_bytes(self._header[3:], "big")
                self._header = b""
                if not self._skip:
                    found.append(position)
        return found


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        one.shutdown(socket.SHUT_RDWR)
