"""Modules of the console that need no browser."""
