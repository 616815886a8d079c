"""The console's files: modules, a style sheet and vendored libraries, each served under a name that has its hash.

Whoever has a file need never ask for it again, and a page never gets a file of another version. There is no build
step: modules import each other by their plain names, and an import map in the page leads these to the names with hashes
(WHATWG, "HTML", section 8.1.5.2 on import maps).
"""

import gzip
import html
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

FOLDER: Final = Path(__file__).parent / "console"

PREFIX: Final = "/assets/"
"""Where the files are."""

_SHELL: Final = "shell.html"
_FIRST: Final = "app.js"
_STYLE: Final = "style.css"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css"}
_NAMES: Final = {
    "preact": "vendor/preact.module.js",
    "preact/hooks": "vendor/hooks.module.js",
    "htm": "vendor/htm.module.js",
}
"""What modules import by a name and not by a path."""

_HASH: Final = 16  # hexadecimal digits
_IMPORT: Final = re.compile(r"""^(?:import|export)\b[^;]*?\bfrom\s*"([^"]+)";""", re.MULTILINE)
_NOTHING_ELSE: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class ConsoleFile:
    """A file that a browser loads.

    Parameters
    ----------
    name
        Its path in the folder, such as ``views/records.js``.
    content
        What is in it.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content
        self.media_type = _TYPES[PurePosixPath(name).suffix]

    @cached_property
    def url(self) -> str:
        """Its path on the server, with the hash of its content."""
        path = PurePosixPath(self.name)
        digest = sha256(self.content).hexdigest()[:_HASH]
        return f"{PREFIX}{path.with_suffix('')}.{digest}{path.suffix}"

    @cached_property
    def compressed(self) -> bytes:
        """The content in gzip."""
        return gzip.compress(self.content, mtime=0)

    def imports(self) -> Iterator[str]:
        """Yield the names of the files that it cannot do without."""
        for found in _IMPORT.findall(self.content.decode()):
            yield _NAMES.get(found) or _joined(PurePosixPath(self.name).parent, found)


@cache
def console_files() -> Mapping[str, ConsoleFile]:
    """Return the files by name."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in _TYPES)
    return {
        name: ConsoleFile(name, path.read_bytes()) for path in paths for name in [path.relative_to(FOLDER).as_posix()]
    }


@cache
def by_url() -> Mapping[str, ConsoleFile]:
    """Return the files by their path on the server."""
    return {file.url: file for file in console_files().values()}


def first_files() -> list[ConsoleFile]:
    """Return the modules that the page loads before it shows a view, in the order in which they are found."""
    files = console_files()
    found = {_FIRST: files[_FIRST]}
    waiting = [files[_FIRST]]
    while waiting:
        for name in waiting.pop(0).imports():
            if name not in found:
                found[name] = files[name]
                waiting.append(files[name])
    return list(found.values())


@cache
def shell(sign_in: str, sending: str, origins: tuple[str, ...]) -> tuple[str, str]:
    """Return the page that every view is shown in, and its Content-Security-Policy.

    Parameters
    ----------
    sign_in
        What `session.js` has to know of the issuer, as JSON.
    sending
        What `asking.js` has to know to send an input, as JSON.
    origins
        Where else than at this server the page may ask for something: the issuer, and the bucket for uploads.
    """
    files = console_files()
    by_name = {name: files[file].url for name, file in _NAMES.items()}
    by_path = {PREFIX + name: file.url for name, file in files.items()}
    # In a script element no character reference is resolved, and "</script" would end it.
    imports = json.dumps({"imports": by_name | by_path}, separators=(",", ":")).replace("<", "\\u003c")
    preloads = "\n".join(f'<link rel="modulepreload" href="{file.url}">' for file in first_files()[1:])
    page = (FOLDER / _SHELL).read_text("utf-8")
    for name, text in {
        "sign_in": html.escape(sign_in),
        "sending": html.escape(sending),
        "style": files[_STYLE].url,
        "imports": imports,
        "preloads": preloads,
        "app": files[_FIRST].url,
    }.items():
        page = page.replace(f"{{{name}}}", text)
    digest = b64encode(sha256(imports.encode()).digest()).decode()
    sources = " ".join(["'self'", *origins])
    policy = (
        f"{_NOTHING_ELSE}; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src {sources}"
    )
    return page, policy


def _joined(folder: PurePosixPath, relative: str) -> str:
    parts: list[str] = list(folder.parts)
    for part in relative.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
