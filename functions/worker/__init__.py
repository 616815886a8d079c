"""`worker`: makes queued predictions."""
