"""Random distortions of training images."""

import numpy as np
from numpy.typing import NDArray

from model_artifacts.distort import distort


def _bars(count: int) -> NDArray[np.float32]:
    images = np.zeros((count, 28, 28), np.float32)
    images[:, 8:20, 12:16] = 1
    return images


def test_the_same_seed_gives_the_same_images() -> None:
    first, again, other = (distort(_bars(8), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5


def test_each_image_of_a_batch_is_distorted_differently() -> None:
    distorted = distort(_bars(50), np.random.default_rng(1))
    assert len({image.tobytes() for image in distorted}) == 50


def test_shape_type_and_range_stay() -> None:
    distorted = distort(_bars(50), np.random.default_rng(1))
    assert distorted.shape == (50, 28, 28)
    assert distorted.dtype == np.float32
    assert distorted.min() == 0
    assert 0.9 < distorted.max() <= 1


def test_ink_is_bent_and_moved_but_neither_lost_nor_multiplied() -> None:
    distorted = distort(_bars(200), np.random.default_rng(1))
    ink = distorted.sum(axis=(1, 2)) / _bars(1).sum()
    assert 0.5 < ink.min() < 0.9
    assert 1.1 < ink.max() < 2
    assert abs(ink.mean() - 1) < 0.1


def test_what_lies_outside_the_image_is_background() -> None:
    distorted = distort(np.ones((200, 28, 28), np.float32), np.random.default_rng(1))
    middles_of_edges = distorted[:, [0, -1, 14, 14], [14, 14, 0, -1]]
    np.testing.assert_array_equal(middles_of_edges.min(axis=0), 0)
    assert distorted[:, 10:18, 10:18].min() > 0.999


def test_strokes_are_tilted_both_ways_by_a_few_degrees() -> None:
    stroke = np.zeros((200, 28, 28), np.float32)
    stroke[:, 13:15, 4:24] = 1
    distorted = distort(stroke, np.random.default_rng(1))
    height = (distorted * np.arange(28)[:, np.newaxis]).sum(axis=1) / np.maximum(distorted.sum(axis=1), 1e-6)
    degrees = np.rad2deg(np.arctan((height[:, 20] - height[:, 8]) / 12))
    assert -25 < degrees.min() < -14
    assert 14 < degrees.max() < 25
