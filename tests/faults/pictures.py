"""Digits to send, each with what the model itself says of it."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from typing import cast

from PIL import Image, ImageChops

from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.prediction.instances import run
from local.settings import ROOT
from tests.support.repository import DIGIT

_TOLERANCE = 1e-5
_COUNT = 12


@dataclass(frozen=True)
class Picture:
    """A picture, and the model's output for it."""

    content: bytes
    sha256: bytes
    output: tuple[float, ...]

    def is_output(self, output: object) -> bool:
        """Tell whether an output is this picture's."""
        return (
            isinstance(output, list)
            and len(output) == len(self.output)
            and all(abs(one - other) < _TOLERANCE for one, other in zip(output, self.output, strict=True))
        )


def make_pictures() -> list[Picture]:
    """Return pictures whose outputs differ, so that one can't be taken for another."""
    model = Model.load(ModelPackage.load(ROOT / "model_artifacts" / "mnist"))
    made = []
    for content in _variants():
        [answer] = run(model, [model.decode_image(content)])
        assert not isinstance(answer, Exception)
        made.append(Picture(content, sha256(content).digest(), tuple(cast("list[float]", answer.output))))
    for one, other in combinations(made, 2):
        assert not one.is_output(list(other.output)), "two pictures have the same output"
    return made


def _variants() -> Iterator[bytes]:
    with Image.open(DIGIT) as digit:
        grey = digit.convert("L")
    for number in range(_COUNT):
        turned = ImageChops.offset(grey.rotate(number * 30), number % 3, number % 5)
        out = io.BytesIO()
        turned.save(out, "PNG")
        yield out.getvalue()
