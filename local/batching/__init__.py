"""The server that batches: requests that arrive together are predicted together, and stored in one commit."""
