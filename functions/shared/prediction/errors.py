"""Why a request for predictions is refused, independent of HTTP. The messages are for the caller."""

from collections.abc import Mapping

from functions.shared.inference.errors import InputError


class RefusedInputsError(Exception):
    """At least one input of a request cannot be predicted, so the whole request is refused.

    Attributes
    ----------
    errors
        The error of each bad input by its position in the request; never empty.
    """

    def __init__(self, errors: Mapping[int, InputError]) -> None:
        super().__init__(f"{len(errors)} inputs cannot be predicted")
        self.errors = errors


class UploadError(Exception):
    """An input that was announced with `POST /upload` cannot be used."""


class UploadNotFoundError(UploadError):
    """The user has announced no such upload."""


class UploadTooLargeError(UploadError):
    """The upload is larger than the configured limit."""


class UploadMismatchError(UploadError):
    """The upload is missing or differs from its announcement."""
