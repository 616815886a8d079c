"""Train the regressor in `model_artifacts/diabetes`, which predicts the progression of diabetes.

The module imports Keras and TensorFlow, which take seconds: import it only in a command that needs it.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from model_artifacts.export import export_package, record_digest
from model_artifacts.patients import FEATURE_NAMES, read_patients

DEFAULT_EPOCHS = 50

_SEED = 20
_BATCH = 32
_VALIDATION_SHARE = 5  # one patient in five
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 0.1

DESCRIPTION = {
    "name": "diabetes",
    "version": "1",
    "task": "regression",
    "feature_names": list(FEATURE_NAMES),
}
"""The package's `model.json`, without its SHA-256."""


def train(output: Path, epochs: int = DEFAULT_EPOCHS) -> float:
    """Train the regressor on raw measurements and export it as a model package.

    One patient in five, chosen by the seed, is left out of training and used for validation. ONNX Runtime is compared
    with Keras on every patient.

    Parameters
    ----------
    output : Path
        The package's folder.
    epochs : int
        Passes over the training patients.

    Returns
    -------
    float
        Coefficient of determination (R squared) on the validation patients: 1 is perfect, 0 is no better than always
        answering their mean.

    Raises
    ------
    ParityError
        The exported model does not compute what the trained one does.
    """
    keras.utils.set_random_seed(_SEED)
    measurements, progression = (values.astype(np.float32) for values in read_patients())
    order = np.random.default_rng(_SEED).permutation(len(measurements))
    held_out, kept = np.split(order, [len(order) // _VALIDATION_SHARE])
    print(f"Training on {len(kept)} patients, validating on {len(held_out)}.", flush=True)

    scores = build_scorer(measurements[kept])
    mean, deviation = progression[kept].mean(), progression[kept].std()
    scores.compile(optimizer=keras.optimizers.AdamW(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY), loss="mse")
    # A bar redrawn in place is noise in a file: there, one line per epoch.
    verbose = 1 if sys.stdout.isatty() else 2
    targets = (progression[kept] - mean) / deviation
    scores.fit(measurements[kept], targets, batch_size=_BATCH, epochs=epochs, verbose=verbose)
    in_units = layers.Rescaling(float(deviation), offset=float(mean), name="progression")
    model = keras.Model(scores.inputs[0], in_units(scores.outputs[0]), name="diabetes")

    predicted = keras.ops.convert_to_numpy(model(measurements[held_out]))[:, 0]
    residual = np.square(progression[held_out] - predicted).sum()
    r_squared = float(1 - residual / np.square(progression[held_out] - progression[held_out].mean()).sum())
    print(f"Validation R squared: {r_squared:.3f} on {len(held_out)} patients.")
    difference = export_package(model, output, DESCRIPTION, [measurements])
    record_digest(output)
    print(f"ONNX Runtime and Keras agree on {len(measurements)} patients to {difference:.1e} (relative).")
    print(f"Wrote {output / 'model.onnx'} ({(output / 'model.onnx').stat().st_size} bytes) and model.json.")
    return r_squared


def build_scorer(measurements: NDArray[np.float32]) -> keras.Model:
    """Build the untrained network, which takes raw measurements and scales them itself.

    Parameters
    ----------
    measurements : numpy.ndarray
        float32, [N, 10]; the network takes each column's mean and variance from them.

    Returns
    -------
    keras.Model
        Input `measurements`: float32 [batch, 10]. Output: float32 [batch, 1], in standard deviations of the target.
    """
    scale = layers.Normalization()
    scale.adapt(measurements)
    features = keras.Input((measurements.shape[1],), name="measurements")
    x = layers.Dense(16, activation="relu")(scale(features))
    return keras.Model(features, layers.Dense(1)(x))
