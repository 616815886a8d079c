"""Inputs as objects in Amazon S3. Knows neither HTTP, nor the ledger, nor a model."""
