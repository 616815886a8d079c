"""Inference: a model package in, checked inputs, predictions out. Knows no HTTP and no database."""
