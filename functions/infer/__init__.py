"""The infer function."""
