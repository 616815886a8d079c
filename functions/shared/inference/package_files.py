"""The files of a model package: the ONNX file and its external data files."""

import hashlib
import os
import stat
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import read_external_data

_Stamp: TypeAlias = tuple[int, ...]


class PackageFile(NamedTuple):
    """A file of a model, as it was when it was read.

    Attributes
    ----------
    path
        The path of the file.
    name
        Relative to the package's folder, as the ONNX file has it.
    size
        In bytes.
    sha256
        In lower-case hexadecimal.
    stamp
        Changes when the file is replaced or written to.
    """

    path: Path
    name: str
    size: int
    sha256: str
    stamp: _Stamp

    @classmethod
    def read(cls, path: Path, name: str) -> "PackageFile":
        """Read a file, once, in blocks.

        Raises
        ------
        ModelPackageError
            It cannot be read.
        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelPackageError(f"{name}: cannot be read: {error.strerror}") from error
        return cls(path, name, status.st_size, sha256, _stamp(status))

    def require_unchanged(self) -> None:
        """Check that the file has not changed since it was read.

        Raises
        ------
        ModelPackageError
            It has changed or is missing.
        """
        try:
            unchanged = _stamp(self.path.stat()) == self.stamp
        except OSError:
            unchanged = False
        if not unchanged:
            raise ModelPackageError(f"{self.name}: has changed while the model was being loaded: start again")


def find_model(folder: Path) -> Path:
    """Find a package's ONNX file: ``model.onnx``, or the only ``.onnx`` file there is.

    Raises
    ------
    ModelPackageError
        There is none, there are several and none is called ``model.onnx``, or the folder cannot be looked into.
    """
    path = folder / "model.onnx"
    if is_file(status_of(path, path.name)):
        return path
    others = sorted(other for other in folder.glob("*.onnx") if other.is_file())
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(other.name for other in others[:5])
        raise ModelPackageError(
            f"model.onnx: is missing in {folder.name}, which has {len(others)} other .onnx files ({names}): "
            "name the one to serve model.onnx"
        )
    raise ModelPackageError(f"model.onnx: is missing in {folder.name}")


def read_files(model: Path) -> tuple[PackageFile, ...]:
    """Read all files of a model, each once.

    Only the names must lie within the package's folder: a file may be a symbolic link to anywhere, as in Hugging Face's
    cache.

    Parameters
    ----------
    model
        The ONNX file.

    Returns
    -------
    tuple of PackageFile
        The ONNX file, then its external data files, ordered by name.

    Raises
    ------
    ModelPackageError
        One of them is missing, is outside of the package's folder, is too short or cannot be read.
    """
    first = PackageFile.read(model, model.name)
    needed: dict[str, tuple[int, str]] = {}
    for data in read_external_data(model):
        name = _name_within(data.location, f"{model.name}: keeps the values of tensor {data.tensor!r}")
        needed[name] = max(needed.get(name, (-1, "")), (data.end, data.tensor))
    others = []
    for name, (end, tensor) in sorted(needed.items()):
        path = model.parent / name
        status = status_of(path, name)
        if status is None or not is_file(status):
            raise ModelPackageError(f"{name}: is missing: {model.name} keeps the values of tensor {tensor!r} in it")
        if status.st_size < end:
            raise ModelPackageError(
                f"{name}: has {status.st_size} bytes, but {model.name} keeps the values of tensor {tensor!r} "
                f"in it up to byte {end}: it is cut off, or another file"
            )
        others.append(PackageFile.read(path, name))
    return first, *others


def status_of(path: Path, name: str) -> os.stat_result | None:
    """Return what the system says of a file or a folder; None if there is no such thing.

    `Path.is_file` raises what hinders it up to Python 3.13, and hides it from then on.

    Raises
    ------
    ModelPackageError
        It cannot be told, for want of a permission, for example.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ModelPackageError(f"{name}: cannot be read: {error.strerror}") from error


def is_file(status: os.stat_result | None) -> bool:
    """Return whether that is of a file."""
    return status is not None and stat.S_ISREG(status.st_mode)


def _name_within(location: str, what: str) -> str:
    path = PurePosixPath(location)
    if not location.isprintable() or path == PurePosixPath():
        raise ModelPackageError(f"{what} in {location!r}, which is no file's name")
    if path.is_absolute() or ".." in path.parts:
        raise ModelPackageError(f"{what} in {location!r}, outside of the package's folder: put the file beside it")
    return str(path)


def _stamp(status: os.stat_result) -> _Stamp:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
