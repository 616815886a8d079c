"""The errors between a model package and a prediction, independent of HTTP."""

from dataclasses import dataclass


class InferenceError(Exception):
    """Base class of the errors of inference."""


class ModelPackageError(InferenceError):
    """The package cannot be served. The message names the file or field and the conflicting values."""


class ProviderUnavailableError(ModelPackageError):
    """An execution provider that the setting requires is not available on this machine."""


class ModelUnavailableError(InferenceError):
    """The package cannot be fetched from its location."""


class ModelRunError(InferenceError):
    """The runtime failed on a valid input: a fault of the deployment, not of the caller."""


def json_pointer_token(name: str) -> str:
    """Return a member's name as a token of a JSON pointer (RFC 6901, section 3), cut to 100 characters."""
    return name[:100].replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One thing wrong with one input.

    Attributes
    ----------
    pointer
        JSON pointer (RFC 6901) to the bad value, relative to the instance: ``/image``, ``/features/2``,
        ``/features/petal_length``.
    detail
        A sentence for the caller: what is wrong and what would be right.
    instance
        Position of the instance in the argument of ``Model.predict``; 0 for a single instance.
    """

    pointer: str
    detail: str
    instance: int = 0


class InputError(InferenceError):
    """The caller's input cannot be predicted.

    Attributes
    ----------
    problems
        Every problem found, in the order of the input; never empty.
    """

    def __init__(self, message: str, *, problems: tuple[InputProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (InputProblem("", message),)


class UndecodableImageError(InputError):
    """The bytes cannot be decoded: not an image, truncated, damaged, or of an unsupported kind."""


class ImageTooLargeError(InputError):
    """Decoding the image would take too many pixels, too much memory or time. Usually the header alone says so."""


def undecodable_image(message: str) -> UndecodableImageError:
    """Return the error of an image that cannot be decoded, which points at the image."""
    return UndecodableImageError(message, problems=(InputProblem("/image", message),))


def image_too_large(message: str) -> ImageTooLargeError:
    """Return the error of an image that is too large, which points at the image."""
    return ImageTooLargeError(message, problems=(InputProblem("/image", message),))


class MissingFeaturesError(InputError):
    """The input has no features."""


class InvalidFeaturesError(InputError):
    """The features are not those that the model takes."""


class InvalidTensorsError(InputError):
    """The tensors are not those that the model takes."""


class TooManyRowsError(InputError):
    """The tensors have more rows than one request may have."""


class OutputTooLargeError(InputError):
    """The input is fine as such, but the model answers more to it than a record can hold."""


class UnpredictableInputError(InputError):
    """The input is valid, but the model returns NaN or Infinity for it."""
