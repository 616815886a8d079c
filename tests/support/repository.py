"""Paths of the repository."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository's root."""

DIGIT = ROOT / "local" / "samples" / "mnist_sample.png"
"""The sample image, a 7."""
