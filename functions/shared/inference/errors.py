"""What can go wrong between a model package and a prediction, without a word of HTTP."""

from dataclasses import dataclass


class InferenceError(Exception):
    """Anything this layer raises on purpose."""


class ModelPackageError(InferenceError):
    """The package cannot be served: the message names the file or field, and the numbers that disagree."""


class ProviderUnavailableError(ModelPackageError):
    """An execution provider that the setting insists on cannot be had on this machine."""


class ModelUnavailableError(InferenceError):
    """The package cannot be fetched from where it is kept."""


class ModelRunError(InferenceError):
    """The runtime failed on an input that the model should take: ours to repair, not the caller's."""


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One thing wrong with one input.

    Attributes
    ----------
    pointer
        JSON pointer (RFC 6901) to the culprit, relative to the instance: ``/image``, ``/features/2``,
        ``/features/petal_length``.
    detail
        A sentence for the caller: what is wrong and what would be right.
    instance
        Position of the instance in the sequence handed to ``Model.predict``; 0 for a single one.
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
    """The bytes are no image that can be decoded: not one at all, cut off, damaged, or of another kind."""


class ImageTooLargeError(InputError):
    """The image has more pixels than the limit; found from its header, before anything is decoded."""


class MissingFeaturesError(InputError):
    """There are no features at all."""


class InvalidFeaturesError(InputError):
    """There are features, but not those that the model takes."""


class OutputTooLargeError(InputError):
    """The input is fine as such, but the model answers more to it than a record can hold."""


class UnpredictableInputError(InputError):
    """The input is fine as such, but the model answers NaN or Infinity to it."""
