"""Brings the database's schema up to date at each deployment, before any traffic moves to the new version."""
