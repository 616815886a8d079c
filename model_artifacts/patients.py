"""The data of the diabetes model: scikit-learn's patients, with names for their measurements."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_artifacts.errors import ArtifactError

FEATURE_NAMES = (
    "age",
    "sex",
    "body_mass_index",
    "blood_pressure",
    "total_cholesterol",
    "ldl",
    "hdl",
    "cholesterol_ratio",
    "log_triglycerides",
    "blood_sugar",
)
"""The names of scikit-learn's columns, in its order. scikit-learn itself calls the last six s1 to s6."""

PROGRESSION = "progression"
"""The name of what is predicted."""


def read_patients() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read scikit-learn's bundled diabetes data set in its original units.

    Efron, Hastie, Johnstone and Tibshirani, "Least Angle Regression", Annals of Statistics, 2004.

    Returns
    -------
    measurements : numpy.ndarray
        float64, [442, 10], the columns of `FEATURE_NAMES`: years, a code (1 or 2), kg/m2, mmHg, mg/dl for cholesterol,
        ldl and hdl, a ratio, a logarithm, mg/dl.
    progression : numpy.ndarray
        float64, [442], the disease's progression one year later on the study's own scale, 25 to 346.

    Raises
    ------
    ArtifactError
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise ArtifactError("the patients come with scikit-learn, which is not installed here") from error
    measurements, progression = load_diabetes(return_X_y=True, scaled=False)
    return measurements, progression


def write_patients(path: Path) -> int:
    """Write the patients as CSV, a row each, with their progression in the last column. Return how many there are.

    Raises
    ------
    ArtifactError
        scikit-learn is not installed, or the file cannot be written.
    """
    measurements, progression = read_patients()
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow((*FEATURE_NAMES, PROGRESSION))
            rows.writerows(
                (*row, target) for row, target in zip(measurements.tolist(), progression.tolist(), strict=True)
            )
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written: {error.strerror}") from error
    return len(progression)
