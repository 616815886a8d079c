"""Settings of a function: a typed class, read from the environment once, that names the variable when it is wrong."""

import os
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError


class SettingsError(Exception):
    """A setting is missing or is not what it must be. The message names the environment variable."""


class LedgerSettings(BaseModel):
    """What every function needs. A field's name in capitals is its environment variable."""

    # Of all these classes a function uses one.
    model_config = ConfigDict(frozen=True, defer_build=True)

    database_url: str | None = None
    """Where the ledger is: `postgresql://user:password@host:port/database`, or a unix socket's folder as `?host=`."""

    database_secret_arn: str | None = None
    """In place of `DATABASE_URL`, the secret in AWS Secrets Manager that holds it."""

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)] = "INFO"
    """The lowest level of the lines that the log keeps."""

    @model_validator(mode="after")
    def _has_one_database(self) -> Self:
        if bool(self.database_url) == bool(self.database_secret_arn):
            raise PydanticCustomError("database", "exactly one of DATABASE_URL and DATABASE_SECRET_ARN must be set")
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        Raises
        ------
        SettingsError
            If a variable is missing or has a value that it cannot have. Says which, and why.
        """
        values = {name: environment[name.upper()] for name in cls.model_fields if environment.get(name.upper())}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # The value itself stays out of the message: a database URL carries a password, and messages get logged.
            # A fault that is no single variable's names them itself.
            faults = (
                ": ".join((*(str(name).upper() for name in fault["loc"][:1]), fault["msg"])) for fault in error.errors()
            )
            raise SettingsError("; ".join(faults)) from None


class FunctionSettings(LedgerSettings):
    """What every function of the API needs."""

    auth: Literal["on", "off"] = "off"
    """Whether an authorizer stands before the API. If so, each user sees their own records, and a token is required."""

    @property
    def token_required(self) -> bool:
        """Whether a request must come with the user that a token names."""
        return self.auth == "on"


class ModelSettings(LedgerSettings):
    """What every function needs that knows the model."""

    model: str = "model_artifacts/mnist"
    """The model package: a folder, or `s3://bucket/prefix`."""


class InputsSettings(LedgerSettings):
    """What every function needs that reads inputs or stores them."""

    inputs_bucket: str | None = None
    """The S3 bucket that inputs are kept in. Without one, they are kept in the database."""


class UploadsSettings(InputsSettings):
    """What every function needs that has to do with uploads."""

    uploads_bucket: str | None = None
    """The S3 bucket that callers upload to, where it is not `INPUTS_BUCKET`. Without either, there are no uploads."""

    @property
    def bucket_for_uploads(self) -> str | None:
        """The bucket that callers upload to."""
        return self.uploads_bucket or self.inputs_bucket


class GetSettings(UploadsSettings, FunctionSettings):
    """What `get_prediction` needs."""

    max_inline_bytes: int = Field(default=3_000_000, gt=0, le=4_000_000)
    """The largest image, in bytes, that its record holds; a larger one has an `input_url` there. Lambda returns
    at most 6 MB, and base64 makes four bytes of three."""


class UploadSettings(UploadsSettings, FunctionSettings):
    """What `upload` needs."""

    max_upload_bytes: int = Field(default=20_000_000, gt=0)
    """The largest upload, in bytes."""

    upload_seconds: int = Field(default=900, gt=0, le=604_800)
    """Seconds for which the URL of an upload is valid. S3 allows a week at most."""


class DescribeSettings(ModelSettings, FunctionSettings):
    """What `describe` needs."""


class WorkerSettings(ModelSettings, InputsSettings):
    """What `worker` needs, and whatever else runs the model."""

    max_image_pixels: int = Field(default=25_000_000, gt=0)
    """The largest image, in pixels once decoded."""

    intra_op_threads: int = Field(default=1, ge=0)
    """Threads that one operator of the model may use; 0 lets ONNX Runtime choose."""

    execution_providers: str = Field(default="auto", min_length=1)
    """`auto` (CUDA where it can be had, else CPU), or ONNX Runtime's names in order, separated by commas."""


class PredictSettings(WorkerSettings, UploadsSettings, FunctionSettings):
    """What `predict` needs."""

    max_body_bytes: int = Field(default=4_500_000, gt=0)
    """The largest request body, in bytes. Lambda takes 6 MB of event, which base64 makes 4.5 MB of image."""

    max_batch_inputs: int = Field(default=256, gt=0)
    """The most inputs that one request to `/predictions` may bring."""

    max_upload_bytes: int = Field(default=20_000_000, gt=0)
    """The largest upload that is predicted, in bytes."""

    queue_url: str | None = None
    """The SQS queue for asynchronous predictions. Without one, every prediction is made synchronously."""


class SweepSettings(LedgerSettings):
    """What `sweep` needs."""

    queue_url: str = Field(min_length=1)
    """The SQS queue for asynchronous predictions."""

    queued_seconds: float = Field(default=900, gt=0)
    """Seconds after which a prediction that is still queued is sent again."""

    processing_seconds: float = Field(default=900, gt=0)
    """Seconds after which a prediction that is still in processing fails."""
