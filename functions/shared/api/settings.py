"""Settings of a function: a typed class, read from the environment once, that names the variable when it is wrong."""

import os
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class SettingsError(Exception):
    """A setting is missing or is not what it must be. The message names the environment variable."""


class FunctionSettings(BaseModel):
    """What every function needs. A field's name in capitals is its environment variable."""

    model_config = ConfigDict(frozen=True)

    database_url: str = Field(min_length=1)
    """Where the ledger is: `postgresql://user:password@host:port/database`, or a unix socket's folder as `?host=`."""

    auth: Literal["on", "off"] = "off"
    """Whether an authorizer stands before the API. If so, each user sees their own records, and a token is required."""

    @property
    def token_required(self) -> bool:
        """Whether a request must come with the user that a token names."""
        return self.auth == "on"

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
            faults = (f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
            raise SettingsError("; ".join(faults)) from None


class DescribeSettings(FunctionSettings):
    """What `describe` needs."""

    model: str = "model_artifacts/mnist"
    """The model package: a folder, or `s3://bucket/prefix`."""


class PredictSettings(DescribeSettings):
    """What `predict` needs."""

    max_body_bytes: int = Field(default=4_500_000, gt=0)
    """The largest request body, in bytes. Lambda takes 6 MB of event, which base64 makes 4.5 MB of image."""

    max_batch_inputs: int = Field(default=256, gt=0)
    """The most inputs that one request to `/predictions` may bring."""

    max_image_pixels: int = Field(default=25_000_000, gt=0)
    """The largest image, in pixels once decoded."""

    intra_op_threads: int = Field(default=1, ge=0)
    """Threads that one operator of the model may use; 0 lets ONNX Runtime choose."""

    execution_providers: str = Field(default="auto", min_length=1)
    """`auto` (CUDA where it can be had, else CPU), or ONNX Runtime's names in order, separated by commas."""
