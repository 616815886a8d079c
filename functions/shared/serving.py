"""Loading a model for serving: where inference and the ledger meet, for the functions that predict."""

from functions.shared.inference.location import resolve
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.records import ModelIdentity


def load_model(
    location: str, *, providers: str, intra_op_threads: int, max_image_pixels: int
) -> tuple[Model, ModelIdentity]:
    """Fetch and load a model.

    Parameters
    ----------
    location
        A folder, or `s3://bucket/prefix`.
    providers, intra_op_threads, max_image_pixels
        As in `Model.load`.

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
        ModelPackage.load(resolve(location)),
        providers=providers,
        intra_op_threads=intra_op_threads,
        max_image_pixels=max_image_pixels,
    )
    package = model.package
    identity = ModelIdentity(
        name=package.name,
        version=package.version,
        sha256=package.sha256,
        labels=package.labels,
        task=package.task,
        provider=model.provider,
    )
    return model, identity
