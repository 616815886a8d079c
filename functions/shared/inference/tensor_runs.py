"""Which examples of named tensors can share a run of the model, and what goes into that run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions.shared.inference.instance import Instance
from functions.shared.inference.tensor_input import MADE_UP_LENGTH, InputTensor, TensorInput
from functions.shared.inference.tensors import TensorDecoder


class TensorRuns:
    """Makes runs of examples for one model.

    Parameters
    ----------
    wanted
        How the model takes its tensors.
    """

    def __init__(self, wanted: TensorInput) -> None:
        self._wanted = wanted
        self._by_name = {one.name: one for one in wanted.tensors}
        self._is_padded = any(one.padding is not None for one in wanted.tensors)
        self.one_by_one = wanted.unbatched
        """Whether a run must have one example."""
        self.decode = TensorDecoder(wanted).decode

    @property
    def axis_names(self) -> frozenset[str]:
        """The names of the axes of examples."""
        return frozenset(axis for one in self._wanted.tensors for axis in one.shape if isinstance(axis, str))

    @property
    def padded_axes(self) -> tuple[str, ...]:
        """The axes along which examples are filled up."""
        padded = [one for one in self._wanted.tensors if one.padding is not None]
        return tuple(dict.fromkeys(axis for one in padded for axis in one.shape if isinstance(axis, str)))

    def made_up(self, longer: str | None = None) -> Instance:
        """Make up an example: zeros, false and empty texts, 8 entries where the length is open.

        Parameters
        ----------
        longer
            An axis that gets one entry more.
        """
        required = [one for one in self._wanted.tensors if not one.optional]
        names = {axis for one in required for axis in one.shape if isinstance(axis, str)}
        axes = {axis: MADE_UP_LENGTH + (axis == longer) for axis in names}
        arrays = [_zeros(one, axes) for one in required]
        return Instance(tuple(arrays), tuple(one.name for one in required), axes)

    def order(self, examples: Sequence[Instance]) -> list[int]:
        """Return the positions of examples so that those that can share a run follow each other."""
        first: dict[object, int] = {}
        keys = [first.setdefault(self._key(one), at) for at, one in enumerate(examples)]
        return sorted(range(len(examples)), key=keys.__getitem__)

    def end(self, examples: Sequence[Instance], start: int, end: int, max_bytes: int) -> int:
        """Return where a run that begins with the example at `start` ends, at `end` or before."""
        if self.one_by_one:
            return start + 1
        key = self._key(examples[start])
        longest = 0
        for at in range(start, end):
            longest = max(longest, sum(array.nbytes for array in examples[at].arrays))
            if self._key(examples[at]) != key or (at > start and longest * (at - start + 1) > max_bytes):
                return at
        return end

    def feed(self, examples: Sequence[Instance]) -> dict[str, NDArray[Any]]:
        """Return the value of each input of the graph for a run of examples that can share one."""
        values = {}
        for at, name in enumerate(examples[0].names):
            wanted = self._by_name[name]
            if not wanted.batched:
                values[name] = examples[0].arrays[at][0, ...]  # an array, also where it has no axis
                continue
            parts = [one.arrays[at] for one in examples]
            values[name] = np.concatenate(parts if wanted.padding is None else _padded(parts, wanted))
        return values

    def own_axes(self, examples: Sequence[Instance]) -> Sequence[Mapping[str, int]]:
        """Return the lengths that each example has of its own; empty if examples are not filled up."""
        return [one.axes for one in examples] if self._is_padded and len(examples) > 1 else ()

    def _key(self, one: Instance) -> object:
        """Return what two examples must have in common to share a run."""
        key: list[object] = [one.names]
        for name, array in zip(one.names, one.arrays, strict=True):
            wanted = self._by_name[name]
            if wanted.padding is not None:
                continue
            key.append(array.shape)
            if not wanted.batched:
                key.append(repr(array.tolist()))
        return tuple(key)


def _zeros(wanted: InputTensor, axes: Mapping[str, int]) -> NDArray[Any]:
    lengths = (axis if isinstance(axis, int) else axes.get(axis or "", MADE_UP_LENGTH) for axis in wanted.shape)
    shape = [1, *lengths]
    if wanted.dtype == "string":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, wanted.dtype)


def _padded(parts: Sequence[NDArray[Any]], wanted: InputTensor) -> list[NDArray[Any]]:
    longest = np.max([part.shape for part in parts], axis=0)
    if all(part.shape == tuple(longest) for part in parts):
        return list(parts)
    return [
        np.pad(
            part,
            [(0, length - own) for own, length in zip(part.shape, longest, strict=True)],
            constant_values=np.array(wanted.padding, dtype=part.dtype),
        )
        for part in parts
    ]
