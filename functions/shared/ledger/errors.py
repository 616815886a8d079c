"""What can go wrong in the ledger, as types. Messages are for the operator's log, never for the caller of the API."""

from collections.abc import Mapping


class LedgerError(Exception):
    """Base of everything the ledger raises."""


class DatabaseUrlError(LedgerError):
    """``DATABASE_URL`` cannot be used; the message says why and shows no password."""


class LedgerUnavailableError(LedgerError):
    """The database cannot be reached or cannot serve at the moment. The same call may succeed later."""

    in_doubt = False
    """Whether a statement was sent and its outcome never heard of, so that it may have been committed."""


class NoAnswerError(LedgerUnavailableError):
    """A statement was sent, and no answer came in time."""

    in_doubt = True


class StatementInterruptedError(LedgerUnavailableError):
    """A statement lost its connection, or its race with another one. On a new connection it may succeed at once.

    In doubt unless the server itself has said that nothing was done.
    """

    in_doubt = True


class LedgerNotMigratedError(LedgerUnavailableError):
    """The database answers but lacks the ledger's tables, or has those of another version."""


class StatementRefusedError(LedgerError):
    """The database refused a statement for what it says.

    Attributes
    ----------
    sqlstate : str
        Five characters, appendix A of PostgreSQL's manual.
    constraint : str or None
        Name of the constraint that was violated.
    """

    def __init__(self, message: str, *, sqlstate: str, constraint: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint


class UnstorableValueError(LedgerError):
    """A value cannot be stored: a NUL in a text, a lone surrogate, a NaN in JSON, a number out of range."""


class RecordNotFoundError(LedgerError):
    """No such record, or not one of this user's."""


class InvalidCursorError(LedgerError):
    """A cursor that no page of ours has given out."""


class IdempotencyConflictError(LedgerError):
    """The user has used this idempotency key for another request."""


# SQLSTATE classes and codes, appendix A of PostgreSQL's manual.
_UNAVAILABLE_CLASSES = {
    "08",  # connection exception
    "28",  # invalid authorization: the deployment's credentials are wrong, nothing the caller can do
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
# The server has done nothing, and a new connection may do better.
_ROLLED_BACK = {
    "25006",  # read-only transaction: this connection leads to what a failover has made a standby
    "25P03",  # idle_in_transaction_session_timeout
    "40001",  # serialization failure
    "40P01",  # deadlock
    "57P05",  # idle_session_timeout
}
# The session has ended, before the commit or after it.
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
        To be raised.
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
