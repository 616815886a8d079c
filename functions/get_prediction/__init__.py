"""The get_prediction function."""
