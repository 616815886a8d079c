"""Inference: loads a model package, checks inputs and predicts. It knows nothing of HTTP or databases."""
