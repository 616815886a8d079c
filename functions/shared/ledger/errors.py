"""The errors of the ledger. Their messages are for the operator's log, never for the caller of the API."""

from collections.abc import Mapping


class LedgerError(Exception):
    """Base class of the ledger's errors."""


class DatabaseUrlError(LedgerError):
    """``DATABASE_URL`` is invalid. The message says why, and never contains the password."""


class LedgerUnavailableError(LedgerError):
    """The database is unreachable or cannot serve requests now. The same call may succeed later."""

    in_doubt = False
    """Whether the statement may have been committed: it was sent, and its outcome is unknown."""


class NoAnswerError(LedgerUnavailableError):
    """A statement was sent, and no response arrived in time."""

    in_doubt = True


class StatementInterruptedError(LedgerUnavailableError):
    """A statement lost its connection or conflicted with another one. On a new connection it may succeed at once.

    In doubt unless the server reported that it rolled the statement back.
    """

    in_doubt = True


class LedgerNotMigratedError(LedgerUnavailableError):
    """The database responds, but its tables are missing or belong to another version of the schema."""


class StatementRefusedError(LedgerError):
    """The database rejected the statement itself.

    Attributes
    ----------
    sqlstate : str
        The five-character code of appendix A in PostgreSQL's manual.
    constraint : str or None
        Name of the constraint that was violated.
    """

    def __init__(self, message: str, *, sqlstate: str, constraint: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint


class UnstorableValueError(LedgerError):
    """A value cannot be stored: text with a NUL or a lone surrogate, NaN in JSON, or a number out of range."""


class RecordNotFoundError(LedgerError):
    """The record does not exist, or belongs to another user."""


class UploadNotAnnouncedError(LedgerError):
    """The upload was not announced, or by another user, or it was deleted or has expired since."""


class InvalidCursorError(LedgerError):
    """The ledger did not issue this cursor."""


class IdempotencyConflictError(LedgerError):
    """The user has already used this idempotency key for a different request."""


# SQLSTATE classes and codes, appendix A of PostgreSQL's manual.
_UNAVAILABLE_CLASSES = {
    "08",  # connection exception
    "28",  # invalid authorization: the deployment's credentials are wrong, and the caller cannot fix them
    "3D",  # no such database
    "53",  # insufficient resources: connections, memory, disk
    "58",  # system error outside of PostgreSQL
}
_UNAVAILABLE = {
    "25P04",  # transaction_timeout
    "55P03",  # lock not available in time
    "57014",  # statement_timeout
    "57P03",  # cannot connect now: starting up, shutting down, recovering
    "57P04",  # database dropped
}
# The server rolled the statement back. It may succeed on a new connection.
_ROLLED_BACK = {
    "25006",  # read-only transaction: after a failover, this connection's server is a standby
    "25P03",  # idle_in_transaction_session_timeout
    "40001",  # serialization failure
    "40P01",  # deadlock
    "57P05",  # idle_session_timeout
}
# The server ended the session, either before or after the commit.
_INTERRUPTED = {
    "57P01",  # administrator's shutdown
    "57P02",  # crash shutdown
}
_NOT_MIGRATED = {
    "3F000",  # no such schema
    "42P01",  # no such table
    "42703",  # no such column
}
_DATA_EXCEPTION = "22"


def refusal(fields: Mapping[str, str]) -> LedgerError:
    """Choose the error for an ErrorResponse of the server, by its SQLSTATE alone.

    Parameters
    ----------
    fields : Mapping
        The message's fields by their one-letter codes ("Error and Notice Message Fields" in PostgreSQL's manual).

    Returns
    -------
    LedgerError
        The error to raise.
    """
    sqlstate = fields.get("C", "")
    message = f"{fields.get('M', 'no message')} (SQLSTATE {sqlstate or 'missing'})"
    if sqlstate in _INTERRUPTED or sqlstate in _ROLLED_BACK:
        interrupted = StatementInterruptedError(message)
        interrupted.in_doubt = sqlstate in _INTERRUPTED
        return interrupted
    if sqlstate[:2] in _UNAVAILABLE_CLASSES or sqlstate in _UNAVAILABLE:
        return LedgerUnavailableError(message)
    if sqlstate in _NOT_MIGRATED:
        return LedgerNotMigratedError(f"{message}: run the migrations (python -m infra.migrations upgrade)")
    if sqlstate[:2] == _DATA_EXCEPTION:
        return UnstorableValueError(message)
    return StatementRefusedError(message, sqlstate=sqlstate, constraint=fields.get("n"))
