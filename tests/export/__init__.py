"""Training and export: the tests that need TensorFlow."""
