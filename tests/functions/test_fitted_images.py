"""A model that was trained on cropped images gets them cropped through the API, and says so."""

import io
import json
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.support import graphs

PHOTOS = graphs.conv_net("NCHW", channels=3, size=(32, 32))
PREPROCESSOR = {
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "do_resize": True,
    "size": {"shortest_edge": 36},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "image_processor_type": "CLIPImageProcessor",
}


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(api: httpx.Client, environment: pytest.MonkeyPatch, tmp_path: Path) -> httpx.Client:
    """Serve a model with the preprocessor_config.json that Hugging Face's library writes."""
    folder = graphs.package(tmp_path / "photos", PHOTOS)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    environment.setenv("MODEL", str(folder))
    return api


def test_a_photo_gets_the_scores_that_its_library_gives_it(photos: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    resized = Image.fromarray(noise).resize((48, 36), Image.Resampling.BICUBIC).crop((8, 2, 40, 34))
    tensor = ((np.asarray(resized) / 255 - 0.5) / 0.25).astype(np.float32).transpose(2, 0, 1)[np.newaxis]
    (expected,) = onnxruntime.InferenceSession(PHOTOS.SerializeToString()).run(None, {"image": tensor})

    answer = photos.post("/prediction", content=png(Image.fromarray(noise)), headers={"content-type": "image/png"})

    assert answer.status_code == 201, answer.text
    assert answer.json()["prediction"] == pytest.approx(expected[0].tolist(), abs=1e-4)


def test_the_model_tells_how_its_images_are_fitted(photos: httpx.Client) -> None:
    told = photos.get("/model").json()
    assert (told["fit"], told["crop_size"], told["height"], told["width"]) == ("crop", [32, 32], 32, 32)
    assert told["settings"]["size"] == 36


def test_a_line_that_would_grow_without_bounds_is_refused(photos: httpx.Client) -> None:
    line = png(Image.new("L", (1, 60_000)))
    answer = photos.post("/prediction", content=line, headers={"content-type": "image/png"})
    assert answer.status_code == 413
    assert (
        "resized to 36 pixels at its shorter edge, which makes 77760000 pixels" in answer.json()["errors"][0]["detail"]
    )
    assert photos.get("/predictions").json()["predictions"] == []
