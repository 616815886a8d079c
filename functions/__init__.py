"""The Lambda functions, and the layers they share."""
