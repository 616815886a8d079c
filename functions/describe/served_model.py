"""The model package that this deployment serves, read without the inference runtime."""

from functools import cached_property

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.location import resolve
from functions.shared.inference.package import ModelPackage


class ServedModel:
    """The package at a location, read on first use.

    Parameters
    ----------
    location
        As the setting `MODEL` has it: a path or `s3://bucket/prefix`.
    """

    def __init__(self, location: str) -> None:
        self._location = location

    @cached_property
    def package(self) -> ModelPackage:
        """The package. A failure is not cached, so the next request tries again.

        Raises
        ------
        InferenceError
            If it cannot be read.
        """
        return ModelPackage.load(resolve(self._location))

    def require_readable(self) -> None:
        """Check that the package's files are there as they were read, or can be read anew.

        Raises
        ------
        InferenceError
            If a file is missing or cut off, or the package contradicts itself.
        """
        try:
            for file in self.package.files:
                file.require_unchanged()
        except ModelPackageError:
            self.__dict__.pop("package", None)
            ModelPackage.load(resolve(self._location))
