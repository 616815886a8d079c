"""What the console loads of others is what their packages hold, as vendor.json says."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from infra.vendor import FOLDER, MANIFEST, VendorError, differences, faults, main, read, write

SCRIPT = b"export const answer = 42;\n"


def manifest(folder: Path, **changes: Any) -> None:
    """Write a vendor.json that names one package."""
    package = {
        "name": "one",
        "version": "1.0.0",
        "files": [
            {"file": "one.js", "path": "dist/one.mjs", "module": "one"},
            {"file": "one.LICENSE", "path": "LICENSE"},
        ],
    }
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps([package | changes]), "utf-8")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `npm` that packs what lies in the folder, and finds nothing else."""
    folder = tmp_path / "registry"
    folder.mkdir()
    npm = folder / "npm"
    # `npm pack one@1.0.0 --silent --pack-destination FOLDER` and `npm view one version`
    npm.write_text(
        f"""#!/bin/sh
case $1 in
  view) cat "{folder}/$2.newest" ;;
  pack) cp "{folder}/$2.tgz" "$5/" ;;
esac
""",
        "utf-8",
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    publish(folder, "1.0.0")
    return folder


def publish(registry: Path, version: str, script: bytes = SCRIPT) -> str:
    """Put a version of the package into the registry, and return its tarball's integrity."""
    tarball = registry / f"one@{version}.tgz"
    description = json.dumps({"name": "one", "version": version, "license": "MIT"}).encode()
    with tarfile.open(tarball, "w:gz") as archive:
        for path, content in (
            ("package.json", description),
            ("dist/one.mjs", script),
            ("LICENSE", b"Do as you like.\n"),
        ):
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    (registry / "one.newest").write_text(f"{version}\n", "utf-8")
    return f"sha512-{b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()}"


def test_the_committed_files_are_those_of_the_committed_list() -> None:
    assert faults(FOLDER) == []


def test_each_package_comes_with_its_licence_and_its_hash() -> None:
    for package in read(FOLDER):
        assert package["license"] in {"MIT", "Apache-2.0"}
        assert package["integrity"].startswith("sha512-")
        assert [entry["file"] for entry in package["files"] if entry["path"] == "LICENSE"], package["name"]


def test_no_committed_file_names_a_source_map_or_loads_from_elsewhere() -> None:
    for path in FOLDER.glob("*.js"):
        assert b"sourceMappingURL" not in path.read_bytes(), path.name
        assert b"import(" not in path.read_bytes(), path.name


def test_what_is_fetched_is_written_with_its_version_licence_and_hashes(tmp_path: Path, registry: Path) -> None:
    integrity = publish(registry, "1.0.0")
    manifest(tmp_path / "vendor")

    write(tmp_path / "vendor")

    (package,) = read(tmp_path / "vendor")
    assert (package["version"], package["license"], package["integrity"]) == ("1.0.0", "MIT", integrity)
    assert package["files"][0]["sha256"] == hashlib.sha256(SCRIPT).hexdigest()
    assert (tmp_path / "vendor" / "one.js").read_bytes() == SCRIPT
    assert faults(tmp_path / "vendor") == []
    assert differences(tmp_path / "vendor") == []


@pytest.mark.usefixtures("registry")
def test_fetching_twice_changes_nothing(tmp_path: Path) -> None:
    manifest(tmp_path / "vendor")
    write(tmp_path / "vendor")
    first = (tmp_path / "vendor" / MANIFEST).read_bytes()

    write(tmp_path / "vendor", upgrade=True)

    assert (tmp_path / "vendor" / MANIFEST).read_bytes() == first


def test_a_source_map_that_is_not_served_is_not_asked_for(tmp_path: Path, registry: Path) -> None:
    publish(registry, "1.0.0", SCRIPT + b"//# sourceMappingURL=one.mjs.map\n")
    manifest(tmp_path / "vendor")

    write(tmp_path / "vendor")

    assert (tmp_path / "vendor" / "one.js").read_bytes() == SCRIPT


def test_an_upgrade_takes_the_newest_version_with_its_new_hashes(tmp_path: Path, registry: Path) -> None:
    manifest(tmp_path / "vendor")
    write(tmp_path / "vendor")
    integrity = publish(registry, "1.1.0", b"export const answer = 43;\n")

    write(tmp_path / "vendor", upgrade=True)

    (package,) = read(tmp_path / "vendor")
    assert (package["version"], package["integrity"]) == ("1.1.0", integrity)
    assert b"43" in (tmp_path / "vendor" / "one.js").read_bytes()
    assert faults(tmp_path / "vendor") == []


def test_a_package_that_is_not_the_one_of_the_list_is_refused_and_nothing_is_written(
    tmp_path: Path, registry: Path
) -> None:
    manifest(tmp_path / "vendor")
    write(tmp_path / "vendor")
    before = {path.name: path.read_bytes() for path in (tmp_path / "vendor").iterdir()}
    publish(registry, "1.0.0", b"steal();\n")

    with pytest.raises(VendorError, match=r"^one@1\.0\.0 has the integrity sha512-.*, but vendor\.json says sha512-"):
        write(tmp_path / "vendor")
    with pytest.raises(VendorError, match="has the integrity"):
        differences(tmp_path / "vendor")
    assert {path.name: path.read_bytes() for path in (tmp_path / "vendor").iterdir()} == before


@pytest.mark.usefixtures("registry")
def test_a_version_or_a_file_that_does_not_exist_is_said(tmp_path: Path) -> None:
    manifest(tmp_path / "vendor", version="9.9.9")
    with pytest.raises(VendorError, match=r"^npm pack one@9\.9\.9 "):
        write(tmp_path / "vendor")

    manifest(tmp_path / "vendor", files=[{"file": "one.js", "path": "dist/two.mjs"}])
    with pytest.raises(VendorError, match=r"^one@1\.0\.0 has no file dist/two\.mjs$"):
        write(tmp_path / "vendor")


def test_a_machine_without_npm_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(tmp_path / "vendor")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(VendorError, match=r"^npm is not installed: it comes with Node\.js$"):
        write(tmp_path / "vendor")


def test_a_changed_byte_a_file_too_many_and_a_missing_one_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    shutil.copytree(FOLDER, folder)
    with (folder / "preact.module.js").open("ab") as file:
        file.write(b" ")
    (folder / "more.js").write_text("", "utf-8")
    (folder / "htm.LICENSE").unlink()

    assert faults(folder) == [
        "more.js is not in vendor.json",
        "htm.LICENSE is missing",
        "preact.module.js is not the file whose SHA-256 is in vendor.json",
    ]


@pytest.mark.usefixtures("registry")
def test_a_file_that_its_package_does_not_hold_so_is_told_whatever_its_hash_says(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    manifest(folder)
    write(folder)
    (folder / "one.js").write_bytes(b"steal();\n")
    text = (folder / MANIFEST).read_text("utf-8")
    old, new = (hashlib.sha256(content).hexdigest() for content in (SCRIPT, b"steal();\n"))
    (folder / MANIFEST).write_text(text.replace(old, new), "utf-8")

    assert faults(folder) == []
    assert differences(folder) == ["one.js is not as in its package"]


def test_the_command_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chekc"]) == 2
    assert "--check" in capsys.readouterr().err
