"""One input of a model, decoded: what a run of the model is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


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
    """

    arrays: tuple[NDArray[Any], ...]
    names: tuple[str, ...] = ()
    axes: Mapping[str, int] = field(default_factory=dict)
