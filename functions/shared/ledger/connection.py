"""One connection to PostgreSQL, on which a statement takes one round trip.

pg8000 does what is intricate (start-up, authentication, reading messages). What it sends is replaced: its own
``run(sql, **parameters)`` takes three flights to the server and back, its prepared statements ask for two flushes that
wake the client early, and it writes ``bytes`` as hexadecimal text. Here a statement is one packet: Parse, Bind,
Describe, Execute and Sync the first time, Bind, Execute and Sync ever after ("Message Flow" and "Message Formats" in
PostgreSQL's manual); ``bytes`` and ids travel in binary.
"""

import contextlib
import hashlib
import select
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from functions.shared.ledger.arrays import Array, encode_array
from functions.shared.ledger.database_url import DatabaseAddress
from functions.shared.ledger.driver import (
    Context,
    NativeSession,
    error_fields,
    message_handlers,
    to_statement,
    transaction_status,
)
from functions.shared.ledger.errors import (
    LedgerError,
    LedgerUnavailableError,
    NoAnswerError,
    StatementInterruptedError,
    UnstorableValueError,
    refusal,
)
from functions.shared.ledger.login import LONGEST_WAIT, STATEMENT_TIMEOUT, close_socket, start_session
from functions.shared.ledger.stored_json import json_value

_UUID_OID, _BYTEA_OID, _JSON_OIDS = 2950, 17, (114, 3802)  # json, jsonb
_IDLE = (None, b"I")  # transaction status in ReadyForQuery: not in a transaction block; None before the first statement
_int16 = struct.Struct("!H").pack
_int32 = struct.Struct("!i").pack
_read_int32 = struct.Struct("!i").unpack_from
_NULL = _int32(-1)
_DESCRIBE_PORTAL = b"D" + _int32(6) + b"P\0"
_EXECUTE = b"E" + _int32(9) + b"\0" + _int32(0)
_SYNC = b"S" + _int32(4)
_TERMINATE = b"X" + _int32(4)
_READY_FOR_QUERY = b"Z"
_HEADER = 5  # bytes: a code, and the length of the message without that code
_RECEIVED_AT_ONCE = 1 << 18  # bytes
_TEXT, _BINARY = _int16(0), _int16(1)  # format codes
_ALL_TEXT = _int16(0)  # no format codes
# SQLSTATEs that a statement may be refused with because the tables are no longer what they were when it was prepared.
_OUTDATED = {
    "0A000",  # cached plan must not change result type
    "22003",  # out of range, of a column's former type
    "26000",  # no such prepared statement: DEALLOCATE ALL, or another connection of the server's behind a pooler
    "42804",  # data type mismatch
    "42883",  # no such operator, for a column's former type
}


class _Prepared(NamedTuple):
    """A statement that the server keeps for this connection."""

    result_formats: bytes  # as Bind wants them: how many, then the codes
    converters: list[Callable[[str], Any] | None]  # one a column; None takes the bytes as they are


