"""The ledger: all SQL statements and the connections that run them. It knows nothing of HTTP or models."""
