"""The delete_predictions function."""
