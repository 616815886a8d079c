"""A connection that hears when predictions are queued.

Whatever the server sends on it means that there may be something to do, so nothing of it is parsed. A notification that
is lost, with its connection or behind a pooler, costs no prediction: workers also look from time to time.
"""

from functions.shared.ledger import statements
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.ledger import Ledger


class Listener:
    """Listens on the channel of `Ledger.notify`.

    Parameters
    ----------
    connection : Connection
        A connection of its own, which nothing else uses.

    Raises
    ------
    LedgerUnavailableError
        If the connection breaks at once.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        try:
            connection.run(statements.LISTEN, {}, keep=False)
        except BaseException:
            connection.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait on: readable when a notification has come, or the server has gone."""
        return self._connection.fileno()

    def hear(self) -> bool:
        """Take in what has come. False if the server has gone: close this listener then, and open another."""
        return self._connection.drain()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def listen(ledger: Ledger) -> Listener | None:
    """Open a connection that hears `Ledger.notify`.

    Returns
    -------
    Listener or None
        None behind a pooler that may give each statement another of the server's sessions.

    Raises
    ------
    LedgerUnavailableError
        If the database cannot be reached.
    """
    connection = ledger.connect()
    if connection.keeps_its_session:
        return Listener(connection)
    connection.close()
    return None
