"""The list_predictions function."""
