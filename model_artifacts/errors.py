"""What goes wrong while a model is trained or exported, apart from the frameworks that do it, which load slowly."""


class ArtifactError(Exception):
    """A model package cannot be made; the message is one line that says why."""


class IdxError(ArtifactError):
    """A file is not the IDX file it should be; the message names the file and what is wrong with it."""


class ExportError(ArtifactError):
    """A Keras model cannot become a model package."""


class ParityError(ExportError):
    """ONNX Runtime and Keras disagree on the exported model; the message gives the difference and the tolerance."""


class CheckError(ArtifactError):
    """What was given to try a package with cannot be read."""
