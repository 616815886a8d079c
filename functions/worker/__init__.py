"""`worker`: predicts what is queued."""
