"""One input of a model, decoded: what a run of the model is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray


class Picture(NamedTuple):
    """What was measured of an image while it was decoded.

    Attributes
    ----------
    width, height
        In pixels, as it was sent: before it is turned upright or fitted to the model.
    bytes
        The size of the file.
    brightness
        The mean of its luminance as the model sees it, after it was fitted: 0 is black, 1 is white.
    contrast
        The standard deviation of the same.
    """

    width: int
    height: int
    bytes: int
    brightness: float
    contrast: float


@dataclass(slots=True, eq=False)
class Instance:
    """One input, decoded.

    Attributes
    ----------
    arrays
        An array per input of the graph, each with a first axis of one entry.
    names
        The inputs that they are for; empty if they are for all.
    axes
        The lengths of the axes that have a name, if the model takes tensors.
    picture
        What was measured of the image that it was decoded from; None if it was not.
    """

    arrays: tuple[NDArray[Any], ...]
    names: tuple[str, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict)
    picture: Picture | None = None
