"""`sweep`: finds stuck predictions."""
