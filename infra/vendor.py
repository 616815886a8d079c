"""Fetch the JavaScript and the styles of others that the console loads, and check that they are what was fetched.

    python -m infra.vendor              fetch what vendor.json names, and write its files again
    python -m infra.vendor --upgrade    the same with each package's newest version, which is then in vendor.json
    python -m infra.vendor --check      say what of the committed files is not as in vendor.json; needs no network
    python -m infra.vendor --compare    fetch as without options, but only say what differs; write nothing

npm fetches the packages, from the registry that it is configured for. Nothing of them runs: their tarballs are read,
not installed. A tarball whose SHA-512 is not the one in vendor.json is refused.

vendor.json has one object a package: `name`, `version`, `license` (SPDX), `integrity` of the tarball (W3C, "Subresource
Integrity"), and its `files`: `file` in the folder, `path` in the package, `sha256` of the file, and for an ES module
the name that others import it by, `module`.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[1] / "functions" / "describe" / "console" / "vendor"
"""What the console loads of others."""

MANIFEST: Final = "vendor.json"
"""The file in the folder that says what the others are."""

# A browser's developer tools would ask the server for the file that it names, which is not there.
_SOURCE_MAP: Final = re.compile(rb"\n?^//# sourceMappingURL=.*\n?\Z", re.MULTILINE)


class VendorError(Exception):
    """A package cannot be fetched, or is not the one in vendor.json. The message is for the person who runs this."""


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the packages that a folder's vendor.json names."""
    packages: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_text("utf-8"))
    return packages


def faults(folder: Path) -> list[str]:
    """Say what of a folder's files is not as its vendor.json says. Return nothing if all is."""
    known = {entry["file"]: entry["sha256"] for package in read(folder) for entry in package["files"]}
    there = {path.name: path for path in folder.iterdir() if path.name != MANIFEST}
    found = [f"{name} is not in {MANIFEST}" for name in sorted(there.keys() - known.keys())]
    found += [f"{name} is missing" for name in sorted(known.keys() - there.keys())]
    for name in sorted(there.keys() & known.keys()):
        if hashlib.sha256(there[name].read_bytes()).hexdigest() != known[name]:
            found.append(f"{name} is not the file whose SHA-256 is in {MANIFEST}")
    return found


def fetch(package: dict[str, Any]) -> dict[str, bytes]:
    """Fetch a package, and return its files by their names in the folder.

    Parameters
    ----------
    package
        An object of vendor.json. What it lacks of `integrity` and `license` is filled in, and each file's `sha256` is
        written.

    Raises
    ------
    VendorError
        If npm cannot fetch it, its tarball has another SHA-512 than `integrity`, or it lacks one of the files.
    """
    asked = f"{package['name']}@{package['version']}"
    with TemporaryDirectory() as folder:
        _npm("pack", asked, "--silent", "--pack-destination", folder)
        (tarball,) = Path(folder).iterdir()
        integrity = f"sha512-{b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()}"
        if package.setdefault("integrity", integrity) != integrity:
            raise VendorError(f"{asked} has the integrity {integrity}, but {MANIFEST} says {package['integrity']}")
        with tarfile.open(tarball) as archive:
            description = json.loads(_member(archive, "package.json", asked))
            package["license"] = description["license"]
            contents = {entry["file"]: _member(archive, entry["path"], asked) for entry in package["files"]}
    for entry in package["files"]:
        content = _SOURCE_MAP.sub(b"\n", contents[entry["file"]])
        contents[entry["file"]] = content
        entry["sha256"] = hashlib.sha256(content).hexdigest()
    return contents


def _member(archive: tarfile.TarFile, path: str, package: str) -> bytes:
    try:
        file = archive.extractfile(f"package/{path}")
    except KeyError:
        file = None
    if file is None:
        raise VendorError(f"{package} has no file {path}")
    return file.read()


def newest(package: dict[str, Any]) -> dict[str, Any]:
    """Return a package's object of vendor.json for its newest stable version."""
    version = _npm("view", package["name"], "version").strip()
    if version == package["version"]:
        return package
    return {"name": package["name"], "version": version, "license": "", "files": package["files"]}


def _npm(*arguments: str) -> str:
    try:
        done = subprocess.run(["npm", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise VendorError("npm is not installed: it comes with Node.js") from error
    if done.returncode != 0:
        raise VendorError(f"npm {' '.join(arguments)}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def write(folder: Path, upgrade: bool = False) -> None:
    """Fetch each package of a folder's vendor.json, and write its files and vendor.json again.

    Raises
    ------
    VendorError
        If a package cannot be had as it should be. Nothing is written then.
    """
    packages = [newest(package) for package in read(folder)] if upgrade else read(folder)
    contents = {file: content for package in packages for file, content in fetch(package).items()}
    for path in folder.iterdir():
        path.unlink()
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    order = ("name", "version", "license", "integrity", "files")
    ordered = [{key: package[key] for key in order} for package in packages]
    (folder / MANIFEST).write_text(json.dumps(ordered, indent=2) + "\n", "utf-8")
    for package in packages:
        print(f"{package['name']} {package['version']}: {', '.join(entry['file'] for entry in package['files'])}")


def differences(folder: Path) -> list[str]:
    """Fetch each package of a folder's vendor.json, and say which of the folder's files are not those of the package.

    Raises
    ------
    VendorError
        If a package cannot be had as it should be.
    """
    contents = {file: content for package in read(folder) for file, content in fetch(package).items()}
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    return [f"{file} is not as in its package" for file in sorted(contents) if there.get(file) != contents[file]]


def main(arguments: list[str]) -> int:
    """Fetch, upgrade, check or compare."""
    found: list[str] = []
    try:
        match arguments:
            case []:
                write(FOLDER)
            case ["--upgrade"]:
                write(FOLDER, upgrade=True)
            case ["--check"]:
                found = faults(FOLDER)
            case ["--compare"]:
                found = differences(FOLDER)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except VendorError as error:
        print(f"infra.vendor: {error}", file=sys.stderr)
        return 1
    for fault in found:
        print(f"{FOLDER.name}/{fault}: run `make vendor` and commit what it writes", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
