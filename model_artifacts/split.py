"""Which of the data is left out of training."""

import numpy as np
from numpy.typing import NDArray

SEED = 20
"""Decides which."""


def split(count: int, share: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the indices of the data into those to train on and those to validate on.

    Parameters
    ----------
    count : int
        Number of rows or images.
    share : int
        One in how many is held out.

    Returns
    -------
    kept, held_out : numpy.ndarray
        Sorted int64 indices. Together they are all numbers below `count`. The same count and share always give the same
        split.
    """
    order = np.random.default_rng(SEED).permutation(count)
    held_out = count // share
    return np.sort(order[held_out:]), np.sort(order[:held_out])
