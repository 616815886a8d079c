"""What an execution environment needs to predict: the model, the ledger, and where inputs and queued predictions go."""

from typing import NamedTuple, Protocol

from functions.shared.execution_environment import before_snapshot
from functions.shared.inference.location import resolve
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import ModelIdentity
from functions.shared.ledger.secret import DatabaseSettings
from functions.shared.log import logger
from functions.shared.object_storage.bucket import Bucket
from functions.shared.queue.predictions import PredictionQueue


class ServingSettings(DatabaseSettings, Protocol):
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

    @property
    def inputs_bucket(self) -> str | None:
        """The name of the bucket that keeps inputs."""


class Serving(NamedTuple):
    """A loaded model and what its predictions are read from and written to.

    Attributes
    ----------
    model, identity
        The model, and what the ledger calls it.
    ledger
        Where predictions are stored.
    inputs_bucket
        Where images are kept; None where the ledger keeps them itself.
    uploads_bucket
        Where callers upload large images to; None where they cannot.
    queue
        Where queued predictions are announced to the worker; None where nothing can be queued.
    max_upload_bytes
        The largest upload that is loaded, in bytes.
    """

    model: Model
    identity: ModelIdentity
    ledger: Ledger
    inputs_bucket: Bucket | None
    uploads_bucket: Bucket | None = None
    queue: PredictionQueue | None = None
    max_upload_bytes: int = 0

    @classmethod
    def start(
        cls,
        settings: ServingSettings,
        *,
        uploads_bucket: Bucket | None = None,
        queue: PredictionQueue | None = None,
        max_upload_bytes: int = 0,
    ) -> "Serving":
        """Fetch and load the model, and make the connection pool. Nothing is connected yet.

        Parameters
        ----------
        settings
            Which model, how to run it, and where the ledger and the inputs are.
        uploads_bucket, queue, max_upload_bytes
            As in `Serving`.

        Raises
        ------
        InferenceError
            If the model cannot be fetched or served.
        LedgerError
            If the database's URL cannot be used or read.
        """
        model = Model.load(
            ModelPackage.load(resolve(settings.model)),
            providers=settings.execution_providers,
            intra_op_threads=settings.intra_op_threads,
            max_image_pixels=settings.max_image_pixels,
        )
        return cls(
            model=model,
            identity=_identity(model),
            ledger=Ledger.configured(settings),
            inputs_bucket=Bucket(settings.inputs_bucket) if settings.inputs_bucket else None,
            uploads_bucket=uploads_bucket,
            queue=queue,
            max_upload_bytes=max_upload_bytes,
        )

    def warm_up(self) -> None:
        """Do what the first request would otherwise wait for: run the model once, connect, register the model."""
        self.model.warm_up()
        if self.inputs_bucket is not None:
            self.inputs_bucket.warm_up()
        try:
            self.ledger.register(self.identity)
        except LedgerUnavailableError as error:
            # A database that is away at start-up must not keep this environment from starting: storing tries again.
            logger.warning("the model could not be registered yet", reason=str(error))
        if before_snapshot():
            # Each restored environment would find this one connection, long dead. It opens its own instead.
            self.ledger.close()


def _identity(model: Model) -> ModelIdentity:
    package = model.package
    return ModelIdentity(
        name=package.name,
        version=package.version,
        sha256=package.sha256,
        labels=package.labels,
        task=package.task,
        provider=model.provider,
        settings=package.settings,
    )
