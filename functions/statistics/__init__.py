"""The statistics function."""
