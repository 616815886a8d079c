"""Where the console draws a find in the picture that was sent: there, whatever the model made of the picture.

The module runs in Node.js. What a model sees, the inference itself says.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from functions.shared.inference.image_fit import fitter
from functions.shared.inference.image_input import ImageInput
from functions.shared.inference.package import ModelPackage
from tests.console.test_truth_file import pytestmark as pytestmark
from tests.console.test_truth_file import run
from tests.support import graphs

SCRIPT = """
import { boxesOf } from "./boxes.js";
const cases = JSON.parse(await new Response(process.stdin).text());
console.log(JSON.stringify(cases.map(({ finds, model, picture }) => boxesOf(finds, model, picture))));
"""

FITS: dict[str, dict[str, object]] = {
    "stretched": {},
    "stretched and cropped": {"fit": "stretch", "size": [80, 90], "crop_size": 64},
    "cropped": {"fit": "crop", "size": 72},
    "in a letterbox": {"fit": "letterbox", "pad_color": 0},
    "in a letterbox by a stride": {"fit": "letterbox", "pad_color": 0, "size": [64, 64], "stride": 16},
    "scaled": {"fit": "scale", "size": {"shortest_edge": 50, "longest_edge": 70}},
    "scaled by its longer edge": {"fit": "scale", "size": {"longest_edge": 70}},
    "of its own size": {},
}
OPEN = {"in a letterbox by a stride", "scaled", "scaled by its longer edge", "of its own size"}
SIZES = [(128, 64), (61, 150), (64, 64), (30, 41)]


def seen_by(folder: Path, fit: str) -> tuple[ImageInput, dict[str, object]]:
    """Return how a model takes pictures, and what `GET /model` says of it."""
    side = None if fit in OPEN else 64
    model = graphs.conv_net("NCHW", channels=3, size=(side, side))
    package = ModelPackage.load(graphs.package(folder, model, **FITS[fit]))
    assert isinstance(package.input, ImageInput)
    return package.input, {**package.describe_input(), "settings": json.loads(package.settings)}


def extent(image: Image.Image) -> tuple[int, int, int, int]:
    """Return where a picture is bright: left, top, right, bottom."""
    rows, columns = np.nonzero(np.asarray(image.convert("L")) > 127)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("fit", FITS)
def test_a_box_around_what_the_model_saw_is_around_what_was_sent(tmp_path: Path, fit: str) -> None:
    wanted, model = seen_by(tmp_path / "package", fit)
    fitted = fitter(wanted)
    cases, expected = [], []
    for width, height in SIZES:
        picture = Image.new("RGB", (width, height))
        left, top, right, bottom = round(width * 0.4), round(height * 0.35), round(width * 0.7), round(height * 0.6)
        picture.paste((255, 255, 255), (left, top, right, bottom))
        seen = picture if fitted is None else fitted(picture)
        box = [float(one) for one in extent(seen)]
        shares = [one / side for one, side in zip(box, (*seen.size, *seen.size), strict=True)]
        size = {"width": width, "height": height}
        cases += [{"finds": [{"box": one}], "model": model, "picture": size} for one in (box, shares)]
        expected += [(left, top, right - left, bottom - top)] * 2
    found: Any = run(tmp_path, SCRIPT, cases)
    for [box], place, case in zip(found, expected, cases, strict=True):
        # A pixel of the model's is at most three of the picture's here, and an edge lies somewhere in it.
        assert tuple(box.values()) == pytest.approx(place, abs=3), (fit, case)


FIT = {"width": 64, "height": 64, "fit": "stretch", "settings": {}}
TENSORFLOW = FIT | {"settings": {"finds": ["detection_boxes", "detection_scores", "detection_classes"]}}
ODD: dict[str, tuple[list[float], dict[str, Any], object]] = {
    "TensorFlow's, top first": ([0.25, 0.5, 0.75, 1], TENSORFLOW, {"left": 64, "top": 16, "width": 64, "height": 32}),
    "the whole": ([0, 0, 1, 1], FIT, {"left": 0, "top": 0, "width": 128, "height": 64}),
    "larger than the picture": ([-9, -9, 1e300, 1e300], FIT, {"left": 0, "top": 0, "width": 128, "height": 64}),
    "to the right of the picture": ([64, 0, 70, 64], FIT, "is outside of the picture"),
    "above the picture": ([0, -20, 64, -10], FIT, "is outside of the picture"),
    "no area": ([5, 5, 5, 5], FIT, "has no area"),
    "the corners the other way round": ([30, 30, 5, 5], FIT, "has no area"),
}


def test_a_box_that_is_no_part_of_the_picture_is_said_to_be_none(tmp_path: Path) -> None:
    picture = {"width": 128, "height": 64}
    cases = [{"finds": [{"box": box}], "model": model, "picture": picture} for box, model, _ in ODD.values()]
    found: Any = run(tmp_path, SCRIPT, cases)
    assert dict(zip(ODD, (one for [one] in found), strict=True)) == {name: wanted for name, (*_, wanted) in ODD.items()}
