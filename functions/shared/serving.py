"""Loading a model for serving: where inference and the ledger meet, for the functions that predict."""

from typing import Protocol

from functions.shared.inference.location import resolve
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.records import ModelIdentity


class ServingSettings(Protocol):
    """What is read of the settings of a function that predicts."""

    @property
    def model(self) -> str:
        """A folder, or `s3://bucket/prefix`."""

    @property
    def execution_providers(self) -> str:
        """`providers` of `Model.load`."""

    @property
    def intra_op_threads(self) -> int:
        """As in `Model.load`."""

    @property
    def max_image_pixels(self) -> int:
        """As in `Model.load`."""


def load_model(settings: ServingSettings) -> tuple[Model, ModelIdentity]:
    """Fetch and load a model.

    Parameters
    ----------
    settings
        Which, and how.

    Returns
    -------
    tuple
        The model, and what the ledger calls it.

    Raises
    ------
    InferenceError
        If it cannot be fetched or served.
    """
    model = Model.load(
        ModelPackage.load(resolve(settings.model)),
        providers=settings.execution_providers,
        intra_op_threads=settings.intra_op_threads,
        max_image_pixels=settings.max_image_pixels,
    )
    package = model.package
    identity = ModelIdentity(
        name=package.name,
        version=package.version,
        sha256=package.sha256,
        labels=package.labels,
        task=package.task,
        provider=model.provider,
        settings=package.settings,
    )
    return model, identity
