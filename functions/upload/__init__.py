"""The upload function."""
