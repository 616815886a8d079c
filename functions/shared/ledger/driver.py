"""Everything that the ledger uses of pg8000 although pg8000 does not document it, and its two kinds of session.

A release of pg8000 may change any of this without saying so. So pyproject.toml keeps to one series of releases, no
other module names any of it, and ``tests/ledger/test_driver.py`` fails with the name of what has changed. Beyond what
is named here, `connection` relies on pg8000 reading nothing from the socket after the log-in's ReadyForQuery: it reads
and writes the socket itself from then on, below pg8000's buffered file.
"""

import struct
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import pg8000.dbapi
import pg8000.native
from pg8000.core import Context
from pg8000.native import to_statement
from scramp import ScramException

__all__ = [
    "BROKEN",
    "ChannelBindingError",
    "Context",
    "DatabaseError",
    "DbapiSession",
    "NativeSession",
    "error_fields",
    "message_handlers",
    "to_statement",
    "transaction_status",
]

DatabaseError = pg8000.native.DatabaseError

BROKEN: Final = (OSError, pg8000.native.InterfaceError, struct.error, KeyError, ScramException)
"""What logging in raises when the connection breaks, or when what answers does not speak PostgreSQL's protocol.

pg8000 wraps some of it. It looks up messages that it does not know, unpacks those that are too short, and lets through
what its SCRAM library raises.
"""

transaction_status: Final[Callable[[Any], bytes | None]] = attrgetter("_transaction_status")
"""The status in a session's last ReadyForQuery; None before the first statement."""

message_handlers: Final[Callable[[Any], dict[bytes, Callable[[bytes, Context], None]]]] = attrgetter("message_types")
"""A session's own handlers of the server's messages, by the message's code. They fill the `Context` of a statement."""


def error_fields(error: BaseException) -> dict[str, str]:
    """Return the fields of the server's ErrorResponse that pg8000 has made `error` of.

    Parameters
    ----------
    error : BaseException
        As pg8000 raises it, or as it is in `Context.error`.

    Returns
    -------
    dict
        The fields by their one-letter codes; the message alone, and no SQLSTATE, where the error is pg8000's own.
    """
    fields = error.args[0] if error.args else None
    return fields if isinstance(fields, dict) else {"M": str(error)}


class ChannelBindingError(pg8000.native.InterfaceError):  # type: ignore[misc]  # pg8000 has no types
    """The log-in must be bound to the TLS connection (``channel_binding=require``), and the server does not do that."""


_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 10, 11, 12  # "Message Formats": the kinds of authentication request


class _ChannelBinding:
    """Lets a session be bound to its TLS connection (``channel_binding=require``).

    Left to itself, pg8000 takes SCRAM-SHA-256-PLUS where the server offers it, and anything else where it does not.
    """

    auth: Any  # scramp's client, from the server's list of mechanisms on

    def __init__(self, *arguments: Any, channel_binding_required: bool = False, **options: Any) -> None:  # noqa: ANN401
        self._channel_binding_required = channel_binding_required
        self._server_is_verified = False
        super().__init__(*arguments, **options)

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Context) -> None:  # noqa: N802  # pg8000's name
        """Answer the server's request, unless the answer would not be bound to the TLS connection."""
        (kind,) = struct.unpack_from("!i", data)
        if self._channel_binding_required and not (
            kind in (_SASL, _SASL_CONTINUE, _SASL_FINAL) or (kind == _OK and self._server_is_verified)
        ):
            raise ChannelBindingError
        super().handle_AUTHENTICATION_REQUEST(data, context)  # type: ignore[misc]  # pg8000 has no types
        if kind == _SASL and self._channel_binding_required and not self.auth.mechanism_name.endswith("-PLUS"):
            raise ChannelBindingError
        if kind == _SASL_FINAL:
            self._server_is_verified = True


class NativeSession(_ChannelBinding, pg8000.native.Connection):  # type: ignore[misc]  # pg8000 has no types
    """A session with pg8000's own interface."""


class DbapiSession(_ChannelBinding, pg8000.dbapi.Connection):  # type: ignore[misc]  # pg8000 has no types
    """A session with the interface that SQLAlchemy expects."""
