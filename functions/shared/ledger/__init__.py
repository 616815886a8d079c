"""The ledger: every SQL statement and the connections they run on. Knows no HTTP and no model."""
