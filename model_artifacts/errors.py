"""The errors of training, exporting and checking. This module loads no framework, so `check` starts at once."""


class ArtifactError(Exception):
    """A model package cannot be made or checked; the message is one line that says why."""


class IdxError(ArtifactError):
    """A file is not a valid IDX file; the message names the file and says what is wrong with it."""


class BaselineError(ArtifactError):
    """No baseline can be made of the data; the message says where they are wrong."""


class ExportError(ArtifactError):
    """A Keras model cannot become a model package."""


class ParityError(ExportError):
    """ONNX Runtime and Keras disagree on the exported model; the message gives the difference and the tolerance."""


class CheckError(ArtifactError):
    """The input to check a package with cannot be read, or is of a kind that the model does not take."""
