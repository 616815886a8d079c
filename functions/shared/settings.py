"""Typed settings of each function, read from environment variables. An error names the variable that is wrong."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError


class SettingsError(Exception):
    """A setting is missing or invalid. The message names the environment variable."""


class LedgerSettings(BaseModel):
    """Settings of every function. A field's name in upper case is its environment variable."""

    # A function uses only one of these classes, so build the schemas on first use.
    model_config = ConfigDict(frozen=True, defer_build=True)

    database_url: str | None = None
    """Where the ledger is: `postgresql://user:password@host:port/database`, or a unix socket's folder as `?host=`."""

    database_secret_arn: str | None = None
    """Instead of `DATABASE_URL`, the ARN of the secret in AWS Secrets Manager that holds it."""

    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)] = "INFO"
    """The lowest level that the log writes."""

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
            If a variable is missing or invalid. The message says which, and why.
        """
        values = {name: environment[name.upper()] for name in cls.model_fields if environment.get(name.upper())}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # Keep the value out of the message: messages are logged, and a database URL holds a password.
            # The message of a fault that concerns several variables names them itself.
            faults = (
                ": ".join((*(str(name).upper() for name in fault["loc"][:1]), fault["msg"])) for fault in error.errors()
            )
            raise SettingsError("; ".join(faults)) from None


class FunctionSettings(LedgerSettings):
    """Settings of every function behind the API."""

    auth: Literal["on", "off"] = "off"
    """Whether the API has an authorizer. If so, a token is required, and users see only their own records."""

    @property
    def token_required(self) -> bool:
        """Whether a request without a token's user is refused."""
        return self.auth == "on"


class ModelSettings(LedgerSettings):
    """Settings of the functions that read the model."""

    model: str = "model_artifacts/mnist"
    """The model package: a folder, or `s3://bucket/prefix`."""


class InputsSettings(LedgerSettings):
    """Settings of the functions that read or store inputs."""

    inputs_bucket: str | None = None
    """The S3 bucket that keeps inputs. Without one, the database keeps them."""


class UploadsSettings(InputsSettings):
    """Settings of the functions that handle uploads."""

    uploads_bucket: str | None = None
    """The S3 bucket that callers upload to, if it is not `INPUTS_BUCKET`. Without either, uploads are off."""

    @property
    def bucket_for_uploads(self) -> str | None:
        """The bucket that callers upload to."""
        return self.uploads_bucket or self.inputs_bucket


_Quota = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""The most that each user may have; 0 sets no limit."""


class GetSettings(UploadsSettings, FunctionSettings):
    """Settings of `get_prediction`."""

    max_inline_bytes: int = Field(default=3_000_000, gt=0, le=4_000_000)
    """The largest image, in bytes, that its record includes; a larger one has an `input_url` instead. Lambda returns at
    most 6 MB, and base64 takes a third more."""


class UploadSettings(ModelSettings, UploadsSettings, FunctionSettings):
    """Settings of `upload`."""

    max_upload_bytes: int = Field(default=20_000_000, gt=0)
    """The largest upload, in bytes."""

    upload_seconds: int = Field(default=900, gt=0, le=604_800)
    """Seconds for which the URL of an upload is valid. S3 allows at most a week."""

    quota_open_uploads: _Quota = 0
    """Uploads that a user may have announced and not predicted; 0 sets no limit."""


class BatchSettings(LedgerSettings):
    """Settings of the functions that take inputs, and of the one that says how many, and how large."""

    max_batch_inputs: int = Field(default=256, gt=0)
    """The most inputs in one request to `/predictions`, and rows in one request of the Open Inference Protocol."""

    max_body_bytes: int = Field(default=4_500_000, gt=0)
    """The largest request body, in bytes. Lambda takes events of at most 6 MB; in base64 they hold 4.5 MB of image."""


_ORIGIN: Final = re.compile(
    r"https://[A-Za-z0-9.-]+(:\d{1,5})?|http://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.ASCII
)
_PATH: Final = re.compile(r"(/[!-~]*)?")


def _check_url(url: str) -> str:
    found = _ORIGIN.match(url)
    if found is None or not _PATH.fullmatch(url, found.end()):
        raise PydanticCustomError("url", "it must be a URL with https; http is for an address of this machine only")
    return url


def _check_origins(origins: str) -> str:
    if not all(_ORIGIN.fullmatch(origin) for origin in origins.split(",")):
        raise PydanticCustomError("origins", "it must be origins separated by commas, as https://login.example.com")
    return origins


_Url = Annotated[str, AfterValidator(_check_url)]


class DescribeSettings(ModelSettings, BatchSettings, FunctionSettings):
    """Settings of `describe`."""

    sign_in_issuer: _Url | None = None
    """The OpenID Connect issuer at which the users of the console sign in, exactly as its discovery document has it.
    Without one, the console has no sign-in."""

    sign_in_client_id: Annotated[str, Field(max_length=255)] | None = None
    """The console's client at the issuer: a public one, for authorization codes with PKCE."""

    sign_in_scope: Annotated[str, Field(max_length=1000)] = "openid"
    """The scopes that the console asks for, separated by spaces. Many issuers give a token that renews others only for
    `offline_access`."""

    sign_in_metadata_url: _Url | None = None
    """Where the issuer's discovery document is, if not below the issuer."""

    sign_in_origins: Annotated[str, AfterValidator(_check_origins)] | None = None
    """Further origins that the console may call to sign in, separated by commas: those of the issuer's endpoints for
    tokens and keys, if they are not the issuer's own."""

    uploads_origin: Annotated[str, AfterValidator(_check_origins)] | None = None
    """The origins that the URLs of `POST /upload` may have, separated by commas: those of the bucket. Without one, the
    console uploads nothing, and no picture can be predicted there that is larger than a request."""

    @model_validator(mode="after")
    def _names_issuer_and_client(self) -> Self:
        if bool(self.sign_in_issuer) != bool(self.sign_in_client_id):
            message = "SIGN_IN_ISSUER and SIGN_IN_CLIENT_ID must both be set, or neither"
            raise PydanticCustomError("sign_in", message)
        return self

    @property
    def sign_in(self) -> dict[str, str] | None:
        """What the console has to know to sign users in; None if nobody can, or needs to."""
        if not self.token_required or self.sign_in_issuer is None or self.sign_in_client_id is None:
            return None
        metadata = {} if self.sign_in_metadata_url is None else {"metadata_url": self.sign_in_metadata_url}
        return {
            "authority": self.sign_in_issuer,
            "client_id": self.sign_in_client_id,
            "scope": self.sign_in_scope,
            **metadata,
        }

    @property
    def sign_in_connections(self) -> tuple[str, ...]:
        """The origins that the console may call to sign users in."""
        if self.sign_in is None:
            return ()
        urls = [self.sign_in_issuer, self.sign_in_metadata_url, *(self.sign_in_origins or "").split(",")]
        return tuple(dict.fromkeys(found[0] for url in urls if url and (found := _ORIGIN.match(url))))

    @property
    def sending(self) -> dict[str, object]:
        """What the console has to know to send an input: the largest request, and whether larger ones are uploaded."""
        return {"most_bytes": self.max_body_bytes, "uploads": self.uploads_origin is not None}

    @property
    def upload_connections(self) -> tuple[str, ...]:
        """The origins that the console may upload to."""
        return tuple(self.uploads_origin.split(",")) if self.uploads_origin else ()