class Connection:
    """An open connection.

    Parameters
    ----------
    address : DatabaseAddress
        Where to. Unless it is `prepared`, statements are parsed each time, still in one round trip, and no session
        setting is sent that a pooler does not take; among those is the statement's time-out, which the role may have.
    prepared : bool
        False to do so even if the address says otherwise.
    until : float or None
        When to give up connecting, on the monotonic clock; None for ``CONNECT_TIMEOUT`` from now.
    longest : float
        Seconds that a statement may take. The server gives it up a little earlier than this side, so that the outcome
        is certain wherever the server still answers.

    Raises
    ------
    LedgerUnavailableError
        If there is no way in.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        prepared: bool = True,
        until: float | None = None,
        longest: float = LONGEST_WAIT,
    ) -> None:
        self._prepare = prepared and address.prepared
        self._statements: dict[str, _Prepared] = {}
        self._usable = True
        self._longest = longest
        settings = {"client_encoding": "UTF8", "TimeZone": "UTC"}
        if self._prepare:
            milliseconds = str(int((longest - LONGEST_WAIT + STATEMENT_TIMEOUT) * 1000))
            settings |= {
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                # A plan made for any value at all looks expensive, expensive enough to compile it or to start workers,
                # which takes longer than the few pages that our statements touch.
                "jit": "off",
                "max_parallel_workers_per_gather": "0",
            }
        self._pg, self._socket = start_session(NativeSession, address, settings=settings, until=until)
        self._pg.register_in_adapter(_UUID_OID, UUID)
        for oid in _JSON_OIDS:
            self._pg.register_in_adapter(oid, json_value)
        self._handlers = message_handlers(self._pg)
        self._handlers[b"D"] = _read_row
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)

    @property
    def keeps_its_session(self) -> bool:
        """Whether one session of the server's is behind it all the time, as a pooler in transaction mode has none."""
        return self._prepare

    def fileno(self) -> int:
        """Return the descriptor that is readable when the server says something unasked, or has gone."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Throw away what the server has said unasked: call it when there is something. False if the server has gone.

        Afterwards no statement can be run: part of a message may be left.
        """
        self._usable = False
        try:
            return bool(self._socket.recv(_RECEIVED_AT_ONCE))
        except TimeoutError as error:
            return error.errno is None  # our own limit: part of a TLS record has come
        except OSError:
            return False

    def is_idle(self) -> bool:
        """Whether all that was asked has been answered: not broken under a statement, not inside a transaction."""
        return self._usable and transaction_status(self._pg) in _IDLE

    def is_usable(self) -> bool:
        """Whether the next statement can be sent, as far as one can tell without asking the server.

        No when the connection is not idle, and when there is anything to read while nothing was asked: the end of the
        stream, or the server's farewell.
        """
        return self.is_idle() and not self._readable.poll(0)

    def run(
        self, sql: str, parameters: Mapping[str, object], *, keep: bool = True, until: float | None = None
    ) -> list[list[Any]]:
        """Run one statement, in one round trip.

        A prepared statement that no longer suits the tables, as after a migration, is prepared and sent once more.

        Parameters
        ----------
        sql : str
            With ``:name`` for each parameter. Texts are kept, parsed, for as long as the process lives and, prepared,
            for as long as the connection does: pass constants.
        parameters : Mapping
            A value for each name: None, str, bytes, UUID, bool, int, float, datetime or `Array`.
        keep : bool
            False where the best plan depends on the values: the statement is then planned for these.
        until : float or None
            When to stop waiting for the answer, on the monotonic clock; None for as long as any may take.

        Returns
        -------
        list of list
            The rows: bytes for ``bytea``, UUID for ``uuid``, parsed JSON for ``json`` and ``jsonb``.

        Raises
        ------
        StatementInterruptedError
            If the connection broke. Whether the statement took effect is not known.
        NoAnswerError
            If there is no answer in time. Whether the statement took effect is not known.
        UnstorableValueError
            If a value cannot be sent at all.
        LedgerError
            As `errors.refusal` says, if the server refused it. It then had no effect.
        """
        text, names, own_name = _compiled(sql)
        values = [parameters[name] for name in names]
        known = self._statements.get(sql)
        try:
            if known is None:
                keep = keep and self._prepare
                name = own_name if keep else b""
                packet = _parse(name, text) + _bind(name, values, _ALL_TEXT) + _DESCRIBE_PORTAL + _EXECUTE + _SYNC
                context = Context(text)
            else:
                packet = _bind(own_name, values, known.result_formats) + _EXECUTE + _SYNC
                context = Context(text, columns=[], input_funcs=known.converters)
        except UnicodeEncodeError as error:
            raise UnstorableValueError(f"a text that is not Unicode: {error.reason}") from error
        except struct.error as error:
            raise UnstorableValueError(f"a number out of range: {error}") from error
        try:
            self._exchange(packet, context, until)
        except LedgerError:
            if known is None or not self._is_outdated(context):
                raise
            # The server has refused it and done nothing: it is certain that the statement does not take effect twice.
            del self._statements[sql]
            return self.run(sql, parameters, keep=keep, until=until)
        if known is None and keep:
            self._statements[sql] = _Prepared(*_bytes_in_binary(context))
        rows: list[list[Any]] = context.rows or []
        return rows

    def _is_outdated(self, context: Context) -> bool:
        """Whether a statement may have been refused for no more than having been prepared too long ago."""
        error = context.error
        return error is not None and error_fields(error).get("C") in _OUTDATED and self.is_idle()

    def _exchange(self, packet: bytes, context: Context, until: float | None) -> None:
        began = time.monotonic()
        limit = began + self._longest if until is None else until
        if limit <= began:
            raise LedgerUnavailableError("no time is left to ask the database")
        self._usable = False  # whatever interrupts us leaves answers unread
        try:
            self._socket.settimeout(limit - began)
            self._socket.sendall(packet)
            complete = self._receive(context, limit)
        except TimeoutError as error:
            if error.errno is None:  # our own limit, not the network's: it would not help to ask again
                waited = time.monotonic() - began
                raise NoAnswerError(f"the database has not answered for {waited:.1f} s") from error
            raise StatementInterruptedError(f"the connection to the database broke: {error}") from error
        except OSError as error:
            raise StatementInterruptedError(f"the connection to the database broke: {error}") from error
        refused = None if context.error is None else refusal(error_fields(context.error))
        if not complete and refused is None:
            raise StatementInterruptedError("the database has closed the connection")
        self._usable = complete and not isinstance(refused, StatementInterruptedError)
        if refused is not None:
            raise refused

    def _receive(self, context: Context, limit: float) -> bool:
        """Have pg8000 handle all messages up to ReadyForQuery. False if the stream ends before that.

        pg8000 itself reads each message in two pieces, which for a page of records takes longer than the query.
        """
        handlers = self._handlers
        unread = bytearray()
        wanted = _HEADER
        while received := self._socket.recv(_RECEIVED_AT_ONCE):
            unread += received
            if len(unread) < wanted:
                self._wait_until(limit)
                continue
            messages, start = bytes(unread), 0
            while True:
                wanted = _HEADER
                if len(messages) - start >= _HEADER:
                    wanted = 1 + _read_int32(messages, start + 1)[0]
                if len(messages) - start < wanted:
                    break
                code, end = messages[start : start + 1], start + wanted
                handlers[code](messages[start + _HEADER : end], context)
                if code == _READY_FOR_QUERY:
                    return True
                start = end
            unread = bytearray(messages[start:])
            self._wait_until(limit)
        return False

    def _wait_until(self, limit: float) -> None:
        """Let the next piece of an answer take no longer than the whole answer may."""
        left = limit - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def close(self) -> None:
        """Close the connection, without waiting for anything."""
        if self._usable:
            self._usable = False
            with contextlib.suppress(OSError):
                self._socket.sendall(_TERMINATE)
        close_socket(self._socket)


