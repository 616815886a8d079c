"""`sweep`: finds queued predictions that have got stuck."""
