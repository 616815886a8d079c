"""How many inputs a model runs at a time."""

from typing import Any

import pytest

from functions.shared.inference.model import Model


def runs_of(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of inputs of each run."""
    sizes: list[int] = []
    feed = model._feed  # the public methods do not tell how inputs were grouped

    def counting(group: Any, rows: int) -> Any:
        sizes.append(len(group))
        return feed(group, rows)

    monkeypatch.setattr(model, "_feed", counting)
    return sizes
