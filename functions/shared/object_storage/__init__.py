"""Inputs as objects in Amazon S3. It knows nothing of HTTP, the ledger or models."""
