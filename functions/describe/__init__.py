"""The describe function."""