@lru_cache(maxsize=256)
def _compiled(sql: str) -> tuple[str, tuple[str, ...], bytes]:
    """Number the parameters of a statement: its text for the server, their names in order, and its own name.

    No two statements have the same name, on no connection: behind a pooler that shares the server's connections, and
    that `DatabaseAddress.prepared` does not know of, a name can be missing then, but never stand for another statement.
    """
    text, values_in_order = to_statement(sql)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return text, tuple(values_in_order(_Names())), f"ledger_{digest}".encode()


class _Names(dict[str, str]):
    """Gives each name itself as its value."""

    def __missing__(self, name: str) -> str:
        return name


def _parse(name: bytes, text: str) -> bytes:
    """Messages that define a statement. Closing it first, no error where there is none, makes sure the name is free."""
    close = b"C" + _int32(6 + len(name)) + b"S" + name + b"\0"
    body = name + b"\0" + text.encode() + b"\0" + _int16(0)
    return close + b"P" + _int32(4 + len(body)) + body


def _bind(name: bytes, values: Sequence[object], result_formats: bytes) -> bytes:
    """Message that gives a statement its values."""
    formats, parts = [], []
    for value in values:
        if value is None:
            formats.append(_TEXT)
            parts.append(_NULL)
        else:
            code, encode = _ENCODERS.get(type(value)) or _inherited_encoder(type(value))
            raw = encode(value)
            formats.append(code)
            parts += (_int32(len(raw)), raw)
    count = _int16(len(formats))
    body = b"".join((b"\0", name, b"\0", count, *formats, count, *parts, result_formats))
    return b"B" + _int32(4 + len(body)) + body


_ENCODERS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    str: (_TEXT, str.encode),
    bytes: (_BINARY, bytes),
    UUID: (_BINARY, lambda value: value.bytes),
    bool: (_TEXT, lambda value: b"true" if value else b"false"),
    int: (_TEXT, lambda value: str(int(value)).encode()),
    float: (_TEXT, lambda value: repr(float(value)).encode()),
    datetime: (_TEXT, lambda value: value.isoformat().encode()),
    Array: (_BINARY, encode_array),
}


def _inherited_encoder(kind: type) -> tuple[bytes, Callable[[Any], bytes]]:
    """Return the format code and the encoder of the type that this one is made from (an enumeration's, NumPy's)."""
    for known in kind.__mro__:
        if known in _ENCODERS:
            return _ENCODERS[known]
    raise TypeError(f"cannot send a {kind.__name__} to PostgreSQL")


def _bytes_in_binary(context: Context) -> tuple[bytes, list[Callable[[str], Any] | None]]:
    """Result formats and converters for later runs of a statement that was just described: ``bytea`` in binary."""
    binary = [column["type_oid"] == _BYTEA_OID for column in context.columns or ()]
    if not any(binary):
        return _ALL_TEXT, context.input_funcs
    converters = [None if raw else convert for raw, convert in zip(binary, context.input_funcs, strict=True)]
    return _int16(len(binary)) + b"".join(_BINARY if raw else _TEXT for raw in binary), converters


def _read_row(data: bytes, context: Context) -> None:
    """Take a DataRow message apart."""
    row: list[Any] = []
    position = 2
    for convert in context.input_funcs:
        (length,) = _read_int32(data, position)
        position += 4
        if length == -1:
            row.append(None)
            continue
        raw = data[position : position + length]
        position += length
        row.append(raw if convert is None else convert(raw.decode()))
    context.rows.append(row)