class WorkerSettings(ModelSettings, InputsSettings):
    """Settings of the functions that run the model."""

    max_image_pixels: int = Field(default=25_000_000, gt=0)
    """The largest image, in pixels."""

    intra_op_threads: int = Field(default=1, ge=0)
    """Threads that one operator of the model may use; 0 lets ONNX Runtime choose."""

    execution_providers: str = Field(default="auto", min_length=1)
    """`auto` (CUDA if available, else the CPU), or ONNX Runtime's names in order, separated by commas."""


class InferSettings(WorkerSettings, BatchSettings, FunctionSettings):
    """Settings of `infer`."""

    idempotency_hours: float = Field(default=24, gt=0)
    """Hours after which an idempotency key is free again."""

    quota_predictions_per_hour: _Quota = 0
    """Predictions that a user may store in an hour of the clock; 0 sets no limit."""

    quota_stored_bytes: _Quota = 0
    """Bytes that the inputs of a user may have together; 0 sets no limit."""

    @property
    def quotas(self) -> dict[str, int]:
        """The quotas of the ledger by name; 0 sets no limit."""
        return {"predictions_per_hour": self.quota_predictions_per_hour, "stored_bytes": self.quota_stored_bytes}


class PredictSettings(InferSettings, UploadsSettings):
    """Settings of `predict`."""

    max_upload_bytes: int = Field(default=20_000_000, gt=0)
    """The largest upload, in bytes, that `predict` accepts."""

    queue_url: str | None = None
    """The SQS queue for asynchronous predictions. Without one, every prediction is made synchronously."""

    quota_queued_predictions: _Quota = 0
    """Predictions of a user that may be queued or in processing at a time; 0 sets no limit."""

    @property
    def quotas(self) -> dict[str, int]:
        """The quotas of the ledger by name; 0 sets no limit."""
        return {**super().quotas, "queued_predictions": self.quota_queued_predictions}


class DeleteSettings(UploadsSettings, FunctionSettings):
    """Settings of `delete_predictions`."""


class RollupSettings(LedgerSettings):
    """Settings of `rollup`."""

    metrics_namespace: Annotated[str, Field(max_length=255)] | None = None
    """The namespace of the metrics that CloudWatch makes of the log. Without one, there are none."""


class SweepSettings(UploadsSettings):
    """Settings of `sweep`."""

    idempotency_hours: float = Field(default=24, gt=0)
    """Hours after which idempotency keys and announcements of uploads are deleted."""

    queue_url: str | None = None
    """The SQS queue for asynchronous predictions. Without one, no prediction can be stuck."""

    queued_seconds: float = Field(default=900, gt=0)
    """Seconds after which the message of a queued prediction is sent again."""

    processing_seconds: float = Field(default=900, gt=0)
    """Seconds after which a prediction that is still in processing fails."""
