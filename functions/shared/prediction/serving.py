"""What an execution environment needs to predict: the model, the ledger, the buckets and the queue."""

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from functions.shared import wait_budget
from functions.shared.execution_environment import before_snapshot
from functions.shared.inference.location import resolve
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.ledger.errors import LedgerUnavailableError
from functions.shared.ledger.ledger import IDEMPOTENCY_HOURS, Ledger
from functions.shared.ledger.quotas import Quotas
from functions.shared.ledger.records import ModelIdentity
from functions.shared.ledger.secret import DatabaseSettings
from functions.shared.log import logger
from functions.shared.object_storage.bucket import Bucket
from functions.shared.queue.predictions import PredictionQueue

_NO_QUOTAS: Final[Mapping[str, int]] = {}


class ServingSettings(DatabaseSettings, Protocol):
    """The settings that a function needs to predict."""

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
    """A loaded model with its ledger, buckets and queue.

    Attributes
    ----------
    model, identity
        The model and its identity in the ledger.
    ledger
        Where predictions are stored.
    inputs_bucket
        The bucket for images; None if the ledger stores them itself.
    uploads_bucket
        The bucket for callers' uploads; None if uploads are off.
    queue
        The worker's queue; None if nothing can be queued.
    max_upload_bytes
        The size limit for an upload, in bytes.
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
        idempotency_hours: float = IDEMPOTENCY_HOURS,
        quotas: Mapping[str, int] = _NO_QUOTAS,
    ) -> "Serving":
        """Fetch and load the model, and create the connection pool. This opens no connection.

        Parameters
        ----------
        settings
            Which model, how to run it, and where the ledger and the inputs are.
        uploads_bucket, queue, max_upload_bytes
            As in `Serving`.
        idempotency_hours
            As in `Ledger`.
        quotas
            As `Quotas.of` takes them.

        Raises
        ------
        InferenceError
            If the model cannot be fetched or served.
        LedgerError
            If the database URL is invalid or cannot be read.
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
            ledger=Ledger.configured(settings, idempotency_hours=idempotency_hours, quotas=Quotas.of(**quotas)),
            inputs_bucket=Bucket(settings.inputs_bucket) if settings.inputs_bucket else None,
            uploads_bucket=uploads_bucket,
            queue=queue,
            max_upload_bytes=max_upload_bytes,
        )

    def warm_up(self) -> None:
        """Run the model once, connect, and register the model, so that the first request does not wait for this."""
        self.model.warm_up()
        if self.inputs_bucket is not None:
            self.inputs_bucket.warm_up()
        try:
            with wait_budget.limited(wait_budget.OF_A_START):
                self.ledger.register(self.identity)
        except LedgerUnavailableError as error:
            # An unreachable database must not stop this environment from starting: `Ledger.store` registers again.
            logger.warning("the model could not be registered yet", reason=str(error))
        if before_snapshot():
            # A restored environment would find this connection dead, so it must open its own.
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
        baseline=package.baseline,
    )
