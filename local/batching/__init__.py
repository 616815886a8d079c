"""The server that batches: takes HTTP itself, and predicts and stores together what arrives together."""
