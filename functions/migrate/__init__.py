"""Migrates the database at each deployment, before any traffic moves to the new version."""
