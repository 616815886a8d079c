"""Write a software bill of materials for a deployed package: what is in it, as a CycloneDX document.

CycloneDX is ECMA-424; https://cyclonedx.org/docs/1.6/json/ describes its JSON.
"""

import json
import re
from base64 import b64decode
from collections.abc import Collection
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_OID, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

NAME: Final = "sbom.cdx.json"
"""The document's name in a package."""

VENDORED: Final = "console/vendor/vendor.json"
"""Where a function's folder has the list of others' JavaScript and styles, if it has any."""

_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)[^\n\\]*((?:\\\n\s+--hash=\S+\s?)+)", re.MULTILINE)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill_of_materials(
    function: str, version: str, requirements: str, installed: Collection[str], vendored: str = "[]"
) -> str:
    """Return the bill of materials of a function.

    Equal requirements give an equal document, so that a build can be repeated: it has no time, and its serial number is
    made of its content.

    Parameters
    ----------
    function
        The name of the function's folder.
    version
        The project's version.
    requirements
        The text of the function's requirements file, with the SHA-256 of each file that pip may install.
    installed
        The normalised names (PEP 503) of what is in the package. `infra.build` removes some of what is installed.
    vendored
        The text of the vendor.json (see `infra.vendor`) that is in the package.

    Returns
    -------
    str
        A CycloneDX 1.6 document in JSON. A component of PyPI lists the hashes of all its files, one of which is
        installed; one of npm, of which some files are in the package, that of its tarball.
    """
    packages = json.loads(vendored)
    content = f"{requirements}\n{vendored}" if packages else requirements
    serial_number = uuid5(NAMESPACE_OID, f"{function} {version}\n{content}")
    bom = Bom(serial_number=serial_number)
    bom.metadata.timestamp = None  # type: ignore[assignment]  # mypy takes the getter's type for the setter's
    bom.metadata.component = Component(
        name=f"onnx-ledger-{function}", version=version, type=ComponentType.APPLICATION, bom_ref=function
    )
    for match in _PINNED.finditer(requirements):
        name, pinned = match[1], match[2]
        if normalised(name) not in installed:
            continue
        url = PackageURL("pypi", name=normalised(name), version=pinned)
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=content) for content in _HASH.findall(match[3])]
        bom.components.add(
            Component(
                name=name,
                version=pinned,
                type=ComponentType.LIBRARY,
                purl=url,
                bom_ref=url.to_string(),
                hashes=hashes,
            )
        )
    for package in packages:
        url = PackageURL("npm", name=package["name"], version=package["version"])
        digest = b64decode(package["integrity"].removeprefix("sha512-")).hex()
        bom.components.add(
            Component(
                name=package["name"],
                version=package["version"],
                type=ComponentType.LIBRARY,
                purl=url,
                bom_ref=url.to_string(),
                hashes=[HashType(alg=HashAlgorithm.SHA_512, content=digest)],
                licenses=[DisjunctiveLicense(id=package["license"])],
            )
        )
    bom.register_dependency(bom.metadata.component, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def write_bill_of_materials(function: str, version: str, requirements: Path, folder: Path) -> None:
    """Write the bill of materials of the function whose package is in `folder`, as `NAME`, into that package."""
    installed = {normalised(path.stem.rpartition("-")[0]) for path in folder.glob("*.dist-info")}
    manifest = folder / "functions" / function / VENDORED
    vendored = manifest.read_text("utf-8") if manifest.is_file() else "[]"
    text = bill_of_materials(function, version, requirements.read_text("utf-8"), installed, vendored)
    (folder / NAME).write_text(text, "utf-8")


def normalised(name: str) -> str:
    """Return the name of a distribution as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()
