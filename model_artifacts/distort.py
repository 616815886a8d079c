"""Distort digit images at random, so that a model trained on 55,000 digits recognises handwriting unlike theirs.

The module uses NumPy only, so that the same seed gives the same images, whatever the deep-learning framework does with
its own generators and threads.
"""

import numpy as np
from numpy.typing import NDArray

_ROTATION_DEGREES = 12.0
_SHEAR = 0.2
_ZOOM = 0.15
_SHIFT_PIXELS = 2.5
_ELASTIC_PIXELS = 0.8  # standard deviation of each control point's displacement
_CONTROL_POINTS = 5  # per axis


def distort(images: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """Rotate, shear, zoom, shift and elastically bend each image by its own random amounts.

    Each output pixel is read from the input by bilinear interpolation. Its position there is given by a random affine
    map about the centre, plus a random displacement that is interpolated linearly between a coarse grid of control
    points (after Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to Visual
    Document Analysis", 2003). Pixels outside the input count as 0.

    Parameters
    ----------
    images : numpy.ndarray
        float32, [N, H, W].
    generator : numpy.random.Generator
        The only source of randomness: the same state gives the same output.

    Returns
    -------
    numpy.ndarray
        float32, [N, H, W].
    """
    count, height, width = images.shape
    angle = np.deg2rad(generator.uniform(-_ROTATION_DEGREES, _ROTATION_DEGREES, count))
    shear = generator.uniform(-_SHEAR, _SHEAR, count)
    zoom = generator.uniform(1 - _ZOOM, 1 + _ZOOM, (2, count))
    cosine, sine = np.cos(angle), np.sin(angle)
    # Rotation times shear along x times zoom, from centred output position to centred input position.
    matrix = np.array([[cosine, cosine * shear - sine], [sine, sine * shear + cosine]]) * zoom[np.newaxis]
    xx, xy, yx, yy = matrix.reshape(4, count, 1, 1).astype(np.float32)
    shift_x, shift_y = generator.uniform(-_SHIFT_PIXELS, _SHIFT_PIXELS, (2, count, 1, 1)).astype(np.float32)
    bend_x, bend_y = generator.normal(0, _ELASTIC_PIXELS, (2, count, _CONTROL_POINTS, _CONTROL_POINTS))

    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    column = np.arange(width, dtype=np.float32) - np.float32(centre_x)
    row = (np.arange(height, dtype=np.float32) - np.float32(centre_y))[:, np.newaxis]
    along_x, along_y = _interpolation(width), _interpolation(height)
    x = xx * column + xy * row + shift_x + along_y @ bend_x.astype(np.float32) @ along_x.T + np.float32(centre_x)
    y = yx * column + yy * row + shift_y + along_y @ bend_y.astype(np.float32) @ along_x.T + np.float32(centre_y)
    return _sample(images, x, y)


def _interpolation(length: int) -> NDArray[np.float32]:
    """Return weights [length, _CONTROL_POINTS] that interpolate linearly between control points along an axis."""
    position = np.linspace(0, _CONTROL_POINTS - 1, length)[:, np.newaxis]
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(position - np.arange(_CONTROL_POINTS))).astype(np.float32)
    return weights


def _sample(images: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Read each image at fractional positions x and y, both [N, H, W], bilinearly, 0 outside."""
    count, height, width = images.shape
    # Pad with zeros and clip the positions to the padding, so that every position outside the image reads 0.
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))
    stride = padded.shape[2]
    x = np.clip(x + 1, 0, width + 1)
    y = np.clip(y + 1, 0, height + 1)
    left, top = x.astype(np.int32), y.astype(np.int32)
    right_share, lower_share = x - left.astype(np.float32), y - top.astype(np.float32)
    first = np.arange(count, dtype=np.int32)[:, np.newaxis, np.newaxis] * (padded.shape[1] * stride)
    corner = first + top * stride + left
    flat = padded.ravel()
    upper = flat[corner] * (1 - right_share) + flat[corner + 1] * right_share
    lower = flat[corner + stride] * (1 - right_share) + flat[corner + stride + 1] * right_share
    sampled: NDArray[np.float32] = upper * (1 - lower_share) + lower * lower_share
    return sampled
