"""A server that takes HTTP itself, and predicts and commits together what arrives while it is at work."""
