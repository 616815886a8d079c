"""Train the digit classifier in `model_artifacts/mnist`.

The module imports Keras and TensorFlow, which take seconds: import it only in a command that needs it.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from model_artifacts.distort import distort
from model_artifacts.export import export_package, record_digest
from model_artifacts.idx import read_digits
from model_artifacts.split import SEED, split

DEFAULT_EPOCHS = 40

VALIDATION_SHARE = 12
"""One image in twelve is held out: 5,000 of MNIST's 60,000."""

_BATCH = 128
_PEAK_LEARNING_RATE = 2e-3
_WARM_UP_SHARE = 0.05
_RESCALE_FACTOR = 1 / 255
_MIDDLE_GREY = 0.5

DESCRIPTION = {
    "name": "mnist",
    "version": "1",
    "task": "classification",
    "labels": [str(digit) for digit in range(10)],
    "activation": "none",
    "resample": "bicubic",
    "rescale_factor": _RESCALE_FACTOR,
    "color": "grey",
}
"""The package's `model.json`, without its SHA-256."""


def train(idx_folder: Path | None, output: Path, epochs: int = DEFAULT_EPOCHS, keras_file: Path | None = None) -> float:
    """Train the digit classifier and export it as a model package.

    One image in twelve, chosen by the seed, is left out of training. Accuracy, and the difference between ONNX Runtime
    and Keras, are measured on these images.

    Parameters
    ----------
    idx_folder : Path or None
        The folder with MNIST's IDX files. If it is None, Keras downloads the images.
    output : Path
        The package's folder.
    epochs : int
        Passes over the training images.
    keras_file : Path or None
        The file to save the Keras model to as well (`*.keras`), or None.

    Returns
    -------
    float
        The share of the validation images that the trained model classifies correctly.

    Raises
    ------
    IdxError
        The IDX files cannot be read.
    ParityError
        The exported model does not compute what the trained one does.
    """
    keras.utils.set_random_seed(SEED)
    if idx_folder is not None:
        images, labels = read_digits(idx_folder)
    else:
        (images, labels), _ = keras.datasets.mnist.load_data()
    pixels = images.astype(np.float32) * np.float32(_RESCALE_FACTOR)
    kept, held_out = split(len(pixels), VALIDATION_SHARE)
    print(f"Training on {len(kept)} images, validating on {len(held_out)}.", flush=True)

    model = build_model()
    batches = _DistortedDigits(pixels[kept], labels[kept])
    steps = epochs * len(batches)
    warm_up = max(1, int(_WARM_UP_SHARE * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=_PEAK_LEARNING_RATE / 100,
        warmup_target=_PEAK_LEARNING_RATE,
        warmup_steps=warm_up,
        decay_steps=max(1, steps - warm_up),
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.02),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    validation = (pixels[held_out][..., np.newaxis], labels[held_out])
    # In a terminal show a progress bar. In a file, where it would be noise, print one line per epoch.
    verbose = 1 if sys.stdout.isatty() else 2
    model.fit(batches, epochs=epochs, validation_data=validation, shuffle=False, verbose=verbose)
    if keras_file is not None:
        model.save(keras_file)

    _, accuracy = model.evaluate(*validation, verbose=0)
    print(f"Validation accuracy: {accuracy:.2%} of {len(held_out)} images.")
    difference = export_package(model, output, DESCRIPTION, [validation[0]])
    record_digest(output)
    print(f"ONNX Runtime and Keras agree on {len(held_out)} images to {difference:.1e}.")
    print(f"Wrote {output / 'model.onnx'} ({(output / 'model.onnx').stat().st_size} bytes) and model.json.")
    return float(accuracy)


def build_model() -> keras.Model:
    """Build the untrained network: 142,394 parameters, 4.3 million multiplications per image.

    The network first inverts images with dark ink on a light background, which it recognises by their light border,
    because MNIST has light ink on a dark background. People send scans and photographs of paper, and the service's
    preprocessing cannot know which of the two a model needs. This step changes no MNIST image.

    The first convolution halves the image, because a small network spends most of its time on the full size. The last
    one covers the remaining 3 x 3 pixels and replaces a dense layer: flattening would add six nodes to the exported
    graph. The second pooling reads only 6 x 6 of the 7 x 7 positions before it, so the others are not computed.

    Returns
    -------
    keras.Model
        Input `image`: float32 [batch, 28, 28, 1], grey values in [0, 1]. Output `probabilities`: float32 [batch, 10].
    """
    image = keras.Input((28, 28, 1), name="image")
    light_ground = keras.ops.cast(_border_brightness(image) > _MIDDLE_GREY, "float32")
    x = keras.ops.abs(image - light_ground)
    x = _convolution(x, 32, 5, strides=2)
    x = _convolution(x, 32, 3)
    x = layers.MaxPooling2D()(x)
    x = _convolution(x, 64, 3)
    x = _convolution(layers.ZeroPadding2D(((1, 0), (1, 0)))(x), 64, 3, padding="valid")
    x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.2)(x)
    x = _convolution(x, 128, 3, padding="valid")
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.4)(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x), name="mnist")


def _border_brightness(image: Any) -> Any:  # noqa: ANN401
    """Return the mean of the outermost pixels, [batch, 1, 1, 1], computed by a convolution that is not trained."""
    mean = layers.Conv2D(1, 28, use_bias=False, kernel_initializer="zeros", trainable=False, name="border_brightness")
    brightness = mean(image)
    kernel = np.ones((28, 28, 1, 1), np.float32)
    kernel[1:-1, 1:-1] = 0
    mean.set_weights([kernel / kernel.sum()])
    return brightness


def _convolution(x: Any, filters: int, size: int, strides: int = 1, padding: str = "same") -> Any:  # noqa: ANN401
    x = layers.Conv2D(filters, size, strides=strides, padding=padding, use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))


class _DistortedDigits(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped: its classes are Any
    """Batches of images that are distorted and shuffled anew in each epoch, all from the one seed."""

    def __init__(self, images: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
        super().__init__()
        self._images = images
        self._labels = labels
        self._generator = np.random.default_rng(SEED)
        self._order = self._generator.permutation(len(images))

    def __len__(self) -> int:
        return -(-len(self._images) // _BATCH)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        chosen = self._order[index * _BATCH : (index + 1) * _BATCH]
        return distort(self._images[chosen], self._generator)[..., np.newaxis], self._labels[chosen]

    def on_epoch_end(self) -> None:
        self._order = self._generator.permutation(len(self._images))
