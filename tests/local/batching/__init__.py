"""The batching server."""
