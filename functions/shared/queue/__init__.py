"""The queue of predictions for the worker. It knows nothing of HTTP or the ledger; a message is an id."""
